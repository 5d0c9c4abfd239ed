"""Conditioning attributes of an image besides its text: camera, phase of the action, ground shadow.

A row of `WIDTH` numbers holds three groups of columns. Each group includes its own presence flag, so a group
of zeros means "not given". Training drops a group by zeroing its columns.
"""

import torch
from torch import Tensor

from core.errors import UserError

CAMERA = slice(0, 5)  # sin az, cos az, sin el, cos el, 1
PHASE = slice(5, 8)  # sin 2 pi phase, cos 2 pi phase, 1
SHADOW = slice(8, 10)  # shadow on, shadow off
WIDTH = 10


def encode_attributes(
    count: int,
    *,
    azimuth: Tensor | float | None = None,
    elevation: Tensor | float | None = None,
    phase: Tensor | float | None = None,
    shadow: Tensor | bool | None = None,
) -> Tensor:
    """Attribute rows, float32 (count, WIDTH), on the device of the first tensor argument (else the CPU).

    Every argument is a scalar or a (count,) tensor. None, or a NaN entry, means "not given". For clips,
    encode rows for all B*F frames and call `unflatten(0, (B, F))`.

    azimuth, elevation: degrees, given together; elevation in [-90, 90]. A row has a camera where neither is
        NaN.
    phase: position in the action's loop, period 1.
    shadow: whether the figure casts a shadow on the ground (bool, 0/1 or NaN).

    Raises UserError when only one of azimuth and elevation is given, or elevation is out of range;
    ValueError when a tensor is neither a scalar nor (count,).
    """
    if (azimuth is None) != (elevation is None):
        raise UserError("A camera needs both azimuth and elevation: give both or neither.")
    arguments = (azimuth, elevation, phase, shadow)
    device = next((value.device for value in arguments if isinstance(value, Tensor)), torch.device("cpu"))

    def column(value: Tensor | float | bool | None, name: str) -> Tensor:
        values = torch.as_tensor(torch.nan if value is None else value, dtype=torch.float32, device=device)
        if values.shape not in ((), (1,), (count,)):
            raise ValueError(f"{name} has shape {tuple(values.shape)}, expected a scalar or ({count},)")
        return values.expand(count)

    az, el = column(azimuth, "azimuth").deg2rad(), column(elevation, "elevation").deg2rad()
    if elevation is not None and bool((el.abs() > torch.pi / 2 + 1e-6).any()):
        raise UserError("Elevation must lie between -90 and 90 degrees.")
    angle = column(phase, "phase") * (2 * torch.pi)
    cast = column(shadow, "shadow")

    one = torch.ones(count, device=device)
    camera_columns = torch.stack([az.sin(), az.cos(), el.sin(), el.cos(), one], dim=1)
    phase_columns = torch.stack([angle.sin(), angle.cos(), one], dim=1)
    # NaN fails both comparisons.
    shadow_columns = torch.stack([(cast > 0.5).float(), (cast <= 0.5).float()], dim=1)
    camera_columns = torch.where((az + el).isfinite()[:, None], camera_columns, 0.0)
    phase_columns = torch.where(angle.isfinite()[:, None], phase_columns, 0.0)
    return torch.cat([camera_columns, phase_columns, shadow_columns], dim=1)


def decode_camera(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Azimuth in (-180, 180] and elevation, both (...) in degrees, of attribute rows (...,WIDTH).

    The inverse of `encode_attributes`. NaN where a row has no camera.
    """
    sin_az, cos_az, sin_el, cos_el, present = rows[..., CAMERA].unbind(-1)
    azimuth, elevation = (torch.atan2(s, c).rad2deg() for s, c in ((sin_az, cos_az), (sin_el, cos_el)))
    return torch.where(present > 0, azimuth, torch.nan), torch.where(present > 0, elevation, torch.nan)
