"""A small procedural world with exact captions, cameras and motion: what the bundled model learns from.

It is three things at once: a training set of images and clips of any size, the ground truth against which
motion and meshes are measured, and a generator of test data. Nothing is downloaded and nothing is random
but by seed.
"""
