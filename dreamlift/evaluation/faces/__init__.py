"""Measures of faces: a detector of eyes, trained on renders."""
