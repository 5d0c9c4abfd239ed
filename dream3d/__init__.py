"""The image model lifted into space."""
