"""Presets of `dream3d`, and the one that fits a model. Imports no torch."""

from __future__ import annotations

from core.errors import UserError
from core.io.presets import load_preset
from dream3d.options import ImageModelReference, ObjectOptions

STANDARD, CHECKPOINT = "standard", "checkpoint"  # defaults for this project's models and for checkpoints
DRAFT = "draft"  # that of the tier


def load_named_preset(name: str) -> ObjectOptions:
    """The preset of a name in configs/dream3d, or of a YAML file. Raises UserError for unknown ones."""
    return load_preset(name, ObjectOptions, "dream3d")


def load_object_preset(
    preset: str | None, reference: ImageModelReference, tier: str | None = None
) -> tuple[str, ObjectOptions]:
    """Name and options of a preset: the one given, that of the tier, or the one that fits the model.

    Raises UserError for unknown presets and, where none is given, for models that cannot be found.
    """
    name = preset_of_tier(tier, preset) or _fitting_preset(reference)
    return name, load_named_preset(name)


def preset_of_tier(tier: str | None, preset: str | None) -> str | None:
    """The given preset, or the one that a tier means. Raises UserError where they exclude each other."""
    if tier != "draft":
        return preset
    if preset not in (None, DRAFT):
        raise UserError(f"--tier draft is the preset {DRAFT}: leave out --preset, or give --tier fast.")
    return DRAFT


def _fitting_preset(reference: ImageModelReference) -> str:
    if reference.bundled:
        return STANDARD
    from core.pretrained.hub import NATIVE, checkpoint_kind, resolve_checkpoint

    native = checkpoint_kind(resolve_checkpoint(reference.name)) == NATIVE
    return STANDARD if native else CHECKPOINT
