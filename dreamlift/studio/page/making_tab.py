"""The tabs Clip and Object: a form, what it will cost, and the result while it is made."""

from __future__ import annotations

from typing import Any, Protocol

import gradio as gr

from core.errors import UserError
from dreamlift.studio.library import Library
from dreamlift.studio.page import panels
from dreamlift.studio.page.fields import QUIET, Fields
from dreamlift.studio.page.workbench import Workbench
from dreamlift.studio.studio import Studio


class Form(Protocol):
    """What `ClipForm` and `ObjectForm` have in common."""

    prompt: gr.Textbox
    make: gr.Button
    problem: gr.HTML  # why nothing was made
    costs: gr.HTML  # expected
    fields: Fields

    def submission(self, values: dict[str, Any], library: Library) -> dict[str, Any]:
        """What the form submits, by the values of its fields."""
        ...

    def values(self, submission: dict[str, Any], library: Library) -> dict[str, Any]:
        """The values of its fields that submit the same."""
        ...


class MakingTab:
    """A form on the left, and its `Workbench` on the right."""

    def __init__(self, studio: Studio, form: type[Form], kind: str, empty: str) -> None:
        """Builds the tab where Gradio's context is."""
        self.studio = studio
        with gr.Row(elem_classes="workspace"):
            with gr.Column(scale=5, min_width=340):
                self.form = form()
            with gr.Column(scale=6, min_width=340, elem_classes="bench"):
                self.bench = Workbench(studio, kind, empty)
        fields = [*self.form.fields.values()]
        gr.on(
            [self.form.make.click, self.form.prompt.submit],
            self._submit,
            fields,
            [self.form.problem, self.form.fields["seed"]],
            trigger_mode="multiple",  # another press is another job, even before the first is answered
            **QUIET,
        )
        self.estimate_on(
            [self.form.prompt.blur, *(field.change for field in fields if field is not self.form.prompt)]
        )

    def estimate_on(self, triggers: list[Any]) -> None:
        """Shows the expected cost of the form after these events."""
        gr.on(
            triggers,
            self._estimate,
            [*self.form.fields.values()],
            self.form.costs,
            trigger_mode="always_last",
            **QUIET,
        )

    def given(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """The submission of the form, by the values of its fields in their order."""
        return self.form.submission(dict(zip(self.form.fields, values, strict=True)), self.studio.library)

    def _submit(self, *values: Any) -> list[Any]:
        try:
            submission = self.given(values)
            self.studio.submit(submission)
        except UserError as error:
            return [panels.sentence(str(error)), gr.skip()]
        return ["", submission["seed"]]

    def _estimate(self, *values: Any) -> str:
        """What the form would cost; nothing where it cannot be made, which `_submit` says."""
        named = dict(zip(self.form.fields, values, strict=True))
        if not named["prompt"]:
            named["prompt"] = self.form.prompt.placeholder
        try:
            return panels.costs(self.studio.estimate(self.form.submission(named, self.studio.library)))
        except UserError:
            return ""
