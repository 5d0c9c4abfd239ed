"""Clips longer than a model's window, closed loops, and clips from given frames or several prompts."""
