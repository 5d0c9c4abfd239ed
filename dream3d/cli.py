"""The `dream3d` command."""

import sys


def main() -> None:
    """Says that text-to-3D is not in this version yet, whatever is asked; exit code 2."""
    print("dream3d: Text-to-3D is not in this version of Dreamlift yet.", file=sys.stderr)
    sys.exit(2)
