"""The exception for unusable input."""


class UserError(Exception):
    """Exception for unusable input; its message is one clear sentence.

    Commands print the sentence and exit with code 2. Library callers may catch it. Misuse that only a
    programmer can cause (wrong shapes, missing generators) raises `ValueError` instead.
    """
