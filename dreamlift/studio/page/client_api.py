"""The endpoints of the page for gradio_client: /make, /submit, /status and /cancel."""

from __future__ import annotations

import asyncio
from typing import Any

import gradio as gr
from gradio.events import api

from core.errors import UserError
from dreamlift.studio.studio import Studio
from dreamlift.studio.work.job import JobView

LOOK_EVERY = 0.1  # s


def add_client_api(studio: Studio) -> None:
    """Adds the endpoints where Gradio's context is. They take and return JSON as the HTTP API does."""

    def submit(submission: dict[str, Any]) -> dict[str, Any]:
        """Submits a clip or an object; returns its job."""
        (job,) = _usable(studio.submit, submission)
        return job.model_dump()

    def status(job: str) -> dict[str, Any]:
        """The state of a job."""
        return _usable(studio.queue.get, job).model_dump()

    def cancel(job: str) -> dict[str, Any]:
        """Cancels a job; returns its state."""
        return _usable(studio.queue.cancel, job).model_dump()

    async def make(submission: dict[str, Any]) -> dict[str, Any]:
        """Submits a clip or an object and waits until it is made; returns its job."""
        (job,) = await asyncio.to_thread(_usable, studio.submit, submission)
        view: JobView = job
        while not view.over:
            await asyncio.sleep(LOOK_EVERY)
            view = studio.queue.get(view.id)
        return view.model_dump()

    api(submit, api_name="submit", queue=False)
    api(status, api_name="status", queue=False)
    api(cancel, api_name="cancel", queue=False)
    api(make, api_name="make", concurrency_limit=None)


def _usable(call: Any, *arguments: Any) -> Any:
    """The result of a call; unusable input is an error of Gradio, with the same sentence."""
    try:
        return call(*arguments)
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from error
