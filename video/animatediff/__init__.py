"""AnimateDiff: motion layers for image checkpoints, their file formats and their training."""
