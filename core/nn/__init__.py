"""Layers of the image networks: attention, embeddings, residual blocks, and the U-Net built of them."""
