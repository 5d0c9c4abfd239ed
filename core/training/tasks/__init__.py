"""What is trained: presets, data and losses of each kind of model."""
