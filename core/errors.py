"""The error of bad input."""


class UserError(Exception):
    """Input that cannot be used, said in one clear sentence.

    Commands print the sentence and exit with code 2; library callers may catch it. Misuse that only a
    programmer can cause (wrong shapes, missing generators) raises `ValueError` instead.
    """
