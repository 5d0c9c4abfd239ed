"""unCLIP, the system of DALL-E 2: an embedding of text and images, a prior, and a decoder.

Ramesh et al. 2022, "Hierarchical Text-Conditional Image Generation with CLIP Latents": the prior generates an
image embedding from a text, the decoder generates an image from the embedding.
"""
