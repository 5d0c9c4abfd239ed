"""The diffusion engine: noise schedules, denoisers, guidance, samplers, losses, networks, text and images.

No module here has a time axis (see `video`) or 3D geometry (see `dream3d`). Importing the package imports no
submodule.
"""
