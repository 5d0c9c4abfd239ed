"""Building blocks of the image network: attention, embeddings, residual blocks and the U-Net made of them."""
