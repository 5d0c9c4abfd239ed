"""What a page that others can reach must refuse: prompts, sizes, queues and uploads without end."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import UserError


@dataclass(frozen=True)
class Limits:
    """Limits of the studio. Each check raises UserError with one sentence."""

    prompt: int = 2000  # characters, also of negative prompts
    queue: int = 64  # jobs that wait
    frames: int = 512  # of a clip
    pixels: int = 2**29  # of all frames of a clip together, enlarged
    iterations: int = 10_000  # of the optimization of an object
    upload: int = 32 * 2**20  # bytes
    picture: int = 64 * 10**6  # pixels of an uploaded picture or frame

    def check_prompt(self, prompt: object, what: str = "prompt") -> None:
        """Refuses texts that are too long. Other values are not its subject."""
        if isinstance(prompt, str) and len(prompt) > self.prompt:
            raise UserError(
                f"The {what} has {len(prompt):,} characters, and the studio takes {self.prompt:,}: shorten "
                "it."
            )

    def check_upload(self, size: int) -> None:
        """Refuses files that are too large."""
        if size > self.upload:
            raise UserError(
                f"The file has {size / 2**20:,.1f} MB, and the studio takes {self.upload >> 20}: give a "
                "smaller one."
            )

    def check_clip(self, frames: int, width: int, height: int) -> None:
        """Refuses clips that are too long or too large. width, height: of the file, in pixels."""
        if frames > self.frames:
            raise UserError(
                f"The studio makes clips of up to {self.frames} frames, not {frames}: give fewer."
            )
        if frames * width * height > self.pixels:
            raise UserError(
                f"{frames} frames of {width}x{height} pixels are more than the studio makes: give fewer, or "
                "a smaller size."
            )

    def check_iterations(self, iterations: int) -> None:
        """Refuses optimizations that are too long."""
        if iterations > self.iterations:
            raise UserError(
                f"The studio optimizes objects for up to {self.iterations:,} iterations, not {iterations:,}."
            )
