"""Training: data, the training loop, weight averaging and checkpoints. One loop trains images and clips."""
