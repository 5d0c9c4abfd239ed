"""Faults on purpose: what the commands do with bad input.

python -m benchmarks.faults inputs --count 1500 --seed 0
"""
