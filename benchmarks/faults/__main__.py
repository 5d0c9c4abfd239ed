"""Runs one kind of faults and exits with 1 where anything is wrong."""

import argparse
import sys

from benchmarks.faults import inputs

parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
kinds = parser.add_subparsers(required=True)
inputs.add_arguments(kinds.add_parser("inputs", help=inputs.__doc__))

if __name__ == "__main__":
    arguments = parser.parse_args()
    sys.exit(arguments.run(arguments))
