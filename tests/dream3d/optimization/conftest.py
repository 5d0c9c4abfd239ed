"""Optimizations of a known object, shared by the tests of this folder."""

from collections.abc import Callable

import pytest

from core.toybox.actions import ACTIONS
from core.toybox.scenes import Scene, index_of
from core.toybox.subjects import SUBJECTS
from dream3d.optimization.optimize import Optimization
from dream3d.optimization.oracle import fit_true_views
from dream3d.options import ObjectOptions


@pytest.fixture(scope="session")
def fox() -> Scene:
    """A fox before a plain backdrop."""
    return Scene(index_of(SUBJECTS, "fox"), index_of(ACTIONS, "holding a game controller"), 4, 0)


@pytest.fixture(scope="session")
def begin(fox: Scene) -> Callable[..., Optimization]:
    """The optimization of a field on true views of the fox: (options, image size, seed)."""

    def make(options: ObjectOptions, size: int, seed: int = 0) -> Optimization:
        return fit_true_views(fox, options, image_size=size, seed=seed)

    return make
