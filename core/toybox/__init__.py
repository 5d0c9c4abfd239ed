"""A procedural world with exact captions, cameras and motion: the training data of the bundled models.

It serves as a training set of images and clips of any size, as the ground truth for measuring motion and
meshes, and as a generator of test data. Nothing is downloaded, and all randomness is seeded.
"""
