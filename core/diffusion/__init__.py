"""Noise schedules, parameterizations and denoisers."""
