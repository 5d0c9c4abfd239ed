"""Checkpoints of unCLIP's family: a prior from texts to image embeddings, and a decoder of these."""
