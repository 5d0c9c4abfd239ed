"""Diffuser (Janner et al. 2022): planning by a diffusion model of trajectories, in mazes."""
