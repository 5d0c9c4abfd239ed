"""What the three commands share on a terminal: exit codes, signals, and the printing of text."""
