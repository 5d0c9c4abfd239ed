"""The image model lifted into time."""
