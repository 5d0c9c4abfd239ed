"""The clips of a run: their prompts, their files, and what these are called. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from core.batches.prompt_file import PromptRow, plan_rows, read_prompt_file
from core.errors import UserError
from core.io.clips.formats import FORMATS, STILLS
from core.io.files.names import OutputFiles, OutputKind
from core.io.files.plan import NOTHING, Replacing
from core.io.files.record import MadeBy
from core.notice import notice
from video.options import ClipOptions
from video.sampling.script import format_script, parse_script, read_script

if TYPE_CHECKING:
    from core.toybox.prompts import PromptReading

SHEET = ".sheet.png"
CLIP = OutputKind(
    "gen-video",
    "clip",
    FORMATS,
    (SHEET,),
    numbered=frozenset((STILLS,)),
    preview=".preview.png",
    checkpoint=".latents.safetensors",
)
TRANSPARENT_CLIP = replace(CLIP, extensions=(".webp", *(each for each in FORMATS if each != ".webp")))

ELEVATION = 13.0  # degrees, of a view in words where neither prompt nor options give one


class ClipJob(NamedTuple):
    """One clip to make, and its files."""

    prompt: str
    seed: int
    clip: Path
    reading: PromptReading | None = None  # what the prompt was read as, for the bundled model

    @property
    def text(self) -> str:
        """The text for the model: that of the reading, or the prompt."""
        return self.reading.text if self.reading else self.prompt

    @property
    def completed(self) -> str | None:
        """The text for the model where it differs from the prompt."""
        return None if self.text == self.prompt else self.text

    def with_reading(self, azimuth: float | None, elevation: float | None, *, fill: bool = True) -> ClipJob:
        """The job with its prompt read, and what the prompt leaves open filled in by its seed.

        Each scene of a script is read; later ones take color and place from the first.

        azimuth, elevation: of the camera where given by hand, which overrides the view that a prompt names.
        fill: False leaves open what the prompt leaves open.
        """
        from core.models.nearest_wording import nearest_wording, within_window
        from core.toybox.prompts import read_prompt

        def read(prompt: str, like: str = "") -> PromptReading:
            return read_prompt(
                prompt, self.seed, nearest=nearest_wording, like=like, fill=fill, within=within_window
            )

        scenes = parse_script(self.prompt)
        reading = read(scenes[0].prompt if scenes else self.prompt)
        if scenes:
            later = [scene._replace(prompt=read(scene.prompt, reading.text).text) for scene in scenes[1:]]
            script = format_script([scenes[0]._replace(prompt=reading.text), *later])
            reading = replace(reading, prompt=self.prompt, text=script)
        return self._replace(reading=reading.with_camera(azimuth, elevation))

    def adjusted(self, options: ClipOptions) -> ClipOptions:
        """The options with the view and the negations that the prompt names."""
        if not self.reading:
            return options
        azimuth, elevation = self.reading.azimuth, self.reading.elevation
        if options.azimuth is None and (azimuth, elevation) != (None, None):
            azimuth, elevation = azimuth or 0.0, ELEVATION if elevation is None else elevation
        negative = self.reading.negative_with(options.negative)
        if self.reading.negative and options.guidance == 1:
            notice(f"Without guidance nothing can be excluded: {self.reading.negative} is left out.")
            negative = options.negative
        return options.with_changes(azimuth=azimuth, elevation=elevation, negative=negative)

    def check_backdrop(self) -> None:
        """Raises UserError where the text for the model names a place, or leaves open which one is drawn."""
        from core.toybox.backdrops import BACKDROPS
        from core.toybox.completion import named_place

        plain = {backdrop.name for backdrop in BACKDROPS if backdrop.plain}
        for text in [scene.prompt for scene in parse_script(self.text)] or [self.text]:
            if (place := named_place(text)) not in plain:
                way = f'leave out "{place}"' if place else 'end the prompt in "on a gray background"'
                raise UserError(f"--background transparent needs a clip before a plain color: {way}.")

    def completed_by(self, complete: Callable[[str], str]) -> ClipJob:
        """The job with the text of each scene of its reading completed by a function."""
        if not self.reading:
            return self
        scenes = parse_script(self.text)
        completed = [scene._replace(prompt=complete(scene.prompt)) for scene in scenes]
        text = format_script(completed) if scenes else complete(self.text)
        return self._replace(reading=replace(self.reading, text=text))

    @property
    def made(self) -> MadeBy:
        """The prompt and the seed, as they were given."""
        return MadeBy(self.prompt, self.seed)

    @property
    def files(self) -> OutputFiles:
        """The files of the clip."""
        return CLIP.files(self.clip)

    @property
    def sheet(self) -> Path:
        """Path of the contact sheet."""
        return self.files.beside(SHEET)

    @property
    def latents(self) -> Path:
        """Path of the latents, stored until the clip is decoded."""
        return self.files.checkpoint


def read_prompts(prompt: str | None, file: Path | None, script: Path | None = None) -> list[PromptRow]:
    """The one prompt, those of the file, or the script. Raises UserError when there is none."""
    if sum(source is not None for source in (prompt, file, script)) != 1:
        raise UserError(
            'Give either a prompt, as in gen-video "a panda on a swing", or --prompts FILE, or --script FILE.'
        )
    if file:
        return read_prompt_file(file)
    text = read_script(script) if script else (prompt or "").strip()
    if not text:
        raise UserError("The prompt is empty.")
    return [PromptRow(text)]


def plan_clips(
    rows: Sequence[PromptRow],
    num: int,
    seed: int,
    out: str | None,
    replacing: Replacing = NOTHING,
    kind: OutputKind = CLIP,
) -> list[ClipJob]:
    """Jobs for `num` clips of every prompt, with seeds from `seed` on; see `plan_outputs`.

    out: a file of one of `FORMATS` or a folder, to be filled with files of the kind's first extension; None
        is the present folder.
    """
    return [ClipJob(*each) for each in plan_rows(rows, num, seed, out, kind, replacing)]
