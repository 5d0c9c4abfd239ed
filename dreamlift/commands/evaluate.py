"""`dreamlift evaluate`: a small classifier, the judge, scores samples and renders of the same scenes.

Each command imports its heavy modules when it runs.
"""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from core.command_line.arguments import CommandLine
from core.errors import UserError
from core.io.atomic import writable_folder
from core.io.base_model import CONFIG
from core.io.files.listed import own_files
from core.io.presets import validate
from core.io.values import check_processes, check_seed
from core.sampling_options import SamplerName
from core.tiers import ArithmeticTier
from dreamlift.evaluation.options import CLIP_FILES, IMAGE_FILES, REPORT, SHEET, EvaluationOptions

BUNDLED = Path(str(files("core"))) / "bundled"
THE_BUNDLED = "the bundled one"
LOWERED = "exact: float32; fast: bfloat16 where the machine is fast at it"

app = CommandLine(help="Measure the quality of images, clips and objects.", no_args_is_help=True)

Model = Annotated[Path, typer.Option(help="Folder of the model.", show_default=THE_BUNDLED)]
JudgeFolder = Annotated[Path, typer.Option(help="Folder of the judge.", show_default=THE_BUNDLED)]
SizedJudge = Annotated[
    Path | None,
    typer.Option("--judge", help="Folder of the judge.", show_default="the bundled one"),
]
EyesFolder = Annotated[
    Path | None,
    typer.Option(
        "--eyes", help="Folder of the detector of eyes.", show_default="the bundled one, if there is one"
    ),
]
Enlarger = Annotated[
    Path | None,
    typer.Option(
        "--super-resolution",
        help="Folder of a super-resolution model that enlarges the samples.",
        show_default="the model's own stage, unless --size is that of the base",
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        help="Pixels at which samples and renders are compared: 64 or 256.", show_default="as drawn"
    ),
]
Out = Annotated[
    Path | None, typer.Option(help="Folder of the report and sheets.", show_default="./evaluation-KIND")
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace files of the report's names, whoever has made them."),
]
Count = Annotated[int, typer.Option(help="Number of prompts.")]
HeldOut = Annotated[
    bool, typer.Option("--held-out", help="Use pairs of subject and action that were never trained on.")
]
Steps = Annotated[int, typer.Option(help="Denoising steps.")]
Sampler = Annotated[SamplerName, typer.Option(help="Sampler.")]
Guidance = Annotated[float, typer.Option(help="Classifier-free guidance scale; 1 disables guidance.")]
Weak = Annotated[
    bool,
    typer.Option(
        help="Guide by the weaker version of the model, where there is one, or by the model itself."
    ),
]
Seed = Annotated[int, typer.Option(help="Random seed of scenes, captions, cameras and noise.")]
Batch = Annotated[int, typer.Option(help="Number of samples per batch.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")]


@app.command()
def image(
    model: Model = BUNDLED / "image",
    judge: SizedJudge = None,
    eyes: EyesFolder = None,
    contrastive: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a contrastive model, for R-Precision.", show_default="that of an unCLIP model"
        ),
    ] = None,
    super_resolution: Enlarger = None,
    out: Out = None,
    overwrite: Overwrite = False,
    size: Size = None,
    count: Count = 200,
    held_out: HeldOut = False,
    steps: Steps = 12,
    sampler: Sampler = "dpm-solver++",
    guidance: Guidance = 2.5,
    tier: Annotated[ArithmeticTier, typer.Option(help=f"{LOWERED}.")] = "exact",
    weak: Weak = True,
    seed: Seed = 0,
    batch: Batch = 16,
    device: Device = "auto",
) -> None:
    """Scores images of random prompts: subject, action, color, background, view, eyes, sharpness, realism."""
    options = _validated("image", **locals())
    from dreamlift.evaluation.evaluate_samples import evaluate_images

    with own_files(options.out, IMAGE_FILES, options.overwrite):
        evaluate_images(options)


@app.command()
def video(
    model: Model = BUNDLED / "video",
    judge: SizedJudge = None,
    eyes: EyesFolder = None,
    super_resolution: Enlarger = None,
    out: Out = None,
    overwrite: Overwrite = False,
    size: Size = None,
    count: Count = 200,
    held_out: HeldOut = False,
    steps: Steps = 12,
    sampler: Sampler = "dpm-solver++",
    guidance: Guidance = 2.0,
    tier: Annotated[
        str,
        typer.Option(help=f"{LOWERED}; draft: the distilled model, in the steps that it has learned."),
    ] = "exact",
    weak: Weak = True,
    seed: Seed = 0,
    batch: Batch = 4,
    device: Device = "auto",
    swings: Annotated[
        int, typer.Option(help="Number of additional clips of swings, seen from the side.")
    ] = 16,
) -> None:
    """Scores clips of random prompts: action by motion alone, flicker, motion, and sine fits of swings."""
    options = _validated("video", **locals())
    from dreamlift.evaluation.evaluate_samples import evaluate_clips

    with own_files(options.out, CLIP_FILES, options.overwrite):
        evaluate_clips(options)


@app.command("object")
def object_(
    model: Model = BUNDLED / "image",
    judge: JudgeFolder = BUNDLED / "judge",
    out: Out = None,
    overwrite: Overwrite = False,
    count: Annotated[int, typer.Option(help="Number of prompts.", min=1, max=100_000)] = 24,
    seeds: Annotated[int, typer.Option(help="Number of objects per prompt.", min=1, max=1000)] = 2,
    seed: Seed = 0,
    preset: Annotated[
        str, typer.Option(help="Preset of dream3d: draft, standard, fine, or a YAML file.")
    ] = "standard",
    loss: Annotated[
        str | None, typer.Option(help="Loss: x0, sds, sjc, csd, vsd or ism.", show_default="the preset's")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale, as in dream3d.", show_default="the preset's")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="Iterations, as in dream3d.", show_default="the preset's")
    ] = None,
    camera: Annotated[
        bool, typer.Option(help="Condition the model on the camera; --no-camera is the control.")
    ] = True,
    true_views: Annotated[
        bool,
        typer.Option(
            "--true-views", help="Fit to renders of the true object; measures the loss of meshing alone."
        ),
    ] = False,
    processes: Annotated[
        int, typer.Option(help="Number of objects made in parallel, on one thread each.", min=1)
    ] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the objects of an interrupted run, and make the others.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Compares distilled objects with the true ones: silhouettes, colors, views, volume and surface."""
    from core.io.presets import load_preset
    from dream3d.options import ObjectOptions

    options = load_preset(preset, ObjectOptions, "dream3d").with_changes(
        loss=loss, guidance=guidance, iterations=iterations, camera=None if camera else "none"
    )
    if true_views and (options.loss != "x0" or options.field != "voxel" or not camera):
        raise UserError("--true-views works only with the loss x0 and a voxel grid, and without --no-camera.")
    check_seed(seed)
    check_processes(processes)
    _check_models(model, judge)
    folder = writable_folder(out or Path("evaluation-object"))
    from dreamlift.evaluation.evaluate_objects import ObjectEvaluationPlan, evaluate_objects

    plan = ObjectEvaluationPlan(model, judge, folder, options, count, seeds, seed, device, true_views)
    sheets = (SHEET.format(number) for number in range(count * seeds))
    with own_files(folder, (REPORT, *sheets), overwrite):
        evaluate_objects(plan, processes, resume)


def _validated(kind: str, *, out: Path | None, **arguments: Any) -> EvaluationOptions:
    """Validated options of one command; also creates the output folder.

    Raises UserError that names the invalid option.
    """
    folder = out or Path(f"evaluation-{kind}")
    options = validate({"out": folder, **arguments}, EvaluationOptions, f"dreamlift evaluate {kind}")
    _check_models(options.model, options.judge, options.eyes, options.super_resolution, options.contrastive)
    writable_folder(folder)
    return options


def _check_models(*folders: Path | None) -> None:
    """Raises UserError, before weights are read, for a folder without a model; None is not given."""
    for folder in folders:
        if folder and not (folder / CONFIG).is_file():
            raise UserError(f"There is no model in {folder}: it has no {CONFIG}.")
