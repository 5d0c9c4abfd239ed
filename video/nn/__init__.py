"""Layers of the space-time network, and windows over long clips."""
