"""Formats of clips by the endings of their names. Imports nothing heavy."""

from core.errors import UserError

STILLS = ".png"  # numbered pictures, one a frame
FORMATS = (".mp4", ".webm", ".gif", ".webp", ".apng", STILLS)  # the first is that of automatic names
WITH_ALPHA = FORMATS[1:]
TRANSPARENT = "transparent"  # in place of a color of the background


def check_alpha(name: str) -> None:
    """Raises UserError for the name of a file whose format has no transparency."""
    if not name.lower().endswith(WITH_ALPHA):
        *others, last = WITH_ALPHA
        raise UserError(f"{name} cannot be transparent: its name must end in {', '.join(others)} or {last}.")
