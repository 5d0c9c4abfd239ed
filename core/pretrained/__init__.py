"""Checkpoints of the hub as our models. diffusers and transformers are imported here alone, and lazily."""
