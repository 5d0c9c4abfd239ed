"""The same work in other libraries, and in ours, as functions that can be timed in turn."""
