"""`dreamlift train`: one module for each command or two, and the folder that a run keeps its files in."""
