"""From a prompt to an object and its files: what the command and the Python API share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from core.bundled import weak_version
from core.io.base_model import later_stage, stored_sha256
from core.io.files.record import digests
from core.io.files.saving import save_output
from core.io.machine import describe_device, package_versions
from core.io.pictures import Frames
from core.models.image_model import ImageModelLike
from core.models.super_resolution import SuperResolution
from core.pretrained.hub import NATIVE, checkpoint_kind, resolve_checkpoint, weights_sha256
from core.pretrained.image_model import PretrainedImageModel, check_unguided, load_image_model
from core.tiers import compute_dtype
from core.toybox.backdrops import BACKDROPS
from dream3d.distill import make_model_space
from dream3d.job import ObjectJob
from dream3d.meshing.mesh import Mesh
from dream3d.nerf.cameras import orbit_cameras
from dream3d.nerf.radiance_fields import HashField, RadianceField, VoxelField
from dream3d.optimization import diagnostics
from dream3d.optimization.backgrounds import learned_color, plain_backdrops
from dream3d.optimization.build_loss import build_distillation
from dream3d.optimization.optimize import Optimization
from dream3d.optimization.view_conditioning import VIEW_WORDS
from dream3d.optimization.view_renderer import UNSEEN, TrainingViews
from dream3d.optimization.view_strategies import resize_images
from dream3d.options import Axis, ImageModelReference, ObjectOptions, check_offload
from dream3d.record import ObjectRecord, ObjectSeconds, write_record

if TYPE_CHECKING:
    from dream3d.meshing.pipeline import MeshingResult

VIEW_ENDINGS = [f", {words}" for words in VIEW_WORDS]
PHASE = 0.0  # of the action's loop: a mesh stands still


class LoadedModel(NamedTuple):
    """An image model with what run records state about it."""

    model: ImageModelLike
    reference: ImageModelReference
    sha256: str  # of the files with the network's weights
    stages: dict[str, str]  # sha256 of other weights: weak version, super-resolution
    super_resolution: SuperResolution | None  # of the model's images
    kind: str  # "dreamlift", or the class of the checkpoint's pipeline
    device: torch.device

    @property
    def dtype(self) -> str:
        """Data type of the network's weights, such as "float32"."""
        return str(next(self.model.denoiser.parameters()).dtype).removeprefix("torch.")

    def settle(self, options: ObjectOptions) -> ObjectOptions:
        """The options with the defaults that depend on the model."""
        tier = "exact" if self.kind == NATIVE else None
        return options.with_model_defaults(
            self.model.reads_attributes, self.model.first_stage is not None, tier
        )


@dataclass(frozen=True, eq=False)
class Object3D:
    """A textured mesh, the field that it was extracted from, and the record of how both were made.

    Turns in a notebook.
    """

    mesh: Mesh
    field: RadianceField
    record: ObjectRecord
    views: Frames | None = None  # of the field, see `MeshingResult`

    def save(
        self,
        path: str | Path,
        *,
        up: Axis | None = None,
        height: float | None = None,
        overwrite: bool = False,
    ) -> list[Path]:
        """Writes the mesh, a GLB, turntable, sheet of eight views, viewer and record; returns the paths.

        path: ends in .obj, .glb, .ply, .stl or .usdz. A file of that name is replaced; others that the mesh's
            companions would replace are refused, unless `overwrite` is given or they are of an earlier mesh
            of that name.
        up, height: as in `dream3d.meshing.export.write_mesh`, those of the record unless given.

        Raises UserError for another ending, for what its format cannot have, for an unwritable folder, and
            for what may not be replaced.
        """
        job = ObjectJob(self.record.prompt, self.record.seed, Path(path))
        options = self.record.options.with_changes(up=up, height=height)
        job.check_files(options)
        changed = replace(self, record=self.record.model_copy(update={"options": options}))
        with save_output(job.files, overwrite) as drafts:
            files = changed.write_files(job._replace(mesh=drafts.output))
            write_record(drafts.record, changed.record.model_copy(update={"files": digests(files)}))
        return job.files.there

    def write_files(self, job: ObjectJob) -> list[Path]:
        """Writes all files of a job but its record; returns the paths."""
        from dream3d.meshing.pipeline import write_object_files

        return write_object_files(job, self.mesh, self.record.options, self.views)

    def _repr_html_(self) -> str:
        """An inline mesh to turn by mouse."""
        from dream3d.meshing.viewer import viewer

        page = escape(viewer(self.mesh, self.record.prompt, views=self.views))
        return f'<iframe srcdoc="{page}" width="480" height="480" style="border:0"></iframe>'


def load_model(reference: ImageModelReference, device: torch.device) -> LoadedModel:
    """Loads the image model of a reference. Raises UserError for models that cannot be used."""
    check_offload(reference, device.type)
    folder = resolve_checkpoint(reference.name)
    dtype = getattr(torch, reference.dtype) if reference.dtype else None
    model = load_image_model(
        folder, device=device, dtype=dtype, lora=reference.lora, offload=reference.offload
    )
    if isinstance(model, PretrainedImageModel):
        check_unguided(model.pipeline.unet.config)
    kind = checkpoint_kind(folder)
    enlarger = later_stage(Path(folder), "super_resolution") if kind == NATIVE else None
    larger = SuperResolution.load(enlarger, device) if enlarger else None
    others = {"weak": weak_version(Path(folder)) if kind == NATIVE else None, "super_resolution": enlarger}
    stages = {name: stored_sha256(path) for name, path in others.items() if path}
    return LoadedModel(model, reference, weights_sha256(folder), stages, larger, kind, device)


def finish_object(
    optimization: Optimization,
    loaded: LoadedModel,
    job: ObjectJob,
    *,
    preset: str,
    warnings: Sequence[str] = (),
) -> Object3D:
    """Extracts the mesh of an optimized field and makes its record.

    warnings: of the diagnostics, for the record.

    Raises UserError where the field is empty or not finite.
    """
    began = time.perf_counter()
    text = read_text(loaded.model, job.text, loaded.reference.bundled)
    optimization.check_field()
    meshed = extract_object(optimization, loaded.super_resolution, job.seed)
    native = loaded.kind == NATIVE
    lowered = compute_dtype(optimization.options.arithmetic, loaded.device)
    record = ObjectRecord(
        prompt=job.prompt,
        completed=job.completed,
        read=None if text == job.text else text,
        notes=list(job.reading.notes) if job.reading else [],
        seed=job.seed,
        options=optimization.options,
        preset=preset,
        model=loaded.reference.name,
        model_sha256=loaded.sha256,
        stages=loaded.stages,
        model_kind=loaded.kind,
        dtype=loaded.dtype,
        compute_dtype=lowered if native else loaded.dtype,
        lora=list(loaded.reference.lora),
        device=describe_device(loaded.device),
        versions=package_versions(),
        iterations=optimization.iteration,
        faces_seen=count_front_views(optimization, loaded.model),
        trouble=list(warnings),
        fidelity=meshed.fidelity,
        surface=meshed.surface,
        seconds=ObjectSeconds(load=0.0, distill=0.0, mesh=time.perf_counter() - began, since_start=0.0),
        files={},
    )
    return Object3D(meshed.mesh, optimization.field, record, meshed.views)


def extract_object(
    optimization: Optimization, super_resolution: SuperResolution | None, seed: int
) -> MeshingResult:
    """The mesh of an optimized field. Its texture is refined if the options and the models allow it.

    seed: of the refinement's noise. Raises UserError when the field is empty.
    """
    # A second of imports, which the optimization does not wait for.
    from dream3d.meshing.pipeline import mesh_field
    from dream3d.optimization.refine_texture import refine_texture

    options = optimization.options
    meshed = mesh_field(optimization.field, options)
    if not super_resolution or not options.texture_views:
        return meshed
    mesh = refine_texture(
        meshed.mesh,
        optimization.views,
        optimization.make_distillation(options.stages[-1]),
        super_resolution,
        count=options.texture_views,
        seed=seed,
    )
    return meshed._replace(mesh=mesh)


def read_text(model: ImageModelLike, prompt: str, bundled: bool) -> str:
    """The part of a prompt that the text encoder takes with the backdrop or the view that follows it."""
    following = [f" {place.name}" for place in BACKDROPS if place.plain] if bundled else VIEW_ENDINGS
    return model.read(prompt, max(following, key=len))


def start_optimization(
    model: ImageModelLike, prompt: str, options: ObjectOptions, *, seed: int, bundled: bool
) -> Optimization:
    """The optimization of a field for a prompt, before its first iteration.

    options: with the model's defaults, see `ObjectOptions.with_model_defaults`.
    bundled: whether the model knows the toybox's backdrops and light.
    """
    prompt = read_text(model, prompt, bundled)
    torch.manual_seed(seed)  # the initial values of a hash grid are random
    field = HashField() if options.field == "hash" else VoxelField(options.stages[0].grid)
    backgrounds = (plain_backdrops if bundled else learned_color)(prompt, model.encode)
    return Optimization(
        field.to(model.device),
        build_distillation(model, prompt, options, seed),
        backgrounds,
        options,
        image_size=model.size,
        seed=seed,
        phase=PHASE if bundled else None,
    )


@torch.no_grad()
def count_front_views(optimization: Optimization, model: ImageModelLike) -> int | None:
    """Number of views, of four around the object, that the model takes for its front; 1 is sound.

    None for models without a camera input.
    """
    if optimization.options.camera != "input":
        return None
    views, cameras = optimization.views, orbit_cameras(4)
    sampled = TrainingViews(cameras, torch.zeros(len(cameras), dtype=torch.int64))
    seen = views.render_views(sampled, views.backgrounds.shader(cameras), least_weight=UNSEEN)
    preferred = diagnostics.preferred_views(
        model.denoiser,
        make_model_space(model.first_stage),
        resize_images(seen.color * 2 - 1, model.size),
        views.backgrounds.texts[0],
        cameras.azimuth,
        cameras.elevation,
        torch.Generator().manual_seed(0),
        views.phase,
    )
    return diagnostics.count_faces(preferred, cameras.azimuth)
