"""Pretrained image checkpoints in diffusers' format. Imports diffusers and transformers lazily."""
