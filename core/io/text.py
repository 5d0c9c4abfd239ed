"""Small parts of messages."""


def count_of(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun, as in "1 frame" and "2 frames". plural: where it is not formed with s."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def too_few(count: int, noun: str) -> str:
    """Such as "1 example is too few", "2 examples are too few"."""
    return f"{count_of(count, noun)} {'is' if count == 1 else 'are'} too few"
