"""Later stages of the cascade of Ho et al. 2022, "Imagen Video": temporal super-resolution."""
