"""The tab History: what lies in the output folder, with all options, and what can follow from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from core.errors import UserError
from dreamlift.studio.page import cards, panels
from dreamlift.studio.page.fields import QUIET, draw_seed
from dreamlift.studio.page.making_tab import MakingTab
from dreamlift.studio.studio import Studio

PAGE = 24  # cards
NOT_EXTENDED = ("video", "strength", "interpolate")  # options of what a clip was made from
Change = Callable[[dict[str, Any]], dict[str, Any]]
# Cards play while the pointer or the focus is on them, and name themselves when they are chosen.
ON_LOAD = """
const video = event => event.target.closest('.card')?.querySelector('video');
for (const name of ['mouseover', 'focusin']) element.addEventListener(name, event => video(event)?.play());
for (const name of ['mouseout', 'focusout']) element.addEventListener(name, event => video(event)?.pause());
element.addEventListener('click', event => {
  const card = event.target.closest('.card');
  if (card) trigger('click', {name: card.dataset.name});
});
"""


class HistoryTab:
    """Cards on the left; the chosen one with its options and buttons on the right."""

    def __init__(self, studio: Studio, tabs: gr.Tabs, clip: MakingTab, thing: MakingTab) -> None:
        """Builds the tab where Gradio's context is. clip, thing: where its buttons lead."""
        self.studio, self.clip, self.thing = studio, clip, thing
        self.chosen, self.page = gr.State(None), gr.State(0)
        with gr.Row(elem_classes="workspace"):
            with gr.Column(scale=6, min_width=340):
                self.cards = gr.HTML(js_on_load=ON_LOAD, elem_id="history")
                with gr.Row():
                    newer = gr.Button("Newer", size="sm", min_width=100)
                    older = gr.Button("Older", size="sm", min_width=100)
            with gr.Column(scale=5, min_width=340, elem_classes="bench"):
                self.detail = gr.HTML(cards.detail(None), elem_id="detail")
                self.problem = gr.HTML()
                with gr.Row(visible=False, elem_id="follow") as self.buttons:
                    again = gr.Button("Again", size="sm", min_width=80)
                    vary = gr.Button("Vary", size="sm", min_width=80)
                    extend = gr.Button("Extend", size="sm", min_width=80)
                    lift = gr.Button("Make an object of it", size="sm", min_width=140)
                    discard = gr.Button("Delete to the bin", variant="stop", size="sm", min_width=140)
        self.cards.click(self._choose, None, [self.chosen, self.detail, self.buttons, self.problem], **QUIET)
        for button, step in ((newer, -1), (older, 1)):
            button.click(lambda page, step=step: max(0, page + step), self.page, self.page, **QUIET)
        into_forms = [
            tabs,
            *clip.form.fields.values(),
            *thing.form.fields.values(),
            self.problem,
        ]
        for button, change in (
            (again, dict[str, Any]),
            (vary, self._varied),
            (extend, self._extended),
            (lift, self._lifted),
        ):
            button.click(self._follow(change), self.chosen, into_forms, **QUIET)
        outputs = [self.chosen, self.detail, self.buttons, self.problem]
        discard.click(self._discard, self.chosen, outputs, **QUIET)

    def contents(self, page: int) -> str:
        """The cards of a page."""
        entries = self.studio.history.entries()
        return cards.grid(entries[page * PAGE : (page + 1) * PAGE], len(entries))

    def _choose(self, event: gr.EventData) -> list[Any]:
        name = str(getattr(event, "name", ""))
        try:
            entry = self.studio.history.find(name)
        except UserError as error:
            return [None, cards.detail(None), gr.update(visible=False), panels.sentence(str(error))]
        return [name, cards.detail(entry), gr.update(visible=True), ""]

    def _discard(self, name: str | None) -> list[Any]:
        try:
            self.studio.history.discard(name or "")
        except UserError as error:
            return [None, cards.detail(None), gr.update(visible=False), panels.sentence(str(error))]
        return [None, cards.detail(None), gr.update(visible=False), ""]

    def _follow(self, change: Change) -> Callable[[str | None], list[Any]]:
        """What a button does: puts a submission that follows from the chosen entry into a form."""

        def follow(name: str | None) -> list[Any]:
            forms = [*self.clip.form.fields, *self.thing.form.fields]
            try:
                submission = change({**self.studio.history.submission(name or ""), "from": name})
                submission.pop("from")
                tab = self.clip if submission["kind"] == "clip" else self.thing
                values = tab.form.values(submission, self.studio.library)
            except UserError as error:
                return [gr.skip(), *[gr.skip()] * len(forms), panels.sentence(str(error))]
            filled = [
                values.get(field) if each is tab else gr.skip()
                for each in (self.clip, self.thing)
                for field in each.form.fields
            ]
            return [gr.update(selected=submission["kind"]), *filled, ""]

        return follow

    def _varied(self, submission: dict[str, Any]) -> dict[str, Any]:
        """The same with another seed."""
        return submission | {"seed": draw_seed()}

    def _extended(self, submission: dict[str, Any]) -> dict[str, Any]:
        """A clip that begins with the last frame of this one."""
        if submission["kind"] != "clip":
            raise UserError("An object does not move: choose a clip to extend.")
        given: dict[str, Any] = submission["options"]
        options = {name: value for name, value in given.items() if name not in NOT_EXTENDED}
        last = self.studio.library.add_last_frame(submission["from"])
        return submission | {"options": options | {"image": last, "loop": False}}

    def _lifted(self, submission: dict[str, Any]) -> dict[str, Any]:
        """An object of the same prompt, seed and model."""
        if submission["kind"] == "object":
            raise UserError("It is an object: choose a clip to make an object of.")
        return submission | {"kind": "object", "preset": None, "format": ".obj", "options": {}}
