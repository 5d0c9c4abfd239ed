"""The image model lifted into space: meshes from prompts."""

from typing import TYPE_CHECKING

from core.lazy import lazy_exports

if TYPE_CHECKING:
    from dream3d.distill import (
        CSD as CSD,
    )
    from dream3d.distill import (
        ISM as ISM,
    )
    from dream3d.distill import (
        SDS as SDS,
    )
    from dream3d.distill import (
        SJC as SJC,
    )
    from dream3d.distill import (
        VSD as VSD,
    )
    from dream3d.distill import (
        X0Reconstruction as X0Reconstruction,
    )
    from dream3d.meshing.export import write_mesh as write_mesh
    from dream3d.meshing.extract import extract_mesh as extract_mesh
    from dream3d.meshing.mesh import Mesh as Mesh
    from dream3d.nerf.cameras import Cameras as Cameras
    from dream3d.nerf.radiance_fields import HashField as HashField
    from dream3d.nerf.radiance_fields import RadianceField as RadianceField
    from dream3d.nerf.radiance_fields import VoxelField as VoxelField
    from dream3d.nerf.volume_rendering import render as render
    from dream3d.optimization.optimize import Optimization as Optimization
    from dream3d.options import ObjectOptions as ObjectOptions
    from dream3d.text_to_3d import Object3D as Object3D
    from dream3d.text_to_3d import start_optimization as start_optimization

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "CSD": "dream3d.distill",
        "Cameras": "dream3d.nerf.cameras",
        "HashField": "dream3d.nerf.radiance_fields",
        "ISM": "dream3d.distill",
        "Mesh": "dream3d.meshing.mesh",
        "Object3D": "dream3d.text_to_3d",
        "ObjectOptions": "dream3d.options",
        "Optimization": "dream3d.optimization.optimize",
        "RadianceField": "dream3d.nerf.radiance_fields",
        "SDS": "dream3d.distill",
        "SJC": "dream3d.distill",
        "VSD": "dream3d.distill",
        "VoxelField": "dream3d.nerf.radiance_fields",
        "X0Reconstruction": "dream3d.distill",
        "extract_mesh": "dream3d.meshing.extract",
        "render": "dream3d.nerf.volume_rendering",
        "start_optimization": "dream3d.text_to_3d",
        "write_mesh": "dream3d.meshing.export",
    },
)
