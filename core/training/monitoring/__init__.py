"""What is watched during a run: validation loss, sample sheets, curves, trackers."""
