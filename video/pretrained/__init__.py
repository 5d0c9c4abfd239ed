"""Pretrained video models in diffusers' formats; diffusers and transformers are imported inside functions."""
