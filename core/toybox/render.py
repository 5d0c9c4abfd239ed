"""Ray casting of solids in batched torch on CPU or GPU: nearest hits, shading and supersampling."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, normalize

from core.toybox.camera import SMALL, Camera, Crop, rays
from core.toybox.ray_intersections import (
    TILE,
    BallIntersections,
    ConeIntersections,
    CubeIntersections,
    PixelGrid,
)
from core.toybox.solids import Solids

# Direction toward the light in camera axes (right, up, back). The light moves with the camera.
LIGHT = (-0.45, 0.75, 0.55)
# Textureless rendering: the gray and the light of textureless mesh previews (`dream3d.meshing.preview`).
GRAY = 200 / 255
GRAY_LIGHT, GRAY_AMBIENT, GRAY_BRIGHTEST = (-0.45, 0.6, 0.66), 0.6, 1.05
SHADOW_STRIDE = 4  # pixels


class SceneRender(NamedTuple):
    """Images rendered from a batch of N cameras."""

    color: Tensor  # (N,3,H,W) in [0,1], premultiplied by alpha
    alpha: Tensor  # (N,1,H,W) in [0,1]
    depth: Tensor  # (N,1,H,W) along the optical axis in world units, infinite where all rays miss
    shadow: Tensor  # (N,1,H,W) in [0,1], soft shadow of the figure on the ground


def render(
    solids: Solids,
    camera: Camera,
    size: int = 64,
    supersampling: int = 2,
    textureless: bool = False,
    crop: Crop | None = None,
) -> SceneRender:
    """Square images of all frames of `solids`, one camera per frame, `size` pixels wide.

    Every pixel averages supersampling**2 rays; its depth is the nearest depth of these rays.
    textureless: shade everything in one gray, so that only the shape shows.
    crop: the part of the image to render; the images have its shape. Only the rays of its tiles are cast.
    Raises ValueError unless `size` is a multiple of 8, the crop is inside, and there is one camera per frame.
    """
    if size < TILE or size % TILE:
        raise ValueError(f"size must be a multiple of {TILE} pixels, not {size}")
    if camera.azimuth.shape != (solids.frames,) or camera.elevation.shape != (solids.frames,):
        raise ValueError(f"{solids.frames} frames need as many cameras, not {tuple(camera.azimuth.shape)}")
    check_crop(crop, size)
    device = solids.ellipsoids.center.device
    frames, fine_size = solids.frames, size * supersampling
    eye, axes = camera.axes()
    screen = PixelGrid(fine_size, device, crop and crop.scaled(supersampling))
    tiles = screen.count

    kinds = [
        BallIntersections(solids.ellipsoids, eye, axes, screen),
        CubeIntersections(solids.boxes, eye, axes, screen),
        ConeIntersections(solids.cones, eye, axes, screen),
    ]
    nearest = torch.full((frames * tiles, TILE**2), math.inf, device=device)
    for kind in kinds:
        nearest.scatter_reduce_(0, kind.slot[:, None].expand_as(kind.depth), kind.depth, "amin")

    light = normalize(torch.tensor(LIGHT, device=device), dim=0)
    color = torch.zeros(*nearest.shape, 3, device=device)
    directions = screen.directions()
    for kind in kinds:
        pair, ray = torch.nonzero((kind.depth == nearest[kind.slot]) & kind.depth.isfinite(), as_tuple=True)
        direction = directions[kind.slot[pair] % tiles, ray]
        normal = kind.normal(pair, direction * kind.depth[pair, ray][:, None])  # in camera axes
        view = -normalize(direction, dim=-1)
        shaded = _gray(normal) if textureless else shade(kind.color[pair], normal, view, light)
        color[kind.slot[pair], ray] = shaded

    def cropped(image: Tensor) -> Tensor:
        """The crop (N,C,side,side), in rays, of an image of all tiles."""
        if crop is None:
            return image
        part = crop.scaled(supersampling)
        part = part._replace(top=part.top - screen.rows.start, left=part.left - screen.columns.start)
        return image[..., part.rows, part.columns]

    hit = cropped(screen.image(nearest.isfinite().float()[..., None]))
    depth = -max_pool2d(-cropped(screen.image(nearest[..., None])), supersampling)
    shadow = _ground_shadow(solids, eye, axes, size, crop)
    smooth = avg_pool2d(cropped(screen.image(color)), supersampling)
    return SceneRender(smooth, avg_pool2d(hit, supersampling), depth, shadow)


def check_crop(crop: Crop | None, size: int) -> None:
    """Raises ValueError unless the crop is inside of an image of `size` pixels."""
    if crop and (
        min(crop.top, crop.left) < 0 or crop.side < 1 or max(crop.top, crop.left) + crop.side > size
    ):
        raise ValueError(f"the crop {tuple(crop)} is not inside of an image of {size} pixels")


def shade(albedo: Tensor, normal: Tensor, view: Tensor, light: Tensor) -> Tensor:
    """Shading: wrapped diffuse light, a soft highlight, and dark rims that separate parts of the same color.

    albedo: (M,3) in [0,1]; normal, view (toward the eye), light (toward the light): (M,3) or (3,), unit
    vectors in the same axes. Returns (M,3) in [0,1].
    """
    facing = (normal * view).sum(-1, keepdim=True).clamp(0, 1)
    diffuse = ((normal * light).sum(-1, keepdim=True) * 0.6 + 0.4).clamp(0, 1)
    half = normalize(light + view, dim=-1)
    gloss = (normal * half).sum(-1, keepdim=True).clamp(0, 1) ** 24
    rim = (facing * 2.2).clamp(0, 1)
    return (albedo * (0.5 + 0.58 * diffuse) * (0.45 + 0.55 * rim) + 0.12 * gloss).clamp(0, 1)


def _gray(normal: Tensor) -> Tensor:
    """Lambertian gray in [0,1]: normals (P,3) in camera axes -> (P,1), equal for all channels."""
    light = normalize(torch.tensor(GRAY_LIGHT, device=normal.device), dim=0)
    facing = (normal * light).sum(-1, keepdim=True).clamp(min=0)
    return GRAY * (GRAY_AMBIENT + (GRAY_BRIGHTEST - GRAY_AMBIENT) * facing).clamp(max=1)


def _ground_shadow(solids: Solids, eye: Tensor, axes: Tensor, size: int, crop: Crop | None) -> Tensor:
    """Soft shadow (N,1,side,side) on the plane y = 0: solids dim the light rays that pass near them.

    In small images it is evaluated at every `SHADOW_STRIDE`-th pixel. In larger ones this finds the pixels
    near a shadow, which are then evaluated one by one.
    """
    occluders, crop = Occluders(solids, axes), crop or Crop(0, 0, size)
    # The grid reaches one point beyond the crop, for the interpolation at its border.
    top, left = (max(0, start // SHADOW_STRIDE - 1) for start in (crop.top, crop.left))
    bottom, right = (-(-stop // SHADOW_STRIDE) + 1 for stop in (crop.rows.stop, crop.columns.stop))
    grid = rays(size // SHADOW_STRIDE, eye.device)[top:bottom, left:right]
    part = crop._replace(top=crop.top - top * SHADOW_STRIDE, left=crop.left - left * SHADOW_STRIDE)
    if size <= SMALL:
        shadow = occluders.shadow(eye, axes, grid.reshape(-1, 3)).reshape(-1, 1, *grid.shape[:2])
        smooth = interpolate(shadow, scale_factor=SHADOW_STRIDE, mode="bilinear", align_corners=False)
        return smooth[..., part.rows, part.columns]
    near = occluders.shadow(eye, axes, grid.reshape(-1, 3), reach=2.0).amax(0).reshape(1, 1, *grid.shape[:2])
    near = interpolate(max_pool2d(near, 3, stride=1, padding=1), scale_factor=SHADOW_STRIDE)
    near = near[0, 0, part.rows, part.columns] > 0
    shadow = torch.zeros(solids.frames, crop.side, crop.side, device=eye.device)
    shadow[:, near] = occluders.shadow(eye, axes, rays(size, eye.device)[crop.rows, crop.columns][near])
    return shadow[:, None]


class Occluders:
    """The solids as ellipsoids that dim the light, for the shadow on the ground."""

    def __init__(self, solids: Solids, axes: Tensor):
        """axes: of the cameras (N,3,3), with which the light moves."""
        cones, boxes, balls = solids.cones, solids.boxes, solids.ellipsoids
        middle, half = (cones.a + cones.b) / 2, (cones.b - cones.a) / 2
        length = half.norm(dim=-1, keepdim=True)
        along = half / length.clamp(min=1e-6)
        r = ((cones.ra + cones.rb) / 2)[:, None, None]
        outer = along[:, :, None] * along[:, None, :]
        capsule = (torch.eye(3, device=r.device) - outer) / r + outer / (r + length[:, :, None])
        self.frame = torch.cat([balls.frame, boxes.frame, cones.frame])
        self.center = torch.cat([balls.center, boxes.center, middle])
        matrix = torch.cat([balls.matrix, boxes.matrix / 1.15, capsule])

        light = torch.einsum("nij,j->ni", axes, normalize(torch.tensor(LIGHT, device=r.device), dim=0))
        # Lights below 30 degrees would cast shadows beyond the image.
        light = normalize(torch.stack([light[:, 0], light[:, 1].clamp(min=0.6), light[:, 2]], -1), dim=-1)
        unit_light = normalize(torch.einsum("sij,sj->si", matrix, light[self.frame]), dim=-1)
        # |q|^2 - (q.l)^2 of q = M (ground - center), from one matrix per solid instead of q for every pair.
        self.flat = matrix - unit_light[:, :, None] * torch.einsum("si,sij->sj", unit_light, matrix)[:, None]

    def shadow(self, eye: Tensor, axes: Tensor, grid: Tensor, reach: float = 1.3) -> Tensor:
        """Shadow (N,R) in [0,1] where the rays `grid` (R,3) in camera axes meet the ground, 0 elsewhere.

        reach: distance from the axis of an ellipsoid's shadow, in its radii, at which the shadow ends.
        """
        direction = torch.einsum("nij,rj->nri", axes, grid)
        down = direction[..., 1]
        t = torch.where(down < -1e-4, -eye[:, None, 1] / torch.where(down < -1e-4, down, -1.0), math.inf)
        on_ground = t.isfinite() & (t < 2 * Camera.DISTANCE)
        ground = eye[:, None] + direction * torch.where(on_ground, t, 0.0)[..., None]
        log_transmittance = torch.zeros(ground.shape[:2], device=eye.device)
        q = (ground[self.frame] - self.center[:, None]) @ self.flat.transpose(1, 2)
        dim = ((reach - (q * q).sum(-1).sqrt()) / 0.6).clamp(0, 1)
        log_transmittance.index_add_(0, self.frame, torch.log1p(-0.98 * dim))
        return torch.where(on_ground, 1 - log_transmittance.exp(), 0.0)
