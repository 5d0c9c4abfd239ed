"""The objects of a run: their prompts, their files, and what these are called. Imports no torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from core.batches.prompt_file import PromptRow, read_prompt_file
from core.errors import UserError
from core.io.files.names import OutputFiles, OutputKind
from core.io.files.record import MadeBy
from core.notice import notice
from dream3d.options import Axis, ObjectOptions

if TYPE_CHECKING:
    from core.toybox.prompts import PromptReading

MATERIAL, TEXTURE = ".mtl", ".texture.png"  # endings of the files of an .obj, which name each other
TURNTABLE, TRANSPARENT_TURNTABLE = ".turntable.mp4", ".turntable.webp"
OBJECT = OutputKind(
    "dream3d",
    "mesh",
    (".obj", ".glb", ".ply", ".stl", ".usdz"),
    (TURNTABLE, TRANSPARENT_TURNTABLE, ".views.png", ".html"),
    by_extension={".obj": (MATERIAL, TEXTURE, ".glb"), **dict.fromkeys((".ply", ".stl", ".usdz"), (".glb",))},
    named_inside=frozenset((MATERIAL, TEXTURE)),
    preview=".views.preview.png",
    checkpoint=".checkpoint.safetensors",
)


def read_prompts(prompt: str | None, file: Path | None) -> list[PromptRow]:
    """The one prompt, or those of the file. Raises UserError when there is none."""
    if (prompt is None) == (file is None):
        raise UserError(
            'Give either a prompt, as in dream3d "a fox holding a controller", or --prompts FILE.'
        )
    if file:
        return read_prompt_file(file)
    check_prompt(prompt or "")
    return [PromptRow(prompt or "")]


def check_prompt(prompt: str) -> None:
    """Raises UserError for an empty prompt."""
    if not prompt.strip():
        raise UserError("The prompt is empty.")


def check_format(mesh: Path, up: Axis | None, height: float | None) -> None:
    """Raises UserError for a mesh file of another ending, and for what its format cannot have.

    up: axis that points up, or None. height: mm, or None.
    """
    ending = mesh.suffix.lower()
    if ending not in OBJECT.extensions:
        known = ", ".join(OBJECT.extensions[:-1])
        raise UserError(
            f"Cannot write the mesh as {mesh.name}: its name must end in {known} or {OBJECT.extensions[-1]}."
        )
    if ending == ".usdz" and find_spec("pxr") is None:
        raise UserError(f"Cannot write {mesh.name} without usd-core: pip install usd-core, or give a .glb.")
    if height is not None and ending != ".stl":
        raise UserError(f"--height is that of an .stl in millimeters, and {mesh.name} is in meters: omit it.")
    if up == "z" and ending == ".glb":
        raise UserError(
            "--up z is not for .glb, whose y axis points up by definition: omit it, for Blender and Unreal "
            "turn it upright as they read it."
        )


class ObjectJob(NamedTuple):
    """One object to make, and the paths of its files, which are named after the mesh."""

    prompt: str
    seed: int
    mesh: Path
    reading: PromptReading | None = None  # what the prompt was read as, for the bundled model

    @property
    def text(self) -> str:
        """The text for the model, without the background: that of the reading, or the prompt."""
        return self.reading.text if self.reading else self.prompt

    @property
    def completed(self) -> str | None:
        """The text for the model where it differs from the prompt."""
        return None if self.text == self.prompt else self.text

    def with_reading(self) -> ObjectJob:
        """The job with its prompt read, and the color that the prompt leaves open filled in by its seed."""
        from core.models.nearest_wording import nearest_wording
        from core.toybox.prompts import read_prompt

        reading = read_prompt(self.prompt, self.seed, place=False, nearest=nearest_wording)
        return self._replace(reading=reading)

    def check_files(self, options: ObjectOptions) -> None:
        """Raises UserError for options that the files of the object cannot have."""
        check_format(self.mesh, options.up, options.height)
        _ = options.background_color

    def adjusted(self, options: ObjectOptions) -> ObjectOptions:
        """The options with the negations that the prompt names."""
        if not self.reading:
            return options
        if self.reading.negative and not options.reads_negative:
            notice(f"Without guidance nothing can be excluded: {self.reading.negative} is left out.")
            return options
        return options.with_changes(negative=self.reading.negative_with(options.negative))

    @property
    def made(self) -> MadeBy:
        """The prompt and the seed, as they were given."""
        return MadeBy(self.prompt, self.seed)

    @property
    def files(self) -> OutputFiles:
        """The files of the object."""
        return OBJECT.files(self.mesh)

    @property
    def glb(self) -> Path:
        """The mesh as GLB."""
        return self.files.beside(".glb")

    def turntable(self, transparent: bool) -> Path:
        """The turntable video, or the animation without a background."""
        return self.files.beside(TRANSPARENT_TURNTABLE if transparent else TURNTABLE)

    @property
    def sheet(self) -> Path:
        """The sheet of eight views."""
        return self.files.beside(".views.png")

    @property
    def viewer(self) -> Path:
        """The HTML viewer."""
        return self.files.beside(".html")

    @property
    def checkpoint(self) -> Path:
        """The checkpoint during optimization."""
        return self.files.checkpoint
