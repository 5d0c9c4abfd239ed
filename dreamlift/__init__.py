"""Text to video and text to 3D: the Python API and the `dreamlift` command.

    from dreamlift import TextToVideo, TextTo3D, TextToImage

    TextToVideo.from_pretrained("bundled")("a panda on a swing", seed=0).save("panda.mp4")
    TextTo3D.from_pretrained("bundled")("a fox holding a controller", seed=0).save("fox.glb")

The only package that imports core, video and dream3d.
"""

from typing import TYPE_CHECKING, Any

from core.lazy import lazy_exports

if TYPE_CHECKING:
    from core.errors import UserError as UserError
    from dreamlift.image_variations import ImageVariations as ImageVariations
    from dreamlift.text_to_3d import TextTo3D as TextTo3D
    from dreamlift.text_to_image import TextToImage as TextToImage
    from dreamlift.text_to_video import TextToVideo as TextToVideo

_export, __dir__ = lazy_exports(
    __name__,
    {
        "ImageVariations": "dreamlift.image_variations",
        "TextTo3D": "dreamlift.text_to_3d",
        "TextToImage": "dreamlift.text_to_image",
        "TextToVideo": "dreamlift.text_to_video",
        "UserError": "core.errors",
    },
)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("dreamlift")
    return _export(name)
