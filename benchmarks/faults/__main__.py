"""Runs one kind of faults and exits with 1 where anything is wrong."""

import argparse
import sys

from benchmarks.faults import disks, ends, inputs, kills, pairs

parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
kinds = parser.add_subparsers(required=True)
for module in (inputs, ends, kills, disks, pairs):
    module.add_arguments(kinds.add_parser(module.__name__.rsplit(".", 1)[-1], help=module.__doc__))

if __name__ == "__main__":
    arguments = parser.parse_args()
    sys.exit(arguments.run(arguments))
