"""Ray casting of solids in batched torch on CPU or GPU: nearest hits, shading and supersampling."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, normalize

from core.toybox.camera import Camera, rays
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


class SceneRender(NamedTuple):
    """Images rendered from a batch of N cameras."""

    color: Tensor  # (N,3,H,W) in [0,1], premultiplied by alpha
    alpha: Tensor  # (N,1,H,W) in [0,1]
    depth: Tensor  # (N,1,H,W) along the optical axis in world units, infinite where all rays miss
    shadow: Tensor  # (N,1,H,W) in [0,1], soft shadow of the figure on the ground


def render(
    solids: Solids, camera: Camera, size: int = 64, supersampling: int = 2, textureless: bool = False
) -> SceneRender:
    """Square images of all frames of `solids`, one camera per frame, `size` pixels wide.

    Every pixel averages supersampling**2 rays; its depth is the nearest depth of these rays.
    textureless: shade everything in one gray, so that only the shape shows.
    Raises ValueError unless `size` is a multiple of 8 and there is one camera per frame.
    """
    if size < TILE or size % TILE:
        raise ValueError(f"size must be a multiple of {TILE} pixels, not {size}")
    if camera.azimuth.shape != (solids.frames,) or camera.elevation.shape != (solids.frames,):
        raise ValueError(f"{solids.frames} frames need as many cameras, not {tuple(camera.azimuth.shape)}")
    device = solids.ellipsoids.center.device
    frames, fine_size = solids.frames, size * supersampling
    eye, axes = camera.axes()
    screen = PixelGrid(fine_size, device)
    tiles = screen.tiles

    kinds = [
        BallIntersections(solids.ellipsoids, eye, axes, screen),
        CubeIntersections(solids.boxes, eye, axes, screen),
        ConeIntersections(solids.cones, eye, axes, screen),
    ]
    nearest = torch.full((frames * tiles * tiles, TILE**2), math.inf, device=device)
    for kind in kinds:
        nearest.scatter_reduce_(0, kind.slot[:, None].expand_as(kind.depth), kind.depth, "amin")

    light = normalize(torch.tensor(LIGHT, device=device), dim=0)
    color = torch.zeros(*nearest.shape, 3, device=device)
    directions = screen.directions()
    for kind in kinds:
        pair, ray = torch.nonzero((kind.depth == nearest[kind.slot]) & kind.depth.isfinite(), as_tuple=True)
        direction = directions[kind.slot[pair] % (tiles * tiles), ray]
        normal = kind.normal(pair, direction * kind.depth[pair, ray][:, None])  # in camera axes
        view = -normalize(direction, dim=-1)
        shaded = _gray(normal) if textureless else shade(kind.color[pair], normal, view, light)
        color[kind.slot[pair], ray] = shaded

    def image(values: Tensor) -> Tensor:
        channels = values.shape[-1]
        square = values.reshape(frames, tiles, tiles, TILE, TILE, channels).permute(0, 5, 1, 3, 2, 4)
        return square.reshape(frames, channels, fine_size, fine_size)

    hit = image(nearest.isfinite().float()[..., None])
    depth = -max_pool2d(-image(nearest[..., None]), supersampling)
    shadow = _ground_shadow(solids, eye, axes, size)
    smooth = avg_pool2d(image(color), supersampling)
    return SceneRender(smooth, avg_pool2d(hit, supersampling), depth, shadow)


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


def _ground_shadow(solids: Solids, eye: Tensor, axes: Tensor, size: int) -> Tensor:
    """Soft shadow (N,1,size,size) on the plane y = 0: solids dim the light rays that pass near them.

    Each solid is approximated by an ellipsoid. The shadow is evaluated at every fourth pixel, and at every
    second one of images larger than 64 pixels, where the coarser grid would show.
    """
    coarse = 4 if size <= 64 else 2
    cones, boxes, balls = solids.cones, solids.boxes, solids.ellipsoids
    middle, half = (cones.a + cones.b) / 2, (cones.b - cones.a) / 2
    length = half.norm(dim=-1, keepdim=True)
    along = half / length.clamp(min=1e-6)
    r = ((cones.ra + cones.rb) / 2)[:, None, None]
    outer = along[:, :, None] * along[:, None, :]
    capsule = (torch.eye(3, device=r.device) - outer) / r + outer / (r + length[:, :, None])
    frame = torch.cat([balls.frame, boxes.frame, cones.frame])
    center = torch.cat([balls.center, boxes.center, middle])
    matrix = torch.cat([balls.matrix, boxes.matrix / 1.15, capsule])

    light = torch.einsum("nij,j->ni", axes, normalize(torch.tensor(LIGHT, device=r.device), dim=0))
    # Lights below 30 degrees would cast shadows beyond the image.
    light = normalize(torch.stack([light[:, 0], light[:, 1].clamp(min=0.6), light[:, 2]], -1), dim=-1)
    grid = rays(size // coarse, eye.device).reshape(-1, 3)
    direction = torch.einsum("nij,rj->nri", axes, grid)
    down = direction[..., 1]
    t = torch.where(down < -1e-4, -eye[:, None, 1] / torch.where(down < -1e-4, down, -1.0), math.inf)
    on_ground = t.isfinite() & (t < 2 * Camera.DISTANCE)
    ground = eye[:, None] + direction * torch.where(on_ground, t, 0.0)[..., None]

    unit_light = normalize(torch.einsum("sij,sj->si", matrix, light[frame]), dim=-1)
    # |q|^2 - (q.l)^2 of q = M (ground - center), from one matrix per solid instead of q for every pair.
    flat = matrix - unit_light[:, :, None] * torch.einsum("si,sij->sj", unit_light, matrix)[:, None, :]
    log_transmittance = torch.zeros(solids.frames, grid.shape[0], device=eye.device)
    q = (ground[frame] - center[:, None]) @ flat.transpose(1, 2)
    dim = ((1.3 - (q * q).sum(-1).sqrt()) / 0.6).clamp(0, 1)
    log_transmittance.index_add_(0, frame, torch.log1p(-0.98 * dim))
    shadow = torch.where(on_ground, 1 - log_transmittance.exp(), 0.0).reshape(
        -1, 1, size // coarse, size // coarse
    )
    return interpolate(shadow, scale_factor=coarse, mode="bilinear", align_corners=False)
