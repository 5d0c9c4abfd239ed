"""Mazes to plan in, of our own in NumPy or MuJoCo's PointMaze, and trajectories of a scripted controller."""
