"""Training: data, the loop, the average of weights and checkpoints. One loop trains images and clips."""
