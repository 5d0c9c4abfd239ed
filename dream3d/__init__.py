"""Text to 3D: distillation of an image model into a radiance field, and meshing of the field."""
