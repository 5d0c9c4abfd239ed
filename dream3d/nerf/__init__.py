"""Radiance fields, cameras, the occupancy grid and volume rendering."""
