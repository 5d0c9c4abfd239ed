"""Which model `gen-video --model` names."""

from pathlib import Path

from core.bundled import BUNDLED_VIDEO, bundled_model
from core.io.paths import read_path
from video.model_reference import ModelReference, NativeModelReference


def find_model(model: str | None) -> ModelReference:
    """The model of a name: one that ships, a folder of this project or of diffusers, or an id of the hub.

    None is the bundled model. Of an id only the configs are fetched here.

    Raises UserError for what is no model of clips.
    """
    if model is None:
        return NativeModelReference(BUNDLED_VIDEO)
    shipped = bundled_model(model, "video")
    if shipped:
        return NativeModelReference(shipped)
    from core.pretrained.hub import INDEX, checkpoint_kind, is_hub_name

    model = str(read_path(model, "--model"))
    if Path(model).is_file():
        checkpoint_kind(Path(model))  # which refuses it
    if not is_hub_name(model) and not (Path(model) / INDEX).exists():
        return NativeModelReference(Path(model))  # which says what is wrong with it when it is opened
    from video.pipelines.checkpoint_reference import checkpoint_reference

    return checkpoint_reference(model)
