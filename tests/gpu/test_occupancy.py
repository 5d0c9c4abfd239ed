"""nerfacc's occupancy grid and our own find the same samples of one field."""

import pytest
import torch

from dream3d.nerf.cameras import EVERY_PIXEL, orbit_cameras
from dream3d.nerf.occupancy_grid import OccupancyGrid
from dream3d.nerf.radiance_fields import VoxelField
from dream3d.nerf.volume_rendering import make_rays, render

SIZE, SAMPLES = 64, 128


def test_nerfaccs_grid_gives_the_same_silhouettes(cuda: torch.device) -> None:
    nerfacc = pytest.importorskip("nerfacc")
    field = VoxelField(32).to(cuda)
    cameras = orbit_cameras(4)
    ours = OccupancyGrid(field, resolution=32)
    ours.update(field)
    theirs = nerfacc.OccGridEstimator(torch.cat(field.bounds).tolist(), resolution=32, levels=1).to(cuda)
    rays = make_rays(cameras.to(cuda), SIZE, EVERY_PIXEL, torch.float32)
    step = float((field.bounds[1] - field.bounds[0]).norm()) / SAMPLES
    with torch.no_grad():
        theirs._update(
            step=0, occ_eval_fn=lambda points: field.density(points)[:, None] * step, occ_thre=0.01 * step
        )
        indices, start, end = theirs.sampling(
            rays.origins,
            rays.directions,
            sigma_fn=lambda a, b, ray: field.density(
                rays.origins[ray] + rays.directions[ray] * (a + b)[:, None] / 2
            ),
            render_step_size=step,
        )
        middle = rays.origins[indices] + rays.directions[indices] * (start + end)[:, None] / 2
        weights, _, _ = nerfacc.render_weight_from_density(
            start, end, field.density(middle), ray_indices=indices, n_rays=len(rays.origins)
        )
        opacity = nerfacc.accumulate_along_rays(weights, None, indices, len(rays.origins))
        expected = render(field, cameras, SIZE, SAMPLES, torch.ones(3, device=cuda), occupancy=ours).opacity
    assert (opacity.reshape(4, 1, SIZE, SIZE) - expected).abs().mean() < 0.02
