"""The diffusion engine: noise schedules, denoisers, guidance, samplers, losses, networks, text and images.

Nothing here knows of time axes (`video`) or of 3D (`dream3d`). Importing the package imports no submodule.
"""
