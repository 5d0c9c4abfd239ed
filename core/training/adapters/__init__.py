"""Training of adapters (LoRA, motion layers) of a checkpoint, whose own weights are frozen."""
