"""The `dream3d` command. Torch is imported only after the arguments have been checked."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from core.batches.prompt_file import PromptRow, plan_rows
from core.batches.run import process_count
from core.bundled import BUNDLED, bundled_model
from core.command_line.alone import check_alone
from core.command_line.arguments import CommandLine, DryRun
from core.command_line.completion import choices_of, preset_names
from core.command_line.known_models import model_names, print_models
from core.command_line.run import run_app
from core.errors import UserError
from core.io.files.plan import Replacing
from dream3d.job import OBJECT, ObjectJob, read_prompts
from dream3d.options import DTYPES, OF_A_ROW, ImageModelReference, ObjectOptions, check_model_reference
from dream3d.presets import STANDARD, load_named_preset, load_object_preset, preset_of_tier
from dream3d.requirements import check_objects

START = time.perf_counter()

MODEL = BUNDLED / "image"
REPLAYED_WITH = {"out", "device", "overwrite", "preview"}  # options of a run that --replay takes
PRESETS_OWN = "the preset's"

app = CommandLine()


@app.command(
    makes_files=True,
    values={
        **choices_of(ObjectOptions),
        "preset": preset_names("dream3d"),
        "model": model_names,
        "dtype": lambda: DTYPES,
    },
    list_models=print_models,
)
def dream3d(
    prompt: Annotated[
        str | None, typer.Argument(help='What the object is, such as "a fox holding a controller".')
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="A file in place of PROMPT: one prompt per line, or .csv or .jsonl with the columns prompt, "
            "seed, out and options. The folder of the objects then gets a page of them, index.html."
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="FILE.obj, .glb, .ply, .stl (for printing) or .usdz, or a FOLDER/.",
            show_default="named after the prompt, .obj",
        ),
    ] = None,
    num: Annotated[int, typer.Option(help="Number of objects, with seeds SEED, SEED+1, ...")] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same object.")] = 0,
    preset: Annotated[
        str | None,
        typer.Option(
            help="draft, standard, fine, checkpoint, or a YAML file.",
            show_default="standard; checkpoint for models of the hub",
        ),
    ] = None,
    tier: Annotated[
        str | None,
        typer.Option(
            help="exact: float32; fast: the image model in bfloat16 where the machine is fast at it; "
            "draft: the preset draft.",
            show_default="exact",
        ),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="Iterations of the optimization.", show_default=PRESETS_OWN)
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="Distillation loss: x0, sds, sjc, csd, vsd or ism.", show_default=PRESETS_OWN),
    ] = None,
    field: Annotated[
        str | None,
        typer.Option(help="Grid of the radiance field: voxel or hash.", show_default=PRESETS_OWN),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            help="Classifier-free guidance scale; 1 disables guidance.",
            show_default="the preset's, or the loss's",
        ),
    ] = None,
    negative: Annotated[str | None, typer.Option(help="Negative prompt.")] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="Sampler of the x0 loss's targets: ddim, dpm-solver++, unipc or heun.",
            show_default=PRESETS_OWN,
        ),
    ] = None,
    timesteps: Annotated[
        str | None,
        typer.Option(help="Timesteps of the distillation: annealed or dreamtime.", show_default=PRESETS_OWN),
    ] = None,
    guidance_interval: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Noise levels sigma/alpha, LOW HIGH, within which guidance is applied.",
            show_default=PRESETS_OWN,
        ),
    ] = None,
    guidance_rescale: Annotated[
        float | None,
        typer.Option(
            help="Rescaling of guided predictions, 0 to 1, against saturation.", show_default=PRESETS_OWN
        ),
    ] = None,
    faces: Annotated[
        int | None,
        typer.Option(help="Faces of the mesh at most, 100 to 50000.", show_default=PRESETS_OWN),
    ] = None,
    texture: Annotated[
        int | None,
        typer.Option(help="Side of the texture in pixels, 64 to 4096.", show_default=PRESETS_OWN),
    ] = None,
    up: Annotated[
        str | None,
        typer.Option(
            help="Axis of the mesh file that points up: y, or z as in Blender and Unreal.",
            show_default="z for .stl, y for others",
        ),
    ] = None,
    height: Annotated[
        float | None, typer.Option(help="Height of an .stl in millimeters.", show_default="100")
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            help="Color behind the turntable, a name or #rrggbb. Or transparent: .turntable.webp in place of "
            ".mp4.",
            show_default="paper",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="Image model: emoji, a folder, or a model of the Hugging Face hub as OWNER/NAME (Stable "
            "Diffusion, SDXL, DeepFloyd IF).",
            show_default="the bundled one",
        ),
    ] = str(MODEL),
    lora: Annotated[
        list[str],
        typer.Option(
            help="LoRA weights for a checkpoint: folder, file or OWNER/NAME, optionally with @SCALE; may be "
            "repeated."
        ),
    ] = [],  # noqa: B006
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Data type of a checkpoint's weights: float32, bfloat16 or float16.",
            show_default="float32 on a CPU, else bfloat16",
        ),
    ] = None,
    offload: Annotated[
        bool, typer.Option("--offload", help="Keep weights in CPU memory until they are needed.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")] = "auto",
    complete: Annotated[
        bool | None,
        typer.Option(
            help="Read the prompt into words that the bundled model knows, and fill in the color that it "
            "leaves open.",
            show_default="on for the bundled model",
        ),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(
            help="A record, in place of PROMPT: makes its object once more, as NAME-replay or --out, and "
            "tells whether the bytes are the same."
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace files of these names that no record lists as made here."),
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out objects that are there, by their records.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume from the checkpoint of an interrupted run, next to --out."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Run even if the estimate exceeds the free memory or disk.")
    ] = False,
    dry_run: DryRun = False,
    preview: Annotated[bool, typer.Option(help="Keep a .views.preview.png up to date.")] = True,
    context: typer.Context = None,  # pyright: ignore[reportArgumentType]  (typer fills it in)
) -> None:
    """Makes a textured mesh from a prompt.

    Writes the mesh, a GLB, a turntable (.turntable.mp4), a sheet of eight views (.views.png), an interactive
    viewer (.html) and a record of the run (.dream3d.json).
    """
    if replay:
        check_alone(context, "replay", REPLAYED_WITH)
        from dream3d.replay import replay as replay_object

        same = replay_object(replay, out, device=device, overwrite=overwrite, preview=preview, start=START)
        raise typer.Exit(0 if same else 1)
    rows = read_prompts(prompt, prompts)

    folder = str(bundled_model(model) or model)
    reference = ImageModelReference(folder, Path(folder) == MODEL, dtype, tuple(lora), offload)
    changes: dict[str, Any] = {
        "tier": tier,
        "iterations": iterations,
        "loss": loss,
        "field": field,
        "guidance": guidance,
        "negative": negative,
        "sampler": sampler,
        "timesteps": timesteps,
        "guidance_interval": guidance_interval,
        "rescale": guidance_rescale,
        "faces": faces,
        "texture": texture,
        "up": up,
        "height": height,
        "background": background,
    }
    if complete and not reference.bundled:
        raise UserError("--complete is for the bundled model: give it without --model.")
    # Wrong options are reported before the model is looked for.
    given = {name for name, value in changes.items() if value is not None}
    first = _settled(
        load_named_preset(preset_of_tier(tier, preset) or STANDARD).with_changes(**changes),
        rows,
        reference,
        given,
    )
    replacing = Replacing(
        overwrite=overwrite,
        again=skip_existing or resume or process_count() > 1,
        resume=resume,
        inputs=(prompts,) if prompts else (),
        dry=dry_run,
    )
    needed = check_objects(first, num, out, again=replacing.again, force=force)
    jobs = [ObjectJob(*each) for each in plan_rows(rows, num, seed, out, OBJECT, replacing)]
    preset, defaults = load_object_preset(preset, reference, tier)
    settled = _settled(defaults.with_changes(**changes), rows, reference, given)
    for index, job in enumerate(jobs):
        job.check_files(settled[index // num])
    if reference.bundled:
        from core.command_line.reporting import say
        from core.toybox.prompts import sentences

        read = [job.with_reading() for job in jobs]
        for sentence in sentences((job.reading for job in read if job.reading), notes=complete is not False):
            say(sentence)
        jobs = jobs if complete is False else read

    objects = [(job, settled[index // num]) for index, job in enumerate(jobs)]
    if dry_run:
        from dream3d.dry_run import forecast_objects

        forecast_objects(objects, reference, preset, device=device, needed=needed)
        return

    from dream3d.generate import generate

    outcome = generate(
        objects,
        reference=reference,
        device=device,
        preset=preset,
        preview=preview,
        resume=resume,
        overwrite=overwrite,
        start=START,
        skip_existing=skip_existing,
        gallery=prompts is not None,
    )
    if outcome.failed:
        raise typer.Exit(1)


def _settled(
    options: ObjectOptions, rows: Sequence[PromptRow], reference: ImageModelReference, given: set[str]
) -> list[ObjectOptions]:
    """The options of every row. Raises UserError for those that the model cannot apply."""
    settled = [row.change(options.with_changes, OF_A_ROW) for row in rows]
    for row, each in zip(rows, settled, strict=True):
        check_model_reference(reference, each, given | row.options.keys())
    return settled


def main() -> None:
    """The entry point of `dream3d`."""
    run_app(app)
