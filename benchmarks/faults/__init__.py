"""Faults on purpose: bad input, kills, full disks and two processes on one output.

    python -m benchmarks.faults inputs --count 1500 --seed 0
    python -m benchmarks.faults ends
    python -m benchmarks.faults kills --count 150
    python -m benchmarks.faults disks --count 40
    python -m benchmarks.faults pairs --count 20

Each prints a table at the end, and exits with 1 where anything is lost, damaged or left behind. Small disks
are tmpfs, which only root can mount.
"""
