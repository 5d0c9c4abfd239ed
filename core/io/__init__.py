"""Files, presets, stored weights, the machine and progress of commands."""
