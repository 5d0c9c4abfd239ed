"""The page as a whole: its tabs, its queue, and what refreshes them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI

from core.errors import UserError
from dreamlift.studio.page import panels
from dreamlift.studio.page.clip_tab import clip_tab
from dreamlift.studio.page.fields import QUIET
from dreamlift.studio.page.theme import THEME
from dreamlift.studio.studio import Studio

REFRESH_EVERY = 0.5  # s
STYLE = Path(__file__).with_name("studio.css")
# A button in the HTML of the queue names its job.
ON_CLICK = """element.addEventListener('click', event => {
  const button = event.target.closest('button[data-cancel]');
  if (button) trigger('click', {job: button.dataset.cancel});
})"""


def make_page(studio: Studio) -> gr.Blocks:
    """The page of a studio."""
    with gr.Blocks(title="Dreamlift studio", analytics_enabled=False, fill_width=True) as page:
        gr.HTML("<h1>Dreamlift studio</h1>", elem_classes="masthead")
        with gr.Tab("Clip", id="clip"):
            bench = clip_tab(studio)
        queue = gr.HTML(js_on_load=ON_CLICK, elem_id="queue")
        shown = gr.State([])  # what this session sees
        outputs = [queue, *bench.outputs]

        def refresh(before: list[Any]) -> list[Any]:
            """The parts of the page that have changed since this session saw them."""
            views = studio.queue.all()
            now = [panels.queue(views), *bench.contents(views)]
            before = before or [None] * len(now)
            return [now, *(_change(old, new) for old, new in zip(before, now, strict=True))]

        def cancel(event: gr.EventData) -> None:
            with suppress(UserError):  # it ended long ago
                studio.queue.cancel(str(getattr(event, "job", "")))

        timer = gr.Timer(REFRESH_EVERY)
        timer.tick(refresh, shown, [shown, *outputs], queue=False, **QUIET)
        page.load(refresh, shown, [shown, *outputs], queue=False, **QUIET)
        queue.click(cancel, None, None, queue=False, **QUIET)
    return page


def _change(old: Any, new: Any) -> Any:
    """The new contents of a component, or properties of it; nothing where they are as before."""
    if old == new:
        return gr.skip()
    return gr.update(**new) if isinstance(new, dict) else new


def mount_page(app: FastAPI, studio: Studio) -> FastAPI:
    """Adds the page to an application, at its root."""
    os.environ["GRADIO_TEMP_DIR"] = str(studio.scratch / "page")  # uploads on their way to the folder
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    return gr.mount_gradio_app(
        app,
        make_page(studio),
        path="/",
        footer_links=[],
        theme=THEME,
        css_paths=[STYLE],
        max_file_size=studio.limits.upload,
        ssr_mode=False,
        enable_monitoring=False,
        show_error=True,
    )
