"""Textures: UV atlas, colors baked from a field, and images projected onto a mesh."""
