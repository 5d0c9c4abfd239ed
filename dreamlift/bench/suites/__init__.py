"""What each of `dreamlift bench core`, `video`, `dream3d`, `start` and `gpu` measures."""
