"""The HTTP API of the studio: submit, status, events, cancel, files. docs/studio.md describes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException, Request
from starlette.responses import FileResponse, JSONResponse, StreamingResponse

from core.errors import UserError
from dreamlift.studio.library import Library
from dreamlift.studio.studio import Studio
from dreamlift.studio.work.job import JobView

LOOK_EVERY = 0.1  # s, between two looks at a job whose events are sent
ALIVE_EVERY = 15.0  # s, after which a comment is sent, so that proxies do not close the connection
BODY = 256 * 2**10  # bytes of a submission


def make_api(studio: Studio) -> APIRouter:
    """The routes under /api/ and /files/."""
    router = APIRouter()

    @router.post("/api/jobs", status_code=202)
    def submit(values: Annotated[Any, Body()]) -> JobView:  # pyright: ignore[reportUnusedFunction]
        """Submits a clip or an object, see `Submission`."""
        (job,) = studio.submit(values)
        return job

    @router.get("/api/jobs")
    def jobs() -> list[JobView]:  # pyright: ignore[reportUnusedFunction]
        """All jobs, in the order in which they were submitted."""
        return studio.queue.all()

    @router.get("/api/jobs/{job}")
    def status(job: str) -> JobView:  # pyright: ignore[reportUnusedFunction]
        """The state of a job."""
        return studio.queue.get(job)

    @router.get("/api/jobs/{job}/events")
    async def events(job: str, request: Request) -> StreamingResponse:  # pyright: ignore[reportUnusedFunction]
        """The state of a job after every change, as server-sent events, until it is over."""
        studio.queue.get(job)
        return StreamingResponse(_events(studio, job, request), media_type="text/event-stream")

    @router.get("/api/jobs/{job}/preview")
    def preview(job: str) -> FileResponse:  # pyright: ignore[reportUnusedFunction]
        """The latest preview of a job that is running."""
        file = studio.queue.preview(job)
        if file is None:
            raise HTTPException(404, "There is no preview of this job now.")
        return FileResponse(file, headers={"Cache-Control": "no-store"})

    @router.post("/api/jobs/{job}/cancel")
    def cancel(job: str) -> JobView:  # pyright: ignore[reportUnusedFunction]
        """Cancels a job."""
        return studio.queue.cancel(job)

    @router.post("/api/uploads", status_code=201)
    async def upload(name: str, request: Request) -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        """Stores the picture or clip in the body; its name can be given to the options image and video."""
        data = await _body(request, studio)
        return {"name": await asyncio.to_thread(studio.library.add_upload, data, name)}

    @router.post("/api/estimate")
    def expected(values: Annotated[Any, Body()]) -> dict[str, float | None]:  # pyright: ignore[reportUnusedFunction]
        """Expected seconds and bytes of memory of a submission, see `Submission`."""
        return studio.estimate(values)._asdict()

    @router.get("/api/history")
    def history() -> list[dict[str, Any]]:  # pyright: ignore[reportUnusedFunction]
        """What the records of the output folder say, the latest first."""
        return [
            {"name": entry.name, "kind": entry.kind, "files": entry.files}
            | entry.record.model_dump(mode="json", include={"prompt", "seed", "created"})
            for entry in studio.history.entries()
        ]

    @router.post("/api/history/{name}/discard", status_code=204)
    def discard(name: str) -> None:  # pyright: ignore[reportUnusedFunction]
        """Moves a clip or an object into the bin, with the files that belong to it."""
        studio.history.discard(name)

    @router.get("/files/{name:path}")
    def file(name: str) -> FileResponse:  # pyright: ignore[reportUnusedFunction]
        """A file of the output folder."""
        return serve_file(studio.library, name)

    return router


def serve_file(library: Library, name: str) -> FileResponse:
    """The answer with a file of the output folder. Pages among them run without rights on the studio."""
    try:
        path = library.find(name)
    except UserError as error:
        raise HTTPException(404, str(error)) from error
    headers = {"Cache-Control": "no-cache"}
    if path.suffix == ".html":
        headers["Content-Security-Policy"] = (
            "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
            "style-src 'unsafe-inline'; img-src blob: data:; frame-ancestors 'self'"
        )
    return FileResponse(path, headers=headers)


async def sentence_of(request: Request, error: Exception) -> JSONResponse:
    """The answer to unusable input: status 422, or 404 for what does not exist, and the sentence."""
    missing = request.method == "GET" or request.url.path.endswith("/cancel")
    return JSONResponse({"error": str(error)}, 404 if missing else 422)


async def _body(request: Request, studio: Studio) -> bytes:
    """The body of an upload, of which no more is read than the studio takes."""
    data = bytearray()
    async for part in request.stream():
        data += part
        studio.limits.check_upload(len(data))
    return bytes(data)


async def _events(studio: Studio, job: str, request: Request) -> AsyncIterator[str]:
    """The changes of a job. Changes in quick succession are sent as one; the last is always sent."""
    version, quiet = -1, 0.0
    while not await request.is_disconnected():
        view = studio.queue.get(job)
        if view.version != version:
            version, quiet = view.version, 0.0
            yield f"event: {view.state}\ndata: {view.model_dump_json()}\n\n"
            if view.over:
                return
        elif quiet > ALIVE_EVERY:
            quiet = 0.0
            yield ": waiting\n\n"
        await asyncio.sleep(LOOK_EVERY)
        quiet += LOOK_EVERY
