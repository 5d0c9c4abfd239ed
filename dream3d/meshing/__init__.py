"""Meshes: iso-surface, decimation, texture, export, rendering, and fidelity to the field."""
