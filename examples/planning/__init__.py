"""Diffuser (Janner et al. 2022): planning in mazes by a diffusion model of trajectories."""
