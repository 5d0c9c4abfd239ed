"""Mesh files, one format a module. All files are written atomically."""
