"""One's own pictures and clips as training data: finding them with their captions, and preparing shards."""
