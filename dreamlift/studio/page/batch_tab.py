"""The tab Batch: many prompts with the settings of the tab Clip or Object."""

from __future__ import annotations

from typing import Any

import gradio as gr

from core.errors import UserError
from dreamlift.studio.page import panels
from dreamlift.studio.page.fields import QUIET
from dreamlift.studio.page.making_tab import MakingTab
from dreamlift.studio.studio import Studio

KINDS = ("clips", "objects")


class BatchTab:
    """Prompts on the left, and what became of all jobs on the right."""

    def __init__(self, studio: Studio, clip: MakingTab, thing: MakingTab) -> None:
        """Builds the tab where Gradio's context is. clip, thing: whose settings count."""
        self.studio, self.tabs = studio, {"clips": clip, "objects": thing}
        with gr.Row(elem_classes="workspace"):
            with gr.Column(scale=5, min_width=340):
                prompts = gr.Textbox(
                    label="Prompts, one a line",
                    lines=8,
                    max_lines=20,
                    placeholder="a panda waving\na fox dancing",
                    elem_id="batch-prompts",
                )
                with gr.Row():
                    kind = gr.Radio([*KINDS], value=KINDS[0], label="Make", info="With that tab's settings.")
                    seeds = gr.Slider(1, 16, 1, step=1, label="Of each prompt", info="With seeds in a row.")
                make = gr.Button("Add to the queue", variant="primary", size="lg", elem_id="batch-make")
                stop = gr.Button("Cancel all", variant="stop")
                problem = gr.HTML()
            with gr.Column(scale=6, min_width=340, elem_classes="bench"):
                self.table = gr.HTML(elem_id="batch")
        fields = [*clip.form.fields.values(), *thing.form.fields.values()]
        make.click(self._submit, [prompts, kind, seeds, *fields], problem, trigger_mode="multiple", **QUIET)
        stop.click(self._cancel_all, **QUIET)

    def _submit(self, prompts: str, kind: str, seeds: int, *values: Any) -> str:
        clip = self.tabs["clips"]
        count = len(clip.form.fields)
        tab, own = self.tabs[kind], values[:count] if kind == KINDS[0] else values[count:]
        lines = [line.strip() for line in prompts.splitlines() if line.strip()]
        try:
            if not lines:
                raise UserError("There are no prompts: write one a line.")
            base = tab.given(own)
            self.studio.submit(
                *(
                    base | {"prompt": line, "seed": base["seed"] + number}
                    for line in lines
                    for number in range(int(seeds))
                )
            )
        except UserError as error:
            return panels.sentence(str(error))
        return ""

    def _cancel_all(self) -> None:
        for view in reversed(self.studio.queue.all()):
            if not view.over:
                self.studio.queue.cancel(view.id)
