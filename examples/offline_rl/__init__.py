"""Diffusion-QL (Wang et al. 2023): offline reinforcement learning with a diffusion policy."""
