"""Containers, and the matrix of Pythons, installers and versions in which Dreamlift is tried."""
