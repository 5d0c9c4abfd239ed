"""Memory and disk that objects need, from their options alone. Imports no torch.

The numbers are measured (docs/files.md), and rather low than high: a run that fits is not to be refused. The
weights of checkpoints are not counted here, see `core.pretrained.weights.check_weights_fit`.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.batches.requirements import Requirements, check_requirements
from core.io.resources import GIB
from dream3d.options import ObjectOptions

LIBRARIES = 0.8 * GIB  # Python, PyTorch, the bundled models, and what every mesh needs
GRID = 128  # bytes for a vertex of a voxel grid: values, gradients, Adam's moments, copies
SAMPLE = 200  # bytes for a sample of the rays of an iteration
TEXEL = 200  # bytes
STORED = 2 * 48  # bytes for a vertex in a checkpoint, of which the next is written while the last is there
LESS_MEMORY = "give a preset with smaller stages or a smaller texture, such as draft"
MESHING = 60  # iterations that take as long as extracting and writing the mesh
GFLOP = 33.0  # of an iteration at the rate of matrix products: 28 on one thread, 39 on two
FILES = 250_000, 160, 1.2  # bytes of an object's files: for each, for a face, for a texel


def estimate_object(options: ObjectOptions) -> Requirements:
    """What one object needs."""
    grid = max(stage.grid for stage in options.stages) ** 3 if options.field == "voxel" else 0
    buffer = options.target_buffer
    fitted = buffer.views_per_step / buffer.pixel_stride**2 if buffer else 0
    rays = max(options.views, fitted) * max(stage.size**2 * stage.samples for stage in options.stages)
    texels = options.texture**2
    each, face, texel = FILES
    return Requirements(
        memory=LIBRARIES + max(GRID * grid + SAMPLE * rays, TEXEL * texels),
        disk=each + face * options.faces + texel * texels + STORED * grid,
    )


def work_units(options: ObjectOptions) -> float:
    """Size of an object: iterations, with the meshing that follows them."""
    return options.iterations + MESHING


def check_objects(
    rows: Sequence[ObjectOptions],
    num: int,
    out: str | None,
    *,
    again: bool = False,
    force: bool | None = None,
) -> Requirements:
    """What `num` objects of each row need, see `check_requirements`."""
    each = [estimate_object(options) for options in rows]
    return check_requirements(each, num, out, "object", LESS_MEMORY, again=again, force=force)
