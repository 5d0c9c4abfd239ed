"""Where a tab shows its job: the picture, the progress, and a button to cancel it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import gradio as gr

from core.errors import UserError
from dreamlift.studio.page import panels
from dreamlift.studio.page.fields import QUIET
from dreamlift.studio.studio import Studio
from dreamlift.studio.work.job import JobView


class Workbench:
    """The right side of a tab. It shows the job that is running, or else the one that ended last."""

    def __init__(self, studio: Studio, kind: str, empty: str) -> None:
        """Builds it where Gradio's context is. kind: of its jobs. empty: what it says before the first."""
        self.studio, self.kind, self.empty = studio, kind, empty
        self.stage = gr.HTML(panels.stage(None, empty), elem_id=f"{kind}-stage")
        self.status = gr.HTML(elem_id=f"{kind}-status")
        self.announcement = gr.HTML(elem_classes="announcement")
        self.cancel = gr.Button("Cancel", variant="stop", visible=False, elem_id=f"{kind}-cancel")
        self.cancel.click(self._cancel, **QUIET)

    @property
    def outputs(self) -> list[Any]:
        """The components that `contents` is for."""
        return [self.stage, self.status, self.announcement, self.cancel]

    def contents(self, views: Sequence[JobView]) -> list[Any]:
        """What the components show for these jobs."""
        shown = self._shown(views)
        phase = shown.phase if shown and not shown.over else ""
        return [
            panels.stage(shown, self.empty),
            panels.status(shown),
            panels.announcement(shown),
            {"visible": phase != "", "interactive": phase != "stopping"},
        ]

    def _shown(self, views: Sequence[JobView]) -> JobView | None:
        mine = [view for view in views if view.kind == self.kind and view.state != "waiting"]
        return next((view for view in mine if view.state == "running"), mine[-1] if mine else None)

    def _cancel(self) -> None:
        shown = self._shown(self.studio.queue.all())
        if shown:
            with suppress(UserError):  # it ended at this moment
                self.studio.queue.cancel(shown.id)
