"""Silences the progress bars and advice that diffusers and transformers print on stderr."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager


def quieten() -> None:
    """Turns off progress bars and warnings of diffusers and transformers for the rest of the process.

    And of torchao, which diffusers imports where it is installed.
    """
    for name in ("torchao", "torch.utils._pytree"):  # the second warns of torchao's classes
        logging.getLogger(name).setLevel(logging.ERROR)
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    for library in (of_diffusers, of_transformers):
        library.set_verbosity_error()
        library.disable_progress_bar()


@contextmanager
def quiet() -> Generator[None, None, None]:
    """Context without progress bars and warnings of the two libraries; errors are still raised."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    before = [(library, library.get_verbosity()) for library in (of_diffusers, of_transformers)]
    bars = of_diffusers.is_progress_bar_enabled(), of_transformers.is_progress_bar_enabled()
    quieten()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for (library, verbosity), bar in zip(before, bars, strict=True):
            library.set_verbosity(verbosity)
            if bar:
                library.enable_progress_bar()
