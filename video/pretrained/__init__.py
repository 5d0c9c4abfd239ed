"""Pretrained checkpoints that draw clips."""
