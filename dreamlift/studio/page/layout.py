"""The page as a whole: its tabs, its queue, and what refreshes them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI

from core.errors import UserError
from dreamlift.studio.library import UPLOADS
from dreamlift.studio.page import panels
from dreamlift.studio.page.batch_tab import BatchTab
from dreamlift.studio.page.client_api import add_client_api
from dreamlift.studio.page.clip_form import ClipForm
from dreamlift.studio.page.fields import QUIET
from dreamlift.studio.page.history_tab import HistoryTab
from dreamlift.studio.page.making_tab import MakingTab
from dreamlift.studio.page.object_form import ObjectForm
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
        add_client_api(studio)  # first, so that no event of the page takes its names
        gr.HTML("<h1>Dreamlift studio</h1>", elem_classes="masthead")
        with gr.Tabs(selected="clip") as tabs:
            with gr.Tab("Clip", id="clip"):
                clip = MakingTab(studio, ClipForm, "clip", "Your clip refines and plays here.")
            with gr.Tab("Object", id="object"):
                thing = MakingTab(studio, ObjectForm, "object", "Your object turns here while it is made.")
            with gr.Tab("Batch", id="batch"):
                batch = BatchTab(studio, clip, thing)
            with gr.Tab("History", id="history"):
                history = HistoryTab(studio, tabs, clip, thing)
        queue = gr.HTML(js_on_load=ON_CLICK, elem_id="queue")
        shown = gr.State([])  # what this session sees
        outputs = [shown, queue, batch.table, history.cards, *clip.bench.outputs, *thing.bench.outputs]

        def refresh(before: list[Any], page: int) -> list[Any]:
            """The parts of the page that have changed since this session saw them."""
            views = studio.queue.all()
            now = [
                panels.queue(views),
                panels.jobs_table(views),
                history.contents(page),
                *clip.bench.contents(views),
                *thing.bench.contents(views),
            ]
            before = before or [None] * len(now)
            return [now, *(_change(old, new) for old, new in zip(before, now, strict=True))]

        def cancel(event: gr.EventData) -> None:
            with suppress(UserError):  # it ended long ago
                studio.queue.cancel(str(getattr(event, "job", "")))

        gr.Timer(REFRESH_EVERY).tick(refresh, [shown, history.page], outputs, queue=False, **QUIET)
        page.load(refresh, [shown, history.page], outputs, queue=False, **QUIET)
        for tab in (clip, thing):  # what was made tells what the next one takes
            tab.estimate_on([page.load, history.cards.change])
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
        allowed_paths=[str(studio.library.folder / UPLOADS)],  # pictures that the history puts into a form
        max_file_size=studio.limits.upload,
        ssr_mode=False,
        enable_monitoring=False,
        show_error=True,
    )
