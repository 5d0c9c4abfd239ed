"""The image model lifted into time: clips from prompts."""

from typing import TYPE_CHECKING

from core.lazy import lazy_exports

if TYPE_CHECKING:
    from video.animatediff.motion_model import MotionModel as MotionModel
    from video.animatediff.motion_model import load_motion_model as load_motion_model
    from video.nn.space_time_unet import SpaceTimeUNet as SpaceTimeUNet
    from video.nn.space_time_unet import inflate as inflate
    from video.options import ClipOptions as ClipOptions
    from video.sampling.reconstruction import ReconstructionGuidance as ReconstructionGuidance
    from video.text_to_video import Clip as Clip
    from video.video_model import VideoModel as VideoModel

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Clip": "video.text_to_video",
        "ClipOptions": "video.options",
        "MotionModel": "video.animatediff.motion_model",
        "ReconstructionGuidance": "video.sampling.reconstruction",
        "SpaceTimeUNet": "video.nn.space_time_unet",
        "VideoModel": "video.video_model",
        "inflate": "video.nn.space_time_unet",
        "load_motion_model": "video.animatediff.motion_model",
    },
)
