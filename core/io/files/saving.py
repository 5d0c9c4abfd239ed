"""Saving one output from Python, under the name that the caller gives."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from core.errors import UserError
from core.io.files.names import OutputFiles
from core.io.files.output_set import busy, claim, draft_output
from core.io.files.plan import check_names, not_ours
from core.io.files.record import foreign


@contextmanager
def save_output(files: OutputFiles, overwrite: bool) -> Generator[OutputFiles, None, None]:
    """Context in which an output is written, as `draft_output`. The main file is the caller's to replace.

    overwrite: replace the other files, too, where no record lists them as made by the command.

    Raises UserError for what may not be replaced, and while another process makes the output.
    """
    check_names(files)
    with claim(files, wait=False) as mine:
        if not mine:
            raise busy(files)
        others = [path for path in foreign(files) if path != files.main]
        if others and not overwrite:
            raise UserError(f"{not_ours(others[0], files)}: choose another name, or give overwrite=True.")
        with draft_output(files, files.lasting if overwrite else [files.main]) as drafts:
            yield drafts
