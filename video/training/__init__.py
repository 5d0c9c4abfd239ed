"""Training of video models: presets, data and losses of every stage."""
