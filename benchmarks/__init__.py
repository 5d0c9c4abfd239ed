"""Benchmarks against other libraries and against the claims of papers; results are in docs/benchmarks.md."""
