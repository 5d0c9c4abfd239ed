"""The `gen-video` command. Torch is imported only once the request has been checked."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from core.errors import UserError
from core.io.command import run_app
from core.io.pictures import read_image
from core.io.presets import load_preset
from video.model_reference import find_model
from video.options import ClipJob, ClipOptions, plan_clips, read_prompts

START = time.perf_counter()

PRESETS = "gen-video"  # the folder of configs/
PRESETS_OWN = "the preset's"
MODELS_OWN = "the preset's, or the model's own"

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
    preset: Annotated[
        str | None,
        typer.Option(
            help="draft, standard, fine, one of a pretrained model such as wan or ltx, or a YAML file.",
            show_default="the one that fits the model",
        ),
    ] = None,
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
        str | None,
        typer.Option(
            help="A folder with a video model, or a model of the Hugging Face hub as OWNER/NAME.",
            show_default="the bundled one",
        ),
    ] = None,
    motion: Annotated[
        str | None,
        typer.Option(
            help="For an image model: an AnimateDiff adapter (folder, file or OWNER/NAME), or none."
        ),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="A picture to set in motion, as the first frame.")
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Pixels, where the model can.", show_default=MODELS_OWN)
    ] = None,
    height: Annotated[int | None, typer.Option(help="Likewise.", show_default=MODELS_OWN)] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(help="LoRA weights: folder, file or OWNER/NAME, with @SCALE perhaps; may be repeated."),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32, bfloat16 or float16.", show_default="float32 on a CPU, bfloat16 on a GPU"
        ),
    ] = None,
    offload: Annotated[
        str | None,
        typer.Option(help="Keep weights off the GPU until their turn: model (part by part) or layers."),
    ] = None,
    tiling: Annotated[
        bool | None, typer.Option(help="Decode in overlapping tiles: less memory.", show_default=PRESETS_OWN)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Decode the latents that a failed run left, where there are any.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Go on even if the memory will not do.")] = False,
    complete: Annotated[
        bool | None,
        typer.Option(
            help="Say to the bundled model the color and the place that a prompt leaves open.",
            show_default="of the bundled model",
        ),
    ] = None,
    preview: Annotated[
        bool | None,
        typer.Option(help="Keep a .preview.png up to date.", show_default="except with --offload"),
    ] = None,
) -> None:
    """Draws a short clip of a sentence.

    Writes the clip, a contact sheet of its frames (.png) and a record of how it was made (.json).
    """
    wanted = read_prompts(prompt, prompts)
    options = _preset(preset) if preset else None
    source = find_model(model or (options and options.model))
    preset = preset or source.preset
    options = (options or _preset(preset)).with_changes(
        model=model,
        motion=motion,
        image=image,
        width=width,
        height=height,
        lora=lora or None,
        dtype=dtype,
        offload=offload,
        tiling=tiling,
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
    source.check(options)
    if options.image:
        read_image(options.image)
    if complete and not source.bundled:
        raise UserError("--complete is for the bundled model: others draw prompts as they are.")
    jobs = plan_clips(wanted, num, seed, out)
    if source.bundled:
        _say_what_is_unknown(wanted)
        if complete is not False:
            jobs = [_completed(job) for job in jobs]

    from video.generate import generate

    generate(
        jobs,
        options,
        reference=source,
        device=device,
        preset=preset,
        preview=options.offload is None if preview is None else preview,
        resume=resume,
        force=force,
        start=START,
    )


def _preset(name: str) -> ClipOptions:
    return load_preset(name if name.endswith((".yaml", ".yml")) else f"{PRESETS}/{name}", ClipOptions)


def _completed(job: ClipJob) -> ClipJob:
    from core.toybox.captions import complete_prompt

    text = complete_prompt(job.prompt, job.seed)
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
    run_app(app)
