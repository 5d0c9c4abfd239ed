"""Pretrained video checkpoints as clip models. Imports diffusers and transformers inside functions only."""
