"""`python -m dreamlift`, for launchers such as torchrun."""

from dreamlift.cli import main

main()
