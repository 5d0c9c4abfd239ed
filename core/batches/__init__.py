"""Many prompts in one run: files of prompts, a run that goes on after failures and stops, and a gallery."""
