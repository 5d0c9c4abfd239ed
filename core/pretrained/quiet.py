"""Silences the progress bars and advice that diffusers and transformers print on stderr."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

# diffusers imports torchao where it is installed, whose classes PyTorch warns of.
OF_TORCHAO = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]


def quieten() -> None:
    """Turns off progress bars and warnings of diffusers and transformers for the rest of the process."""
    for library in _libraries():
        library.set_verbosity_error()
        library.disable_progress_bar()


@contextmanager
def quiet() -> Generator[None, None, None]:
    """Context without progress bars and warnings of the two libraries; errors are still raised."""
    levels = [logger.level for logger in OF_TORCHAO]
    libraries = _libraries()
    before = [(library, library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    quieten()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(OF_TORCHAO, levels, strict=True):
            logger.setLevel(level)
        for library, verbosity, bar in before:
            library.set_verbosity(verbosity)
            if bar:
                library.enable_progress_bar()


def _libraries() -> list[Any]:
    """The logging modules of both libraries, which are imported without warnings of torchao."""
    for logger in OF_TORCHAO:
        logger.setLevel(logging.ERROR)
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    return [of_diffusers, of_transformers]
