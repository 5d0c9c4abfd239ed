"""Output files of the commands: their names, what may be replaced, and how they appear."""
