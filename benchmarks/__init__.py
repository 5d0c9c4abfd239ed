"""Runs against other libraries and against the papers' claims; docs/benchmarks.md has the figures."""
