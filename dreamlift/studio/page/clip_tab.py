"""The tab Clip: the form of a clip, and the clip while it is sampled."""

from __future__ import annotations

from typing import Any

import gradio as gr

from core.errors import UserError
from dreamlift.studio.page import panels
from dreamlift.studio.page.clip_form import ClipForm
from dreamlift.studio.page.fields import QUIET
from dreamlift.studio.page.workbench import Workbench
from dreamlift.studio.studio import Studio


def clip_tab(studio: Studio) -> Workbench:
    """Builds the tab; returns where its jobs are shown."""
    with gr.Row(elem_classes="workspace"):
        with gr.Column(scale=5, min_width=340):
            form = ClipForm()
            make = gr.Button("Make the clip", variant="primary", size="lg")
            problem = gr.HTML()
        with gr.Column(scale=6, min_width=340, elem_classes="bench"):
            bench = Workbench(studio, "clip", "Your clip refines and plays here.")

    def submit(*values: Any) -> list[Any]:
        given = dict(zip(form.fields, values, strict=True))
        try:
            submission = form.submission(given, studio.library)
            studio.submit(submission)
        except UserError as error:
            return [panels.sentence(str(error)), gr.skip()]
        return ["", submission["seed"]]

    gr.on(
        [make.click, form.prompt.submit],
        submit,
        [*form.fields.values()],
        [problem, form.fields["seed"]],
        **QUIET,
    )
    return bench
