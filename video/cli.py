"""The `gen-video` command. Torch is imported only once the request has been checked."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from core.command import run
from core.files import BUNDLED
from core.presets import load_preset
from video.options import ClipOptions, Job, plan, read_prompts

START = time.perf_counter()

MODEL = BUNDLED / "video"
PRESETS = "gen-video"  # the folder of configs/
PRESETS_OWN = "the preset's"

app = typer.Typer(add_completion=False)


@app.command()
def gen_video(
    prompt: Annotated[str | None, typer.Argument(help='What to draw, as in "a panda on a swing".')] = None,
    prompts: Annotated[Path | None, typer.Option(help="A text file with one prompt a line, instead.")] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="FILE.mp4, .gif or .webp, or a FOLDER/.", show_default="named after the prompt, .mp4"
        ),
    ] = None,
    num: Annotated[int, typer.Option(help="Clips of each prompt, with seeds SEED, SEED+1, ...")] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same clip.")] = 0,
    preset: Annotated[str, typer.Option(help="draft, standard, fine, or a YAML file.")] = "standard",
    steps: Annotated[int | None, typer.Option(help="Denoising steps.", show_default=PRESETS_OWN)] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="How strongly to follow the prompt; 1: plainly.", show_default=PRESETS_OWN),
    ] = None,
    negative: Annotated[str | None, typer.Option(help="What to stay away from.")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames of the clip.", show_default=PRESETS_OWN)] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second.", show_default=PRESETS_OWN)] = None,
    scale: Annotated[
        int | None,
        typer.Option(help="Enlarge the finished frames so many times.", show_default=PRESETS_OWN),
    ] = None,
    resampling: Annotated[
        str | None, typer.Option(help="How to enlarge: lanczos or nearest.", show_default=PRESETS_OWN)
    ] = None,
    azimuth: Annotated[
        float | None,
        typer.Option(help="Camera: degrees around the figure, 0 its front.", show_default=PRESETS_OWN),
    ] = None,
    elevation: Annotated[
        float | None, typer.Option(help="Camera: degrees above the horizon.", show_default=PRESETS_OWN)
    ] = None,
    model: Annotated[
        Path, typer.Option(help="A folder with a video model.", show_default="the bundled one")
    ] = MODEL,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")] = "auto",
    complete: Annotated[
        bool,
        typer.Option(help="Say to the bundled model the colour and the place that a prompt leaves open."),
    ] = True,
    preview: Annotated[bool, typer.Option(help="Keep a .preview.png up to date while sampling.")] = True,
) -> None:
    """Draws a short clip of a sentence.

    Writes the clip, a contact sheet of its frames (.png) and a record of how it was made (.json).
    """
    wanted = read_prompts(prompt, prompts)
    path = preset if preset.endswith((".yaml", ".yml")) else f"{PRESETS}/{preset}"
    options = load_preset(path, ClipOptions).changed(
        steps=steps,
        guidance=guidance,
        negative=negative,
        frames=frames,
        fps=fps,
        scale=scale,
        resampling=resampling,
        azimuth=azimuth,
        elevation=elevation,
    )
    jobs = plan(wanted, num, seed, out)
    if model == MODEL:
        _say_what_is_unknown(wanted)
        if complete:
            jobs = [_completed(job) for job in jobs]

    from video.generate import generate

    generate(jobs, options, model=model, device=device, preset=preset, preview=preview, start=START)


def _completed(job: Job) -> Job:
    from core.toybox.captions import completed

    text = completed(job.prompt, job.seed)
    return job if text == job.prompt else job._replace(completed=text)


def _say_what_is_unknown(prompts: Sequence[str]) -> None:
    from core.toybox.captions import SUBJECT_NAMES, known_subject

    strangers = [prompt for prompt in prompts if known_subject(prompt) is None]
    if strangers:
        print(
            f"The bundled model knows no subject of: {'; '.join(strangers)}. It draws "
            f"{', '.join(SUBJECT_NAMES)}; for others give your own video model's folder with --model.",
            file=sys.stderr,
        )


def main() -> None:
    """The entry point of `gen-video`."""
    run(app)
