"""`dreamlift evaluate`: what a small judge sees in samples, beside the renders of the very same scenes.

Heavy imports wait for a command.
"""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import UserError
from core.io.atomic import writable_folder
from core.io.presets import validate
from dreamlift.evaluation.request import EvaluationOptions

BUNDLED = Path(str(files("core"))) / "bundled"
THE_BUNDLED = "the bundled one"

app = typer.Typer(help="Measure what the image or the video model draws.", no_args_is_help=True)

Model = Annotated[Path, typer.Option(help="Folder of the model.", show_default=THE_BUNDLED)]
JudgeFolder = Annotated[Path, typer.Option(help="Folder of the judge.", show_default=THE_BUNDLED)]
Out = Annotated[
    Path | None, typer.Option(help="Folder of the report and sheets.", show_default="./evaluation-KIND")
]
Count = Annotated[int, typer.Option(help="How many prompts.")]
HeldOut = Annotated[
    bool, typer.Option("--held-out", help="Pairs of subject and action that were never trained on.")
]
Steps = Annotated[int, typer.Option(help="Denoising steps.")]
Guidance = Annotated[float, typer.Option(help="How strongly to follow the prompt; 1: plainly.")]
Seed = Annotated[int, typer.Option(help="Of scenes, wordings, cameras and noise.")]
Batch = Annotated[int, typer.Option(help="How many to draw at once.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")]


@app.command()
def image(
    model: Model = BUNDLED / "image",
    judge: JudgeFolder = BUNDLED / "judge",
    out: Out = None,
    count: Count = 200,
    held_out: HeldOut = False,
    steps: Steps = 40,
    guidance: Guidance = 3.0,
    seed: Seed = 0,
    batch: Batch = 16,
    device: Device = "auto",
) -> None:
    """Judges images of random prompts: subject, action, color, background and view."""
    request = _request("image", **locals())
    from dreamlift.evaluation.evaluate_samples import evaluate_images

    evaluate_images(request)


@app.command()
def video(
    model: Model = BUNDLED / "video",
    judge: JudgeFolder = BUNDLED / "judge",
    out: Out = None,
    count: Count = 200,
    held_out: HeldOut = False,
    steps: Steps = 40,
    guidance: Guidance = 3.0,
    seed: Seed = 0,
    batch: Batch = 4,
    device: Device = "auto",
    swings: Annotated[int, typer.Option(help="Swings seen from aside, more, fitted by a sine.")] = 16,
) -> None:
    """Judges clips of random prompts: action by motion alone, flicker, motion, swings against a sine."""
    request = _request("video", **locals())
    from dreamlift.evaluation.evaluate_samples import evaluate_clips

    evaluate_clips(request)


@app.command("object")
def object_(
    model: Model = BUNDLED / "image",
    judge: JudgeFolder = BUNDLED / "judge",
    out: Out = None,
    count: Annotated[int, typer.Option(help="How many prompts.", min=1)] = 24,
    seeds: Annotated[int, typer.Option(help="Objects of each prompt.", min=1)] = 2,
    seed: Seed = 0,
    preset: Annotated[
        str, typer.Option(help="Of dream3d: draft, standard, fine, or a YAML file.")
    ] = "standard",
    loss: Annotated[
        str | None, typer.Option(help="x0, sds, sjc, csd, vsd or ism.", show_default="the preset's")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="As of dream3d.", show_default="the preset's")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="As of dream3d.", show_default="the preset's")
    ] = None,
    camera: Annotated[bool, typer.Option(help="Without it: the control, told no view.")] = True,
    true_views: Annotated[
        bool, typer.Option("--true-views", help="Learn from true pictures: what the way to a mesh loses.")
    ] = False,
    processes: Annotated[int, typer.Option(help="Objects at a time, on one thread each.", min=1)] = 1,
    device: Device = "auto",
) -> None:
    """Measures distilled objects against the true ones: silhouettes, colors, sides, volume, surface."""
    from core.io.presets import load_preset
    from dream3d.options import ObjectOptions

    path = preset if preset.endswith((".yaml", ".yml")) else f"dream3d/{preset}"
    options = load_preset(path, ObjectOptions).with_changes(
        loss=loss, guidance=guidance, iterations=iterations, camera=None if camera else "none"
    )
    if true_views and (options.loss != "x0" or options.field != "voxel" or not camera):
        raise UserError("--true-views has targets for the loss x0 in a voxel grid, and knows every camera.")
    folder = writable_folder(out or Path("evaluation-object"))
    from dreamlift.evaluation.evaluate_objects import ObjectEvaluationPlan, evaluate_objects

    plan = ObjectEvaluationPlan(model, judge, folder, options, count, seeds, seed, device, true_views)
    evaluate_objects(plan, processes)


def _request(kind: str, *, out: Path | None, **options: Any) -> EvaluationOptions:
    """The options of a command, checked; its folder is made. Raises UserError that names the option."""
    folder = out or Path(f"evaluation-{kind}")
    request = validate({"out": folder, **options}, EvaluationOptions, f"dreamlift evaluate {kind}")
    writable_folder(folder)
    return request
