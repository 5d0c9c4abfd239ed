"""Files of clips: mp4, webm, gif, webp, apng and numbered png, with and without transparency."""
