"""The `dream3d` command. Torch is imported only once the request has been checked."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from core import outputs
from core.command import run
from core.files import BUNDLED
from core.presets import load_preset
from dream3d.options import EXTENSIONS, Job, ObjectOptions, check_prompt

START = time.perf_counter()

MODEL = BUNDLED / "image"
PRESETS = "dream3d"  # the folder of configs/
PRESETS_OWN = "the preset's"

app = typer.Typer(add_completion=False)


@app.command()
def dream3d(
    prompt: Annotated[str, typer.Argument(help='What to make, as in "a fox holding a controller".')],
    out: Annotated[
        str | None,
        typer.Option(
            help="FILE.obj, .glb or .ply, or a FOLDER/.", show_default="named after the prompt, .obj"
        ),
    ] = None,
    num: Annotated[int, typer.Option(help="Objects, with seeds SEED, SEED+1, ...")] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same object.")] = 0,
    preset: Annotated[str, typer.Option(help="draft, standard, fine, or a YAML file.")] = "standard",
    iterations: Annotated[
        int | None, typer.Option(help="Steps of distillation.", show_default=PRESETS_OWN)
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="x0, sds, sjc, csd, vsd or ism.", show_default=PRESETS_OWN)
    ] = None,
    field: Annotated[str | None, typer.Option(help="voxel or hash.", show_default=PRESETS_OWN)] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="How strongly to follow the prompt; 1: plainly.", show_default=PRESETS_OWN),
    ] = None,
    negative: Annotated[str | None, typer.Option(help="What to stay away from.")] = None,
    model: Annotated[
        Path, typer.Option(help="A folder with an image model.", show_default="the bundled one")
    ] = MODEL,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")] = "auto",
    complete: Annotated[
        bool, typer.Option(help="Say to the bundled model the colour that a prompt leaves open.")
    ] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint beside --out.")] = False,
    preview: Annotated[bool, typer.Option(help="Keep a .preview.png up to date meanwhile.")] = True,
) -> None:
    """Makes a textured mesh of a sentence.

    Writes the mesh, a GLB, a turntable (.mp4), a sheet of eight views (.views.png), a page to turn it in
    (.html) and a record of how it was made (.json).
    """
    check_prompt(prompt)
    path = preset if preset.endswith((".yaml", ".yml")) else f"{PRESETS}/{preset}"
    options = load_preset(path, ObjectOptions).changed(
        iterations=iterations, loss=loss, field=field, guidance=guidance, negative=negative
    )
    jobs = [Job(*planned) for planned in outputs.plan([prompt], num, seed, out, "mesh", EXTENSIONS)]
    bundled = model == MODEL
    if bundled:
        from core.toybox.captions import SUBJECT_NAMES, coloured, known_subject

        if known_subject(prompt) is None:
            print(
                f"The bundled model knows no subject of: {prompt}. It makes {', '.join(SUBJECT_NAMES)}; for "
                "others give your own image model's folder with --model.",
                file=sys.stderr,
            )
        if complete:
            texts = [coloured(job.prompt, job.seed) for job in jobs]
            jobs = [
                job if text == job.prompt else job._replace(completed=text)
                for job, text in zip(jobs, texts, strict=True)
            ]

    from dream3d.generate import generate

    generate(
        jobs,
        options,
        model=model,
        bundled=bundled,
        device=device,
        preset=preset,
        preview=preview,
        resume=resume,
        start=START,
    )


def main() -> None:
    """The entry point of `dream3d`."""
    run(app)
