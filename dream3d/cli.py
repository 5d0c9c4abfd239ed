"""The `dream3d` command. Torch is imported only once the request has been checked."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from core.bundled import BUNDLED
from core.io import outputs
from core.io.command import run_app
from core.io.presets import load_preset
from dream3d.options import (
    EXTENSIONS,
    ImageModelReference,
    ObjectJob,
    ObjectOptions,
    check_model_reference,
    check_prompt,
)

START = time.perf_counter()

MODEL = BUNDLED / "image"
PRESETS = "dream3d"  # the folder of configs/
STANDARD, CHECKPOINT = "standard", "checkpoint"  # presets, where none is given
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
    preset: Annotated[
        str | None,
        typer.Option(
            help="draft, standard, fine, checkpoint, or a YAML file.",
            show_default="standard; checkpoint for those of the hub",
        ),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="Steps of distillation.", show_default=PRESETS_OWN)
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="x0, sds, sjc, csd, vsd or ism.", show_default=PRESETS_OWN)
    ] = None,
    field: Annotated[str | None, typer.Option(help="voxel or hash.", show_default=PRESETS_OWN)] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            help="How strongly to follow the prompt; 1: plainly.", show_default="the preset's, or the loss's"
        ),
    ] = None,
    negative: Annotated[str | None, typer.Option(help="What to stay away from.")] = None,
    model: Annotated[
        str,
        typer.Option(
            help="An image model: a folder, or an id of the hub (Stable Diffusion, SDXL, DeepFloyd IF).",
            show_default="the bundled one",
        ),
    ] = str(MODEL),
    lora: Annotated[
        list[str],
        typer.Option(help="LoRA weights for a checkpoint: a file, a folder or an id, or NAME@SCALE."),
    ] = [],  # noqa: B006
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Of a checkpoint's weights: float32, bfloat16 or float16.",
            show_default="float32 on a CPU, else bfloat16",
        ),
    ] = None,
    offload: Annotated[
        bool, typer.Option("--offload", help="Keep what is not at work in the CPU's memory.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")] = "auto",
    complete: Annotated[
        bool, typer.Option(help="Say to the bundled model the color that a prompt leaves open.")
    ] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint beside --out.")] = False,
    preview: Annotated[bool, typer.Option(help="Keep a .preview.png up to date meanwhile.")] = True,
) -> None:
    """Makes a textured mesh of a sentence.

    Writes the mesh, a GLB, a turntable (.mp4), a sheet of eight views (.views.png), a page to turn it in
    (.html) and a record of how it was made (.json).
    """
    check_prompt(prompt)

    def chosen(preset: str) -> ObjectOptions:
        path = preset if preset.endswith((".yaml", ".yml")) else f"{PRESETS}/{preset}"
        return load_preset(path, ObjectOptions).with_changes(
            iterations=iterations, loss=loss, field=field, guidance=guidance, negative=negative
        )

    options = chosen(preset or STANDARD)
    jobs = [
        ObjectJob(*planned) for planned in outputs.plan_outputs([prompt], num, seed, out, "mesh", EXTENSIONS)
    ]
    source = ImageModelReference(model, Path(model) == MODEL, dtype, tuple(lora), offload)
    check_model_reference(source, options)
    if preset is None and not source.bundled:
        from core.pretrained.hub import NATIVE, checkpoint_kind, resolve_checkpoint

        preset = STANDARD if checkpoint_kind(resolve_checkpoint(model)) == NATIVE else CHECKPOINT
        options = chosen(preset)
    if source.bundled:
        from core.toybox.captions import SUBJECT_NAMES, known_subject, with_color

        if known_subject(prompt) is None:
            print(
                f"The bundled model knows no subject of: {prompt}. It makes {', '.join(SUBJECT_NAMES)}; for "
                "others give your own image model's folder with --model.",
                file=sys.stderr,
            )
        if complete:
            texts = [with_color(job.prompt, job.seed) for job in jobs]
            jobs = [
                job if text == job.prompt else job._replace(completed=text)
                for job, text in zip(jobs, texts, strict=True)
            ]

    from dream3d.generate import generate

    generate(
        jobs,
        options,
        reference=source,
        device=device,
        preset=preset or STANDARD,
        preview=preview,
        resume=resume,
        start=START,
    )


def main() -> None:
    """The entry point of `dream3d`."""
    run_app(app)
