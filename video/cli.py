"""The `gen-video` command. Torch is imported only once the request has been checked."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from core.batches.run import process_count
from core.command_line.alone import check_alone
from core.command_line.arguments import CommandLine, DryRun
from core.command_line.completion import choices_of, preset_names
from core.command_line.known_models import model_names, print_models
from core.command_line.run import run_app
from core.errors import UserError
from core.io.clips.formats import check_alpha
from core.io.files.plan import Replacing
from core.io.presets import load_preset
from core.io.values import check_range
from video.estimates.requirements import check_clips
from video.find_model import find_model
from video.job import CLIP, TRANSPARENT_CLIP, ClipJob, plan_clips, read_prompts
from video.model_reference import describe_rate, settle
from video.options import OF_A_ROW, ClipOptions, preset_of_tier

START = time.perf_counter()

PRESETS = "gen-video"  # the folder of configs/
PRESETS_OWN = "the preset's"
REPLAYED_WITH = {"out", "device", "overwrite", "preview"}  # options of a run that --replay takes
MODELS_OWN = "the preset's, or the model's own"

app = CommandLine()


@app.command(
    makes_files=True,
    values={
        **choices_of(ClipOptions),
        "preset": preset_names(PRESETS),
        "model": partial(model_names, PRESETS),
    },
    list_models=partial(print_models, PRESETS),
)
def gen_video(
    prompt: Annotated[
        str | None,
        typer.Argument(
            help='What the clip shows: "a panda on a swing" or "0: a panda waving | 2: a panda dancing".'
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="A file in place of PROMPT: one prompt per line, or .csv or .jsonl with the columns prompt, "
            "seed, out and options. The folder of the clips then gets a page of them, index.html."
        ),
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(help='A text file with one scene per line, "SECONDS: PROMPT", in place of PROMPT.'),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="FILE.mp4, .webm, .gif, .webp, .apng or .png (numbered pictures), or a FOLDER/.",
            show_default="named after the prompt, .mp4",
        ),
    ] = None,
    num: Annotated[int, typer.Option(help="Clips of each prompt, with seeds SEED, SEED+1, ...")] = 1,
    batch: Annotated[
        int, typer.Option(help="Clips that are sampled together where their options are equal.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same clip.")] = 0,
    preset: Annotated[
        str | None,
        typer.Option(
            help="draft, standard, fine, one of a pretrained model such as wan or ltx, or a YAML file.",
            show_default="the one that fits the model",
        ),
    ] = None,
    tier: Annotated[
        str | None,
        typer.Option(
            help="exact: float32; fast: bfloat16 where the machine is fast at it; draft: the distilled "
            "model, with the preset distilled unless one is given.",
            show_default="fast where bfloat16 is",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.", show_default=PRESETS_OWN)] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="Classifier-free guidance scale; 1 disables guidance.", show_default=PRESETS_OWN),
    ] = None,
    negative: Annotated[str | None, typer.Option(help="Negative prompt.")] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="ddim, ddpm, dpm-solver++, unipc, heun or euler.",
            show_default="the preset's, or the model's own",
        ),
    ] = None,
    eta: Annotated[
        float | None, typer.Option(help="Noise of DDIM: 0 deterministic, 1 ancestral.", show_default="0")
    ] = None,
    guidance_interval: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Noise levels sigma/alpha, LOW HIGH, within which guidance is applied.", show_default="all"
        ),
    ] = None,
    guidance_rescale: Annotated[
        float | None,
        typer.Option(help="Rescaling of guided predictions, 0 to 1, against saturation.", show_default="0"),
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Number of frames.", show_default=PRESETS_OWN)] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            help="Frames per second of the file. From 16 on, a temporal super-resolution stage, where the "
            "model has one, draws frames in between; other rates than the model's change the speed.",
            show_default=PRESETS_OWN,
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="Length of the clip, in place of --frames. Long clips are drawn in windows."),
    ] = None,
    super_resolution: Annotated[
        int | None,
        typer.Option(
            help="Denoising steps of the model's super-resolution stage; 0 leaves it out.",
            show_default=PRESETS_OWN,
        ),
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(help="Factor by which the finished frames are enlarged.", show_default=PRESETS_OWN),
    ] = None,
    resampling: Annotated[
        str | None,
        typer.Option(help="Resampling of the enlargement: lanczos or nearest.", show_default=PRESETS_OWN),
    ] = None,
    azimuth: Annotated[
        float | None,
        typer.Option(help="Camera azimuth in degrees; 0 looks at the front.", show_default=PRESETS_OWN),
    ] = None,
    phase: Annotated[
        float | None,
        typer.Option(
            help="Where in the loop of its action the clip begins, from 0 up to 1.", show_default="0"
        ),
    ] = None,
    last_phase: Annotated[
        float | None,
        typer.Option(help="The same of the last frame, with --interpolate.", show_default="read from it"),
    ] = None,
    elevation: Annotated[
        float | None,
        typer.Option(help="Camera elevation in degrees above the horizon.", show_default=PRESETS_OWN),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="emoji, a folder with a video or image model, or a model of the Hugging Face hub as "
            "OWNER/NAME.",
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
        Path | None, typer.Option(help="A picture to animate: it becomes the first frame.")
    ] = None,
    interpolate: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Two pictures: the first and the last frame.")
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            help="Color below transparent parts of given pictures: a name or #rrggbb. Or transparent, for "
            "the bundled model: a clip without its plain backdrop.",
            show_default="white",
        ),
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="A clip to start from, noised: .mp4, .gif, .webp, ...")
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(help="How far --video is noised, above 0 to 1 (nothing is left).", show_default="0.6"),
    ] = None,
    loop: Annotated[
        bool | None, typer.Option("--loop", help="The clip's end meets its beginning.", show_default=False)
    ] = None,
    extension: Annotated[
        str | None,
        typer.Option(
            help="How windows of long clips continue each other: guidance or replacement.",
            show_default="guidance",
        ),
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Width in pixels, for checkpoints.", show_default=MODELS_OWN)
    ] = None,
    height: Annotated[
        int | None, typer.Option(help="Height in pixels, for checkpoints.", show_default=MODELS_OWN)
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            help="LoRA weights: folder, file or OWNER/NAME, optionally with @SCALE; may be repeated."
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32, bfloat16 or float16.", show_default="float32 on a CPU, bfloat16 on a GPU"
        ),
    ] = None,
    offload: Annotated[
        str | None,
        typer.Option(
            help="Keep weights in CPU memory until they are needed: model (part by part), group (block by "
            "block) or layers."
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Weights of a transformer in half the memory of bfloat16, cast to compute: float8, or int8, "
            "which is nearer and needs torchao."
        ),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(help="Reuse what changes little between steps: first-block, pyramid or taylorseer."),
    ] = None,
    attention: Annotated[
        str | None,
        typer.Option(
            help="Attention backend of diffusers: native, flash, sage, xformers, ...", show_default="native"
        ),
    ] = None,
    tiling: Annotated[
        bool | None, typer.Option(help="Decode in overlapping tiles: less memory.", show_default=PRESETS_OWN)
    ] = None,
    context_parallel: Annotated[
        int | None,
        typer.Option(
            help="For Wan: processes, started by torchrun and each with a GPU, that draw every clip together."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ..., or auto.")] = "auto",
    replay: Annotated[
        Path | None,
        typer.Option(
            help="A record, in place of PROMPT: makes its clip once more, as NAME-replay or --out, and "
            "tells whether the bytes are the same."
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace files of these names that no record lists as made here."),
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out clips that are there, by their records.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Decode the latents of a failed run, where there are any.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Run even if the estimate exceeds the free memory or disk.")
    ] = False,
    dry_run: DryRun = False,
    complete: Annotated[
        bool | None,
        typer.Option(
            help="Read the prompt into words that the model knows, and fill in the color and the place that "
            "it leaves open.",
            show_default="on for the bundled model",
        ),
    ] = None,
    preview: Annotated[
        bool | None,
        typer.Option(help="Keep a .preview.png up to date.", show_default="except with --offload"),
    ] = None,
    context: typer.Context = None,  # pyright: ignore[reportArgumentType]  (typer fills it in)
) -> None:
    """Makes a short clip from a sentence.

    Writes the clip, a contact sheet of its frames (.sheet.png) and a record of how it was made
    (.gen-video.json).
    """
    check_range(batch, 1, 1024, "--batch")
    if replay:
        check_alone(context, "replay", REPLAYED_WITH)
        from video.replay import replay as replay_clip

        same = replay_clip(
            replay, out, device=device, overwrite=overwrite, preview=preview is not False, start=START
        )
        raise typer.Exit(0 if same else 1)
    requested = read_prompts(prompt, prompts, script)
    preset = preset or preset_of_tier(tier)
    options = _preset(preset) if preset else None
    reference = find_model(model or (options and options.model))
    preset = preset or reference.preset
    changes: dict[str, Any] = dict(
        model=model,
        motion=motion,
        image=image,
        interpolate=interpolate,
        video=video,
        strength=strength,
        loop=loop,
        extension=extension,
        width=width,
        height=height,
        lora=lora or None,
        dtype=dtype,
        offload=offload,
        storage=storage,
        cache=cache,
        attention=attention,
        tiling=tiling,
        context_parallel=context_parallel,
        tier=tier,
        steps=steps,
        guidance=guidance,
        negative=negative,
        sampler=sampler,
        eta=eta,
        guidance_interval=guidance_interval,
        guidance_rescale=guidance_rescale,
        frames=frames,
        seconds=seconds,
        fps=fps,
        super_resolution=super_resolution,
        scale=scale,
        resampling=resampling,
        azimuth=azimuth,
        elevation=elevation,
        phase=phase,
        last_phase=last_phase,
        background=background,
    )
    options = (options or _preset(preset)).with_changes(**changes)
    given = {name for name, value in changes.items() if value is not None}
    if complete and not reference.bundled:
        raise UserError("--complete is for the bundled model: give it without --model.")
    reference.check_run(resume=resume)
    settled = [
        settle(
            reference,
            row.change(options.with_changes, OF_A_ROW),
            [row.prompt],
            given | row.options.keys(),
        )
        for row in requested
    ]
    pictures = [file for each in settled for file in each.given_files]
    replacing = Replacing(
        overwrite=overwrite,
        again=skip_existing or resume or (process_count() > 1 and not context_parallel),
        resume=resume,
        inputs=tuple(filter(None, [prompts, script, *pictures])),
        dry=dry_run,
    )
    rows = [*zip(requested, settled, strict=True)]
    needed = check_clips(reference, rows, num, out, batch=batch, again=replacing.again, force=force)
    kind = TRANSPARENT_CLIP if options.transparent else CLIP
    jobs = plan_clips(requested, num, seed, out, replacing, kind)
    each = [index // num for index in range(len(jobs))]  # the row of every job
    if reference.bundled:
        fills = [not settled[row].has_given_frames for row in each]
        cameras = [
            (
                requested[row].options.get("azimuth", azimuth),
                requested[row].options.get("elevation", elevation),
            )
            for row in each
        ]
        jobs = _read_prompts(jobs, complete is not False, cameras, fills)
    for job, row in zip(jobs, each, strict=True):
        if settled[row].transparent:
            check_alpha(job.clip.name)
            job.check_backdrop()
    from core.command_line.reporting import say

    for sentence in dict.fromkeys(filter(None, (describe_rate(reference, each) for each in settled))):
        say(sentence)

    clips = [(job, settled[row]) for job, row in zip(jobs, each, strict=True)]
    if resume and not skip_existing and not any(job.latents.exists() for job in jobs):
        raise UserError(f"There is nothing to resume: no {jobs[0].latents}.")
    if dry_run:
        from video.estimates.dry_run import forecast_clips

        forecast_clips(clips, reference, preset, device=device, needed=needed, force=force)
        return

    from video.generate import generate

    outcome = generate(
        clips,
        reference=reference,
        device=device,
        preset=preset,
        preview=options.offload is None if preview is None else preview,
        resume=resume,
        force=force,
        start=START,
        complete=complete is not False,
        overwrite=overwrite,
        skip_existing=skip_existing,
        gallery=prompts is not None,
        batch=batch,
    )
    if outcome.failed:
        raise typer.Exit(1)


def _preset(name: str) -> ClipOptions:
    return load_preset(name, ClipOptions, PRESETS)


def _read_prompts(
    jobs: Sequence[ClipJob],
    complete: bool,
    cameras: Sequence[tuple[float | None, float | None]],
    fills: Sequence[bool],
) -> list[ClipJob]:
    """The jobs with their prompts read where they are to be completed; prints what cannot be drawn.

    cameras: azimuth and elevation where they are given by hand. fills: as in `ClipJob.with_reading`.
    """
    from core.command_line.reporting import say
    from core.toybox.prompts import sentences

    read = [
        job.with_reading(*camera, fill=fill) for job, camera, fill in zip(jobs, cameras, fills, strict=True)
    ]
    for sentence in sentences((job.reading for job in read if job.reading), notes=complete):
        say(sentence)
    return read if complete else list(jobs)


def main() -> None:
    """The entry point of `gen-video`."""
    run_app(app)
