"""The diffusion engine: noise schedules, denoisers, guidance, samplers, losses, networks, text and images.

It knows nothing of clips (`video`) or of 3D (`dream3d`). Tensors are (B,C,...) with any number of trailing
axes. Importing the package imports no submodule.
"""

from typing import TYPE_CHECKING

from core.lazy import lazy_exports

if TYPE_CHECKING:
    from core.condition import Condition as Condition
    from core.diffusion.denoiser import Denoiser as Denoiser
    from core.diffusion.denoiser import Prediction as Prediction
    from core.diffusion.parameterization import Parameterization as Parameterization
    from core.diffusion.schedule import NoiseSchedule as NoiseSchedule
    from core.errors import UserError as UserError
    from core.guidance import ClassifierFreeGuidance as ClassifierFreeGuidance
    from core.guidance import GuidanceInterval as GuidanceInterval
    from core.models.image_model import ImageModel as ImageModel
    from core.models.text_encoder import TextEncoder as TextEncoder
    from core.nn.unet import UNet as UNet
    from core.pretrained.image_model import load_image_model as load_image_model
    from core.samplers import (
        SamplerState as SamplerState,
    )
    from core.samplers import (
        ddim as ddim,
    )
    from core.samplers import (
        ddpm as ddpm,
    )
    from core.samplers import (
        dpm_solver as dpm_solver,
    )
    from core.samplers import (
        euler as euler,
    )
    from core.samplers import (
        heun as heun,
    )
    from core.samplers import (
        unipc as unipc,
    )
    from core.sampling_options import SamplingOptions as SamplingOptions

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ClassifierFreeGuidance": "core.guidance",
        "Condition": "core.condition",
        "Denoiser": "core.diffusion.denoiser",
        "GuidanceInterval": "core.guidance",
        "ImageModel": "core.models.image_model",
        "NoiseSchedule": "core.diffusion.schedule",
        "Parameterization": "core.diffusion.parameterization",
        "Prediction": "core.diffusion.denoiser",
        "SamplerState": "core.samplers",
        "SamplingOptions": "core.sampling_options",
        "TextEncoder": "core.models.text_encoder",
        "UNet": "core.nn.unet",
        "UserError": "core.errors",
        "ddim": "core.samplers",
        "ddpm": "core.samplers",
        "dpm_solver": "core.samplers",
        "euler": "core.samplers",
        "heun": "core.samplers",
        "lcm": "core.samplers",
        "load_image_model": "core.pretrained.image_model",
        "tcd": "core.samplers",
        "unipc": "core.samplers",
    },
)
