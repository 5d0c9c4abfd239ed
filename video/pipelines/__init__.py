"""Pretrained checkpoints that draw clips. diffusers and transformers are imported inside functions."""
