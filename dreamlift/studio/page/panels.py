"""What the page shows of jobs: plain HTML, in which every text from elsewhere is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import PurePath
from urllib.parse import quote

from core.io.media import VIDEOS
from dreamlift.studio.estimates import Estimate
from dreamlift.studio.work.job import JobView


def file_url(name: str) -> str:
    """The address of a file of the output folder."""
    return f"/files/{quote(name)}"


def stage(view: JobView | None, empty: str) -> str:
    """The picture of a job: its latest preview, or its result. empty: a sentence where there is no job."""
    if view is None:
        return f'<div class="stage empty"><p>{escape(empty)}</p></div>'
    prompt = escape(view.prompt, quote=True)
    if view.files:
        return f'<div class="stage">{medium(view.files, view.prompt)}</div>'
    if view.preview and not view.over:
        source = f"/api/jobs/{view.id}/preview?{view.preview}"
        return f'<div class="stage"><img class="unfinished" src="{source}" alt="Unfinished: {prompt}"></div>'
    if view.state == "failed":
        return '<div class="stage empty"><p>Nothing was made.</p></div>'
    if view.state == "cancelled":
        return '<div class="stage empty"><p>Cancelled. Nothing was written.</p></div>'
    return '<div class="stage empty busy"><p>The first picture appears after the first step.</p></div>'


def medium(files: Sequence[str], prompt: str) -> str:
    """The element that shows a result: a page in which the mesh turns, or the clip, or a picture."""
    label = escape(prompt, quote=True)
    page = next((name for name in files if name.endswith(".html")), None)
    if page:
        return f'<iframe src="{file_url(page)}" title="{label}: drag to turn, scroll to zoom"></iframe>'
    source = file_url(files[0])
    if PurePath(files[0]).suffix in VIDEOS:
        return f'<video src="{source}" aria-label="{label}" controls autoplay loop muted playsinline></video>'
    return f'<img src="{source}" alt="{label}">'


def status(view: JobView | None) -> str:
    """Progress of a job, or what became of it, and links to its files."""
    if view is None:
        return ""
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in view.notes)
    title = f'<p class="prompt">{escape(view.prompt)} <small>seed {view.seed}</small></p>'
    if view.state == "running":
        return f'<div class="status">{title}{progress(view)}{notes}</div>'
    if view.state == "waiting":
        return f'<div class="status">{title}<p>{place(view)}</p></div>'
    if view.state == "failed":
        return (
            f'<div class="status">{title}<p class="error" role="alert">{escape(view.error or "")}</p></div>'
        )
    if view.state == "cancelled":
        return f'<div class="status">{title}<p>Cancelled after {duration(view.seconds)}.</p></div>'
    return (
        f'<div class="status">{title}<p>Made in {duration(view.seconds)}.</p>{notes}'
        f"{downloads(view.files)}</div>"
    )


def downloads(names: Sequence[str]) -> str:
    """Links to files."""
    links = " ".join(f'<a href="{file_url(name)}" download>{escape(ending(name))}</a>' for name in names)
    return f'<p class="files"><span>Download</span> {links}</p>'


def progress(view: JobView) -> str:
    """The progress bar of a job that is running."""
    known = view.steps and view.phase != "stopping"
    width = f'style="width: {view.share:.1%}"' if known else 'class="unknown"'
    now = f'aria-valuenow="{view.share:.0%}"'.replace("%", "") if known else ""
    count = f" {view.step} of {view.steps}" if view.steps else ""
    left = f", {duration(view.left)} left" if view.left is not None else ""
    label = escape(f"{view.phase}{count}")
    return (
        f'<div class="bar" role="progressbar" aria-label="{label}" {now}><div {width}></div></div>'
        f'<p><span class="phase">{label}</span>{left} <small>{duration(view.seconds)} so far</small></p>'
    )


def queue(views: Sequence[JobView]) -> str:
    """The jobs that are not over, each with a button to cancel it."""
    open_jobs = [view for view in views if not view.over]
    if not open_jobs:
        return ""
    rows = "".join(
        f'<li><span class="what">{escape(view.kind)}</span> '
        f'<span class="prompt">{escape(view.prompt)}</span> '
        f"<small>seed {view.seed}</small> <small>{escape(_state(view))}"
        f'</small> <button type="button" data-cancel="{view.id}" '
        f'aria-label="Cancel {escape(view.prompt, quote=True)}">Cancel</button></li>'
        for view in open_jobs
    )
    return f'<section class="queue" aria-label="Queue"><h3>Queue</h3><ol>{rows}</ol></section>'


def jobs_table(views: Sequence[JobView]) -> str:
    """All jobs that are remembered, the latest first."""
    if not views:
        return '<div class="stage empty"><p>The jobs of this session appear here.</p></div>'
    rows = "".join(
        f'<tr><td>{escape(view.kind)}</td><td class="prompt">{escape(view.prompt)}</td><td>{view.seed}</td>'
        f'<td class="{view.state}">{escape(view.error or _state(view))}</td></tr>'
        for view in reversed(views)
    )
    head = "".join(f"<th scope=col>{name}</th>" for name in ("kind", "prompt", "seed", "state"))
    return f'<table class="jobs"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _state(view: JobView) -> str:
    """The state of a job in words."""
    if view.state == "running":
        return f"{view.phase} {view.share:.0%}" if view.steps else view.phase
    return place(view) if view.position else view.state


def announcement(view: JobView | None) -> str:
    """What a screen reader says when the state of a job changes."""
    if view is None:
        return ""
    words = view.phase if view.state == "running" else view.state
    return f'<span role="status" class="announcement">{escape(view.kind)}: {words}</span>'


def place(view: JobView) -> str:
    """Where a waiting job stands in the queue."""
    return "next in the queue" if view.position == 1 else f"number {view.position} in the queue"


def duration(seconds: float | None) -> str:
    """A duration in words: "8 s", "3 min", "2 h"."""
    seconds = max(0.0, seconds or 0.0)
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds > 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def ending(name: str) -> str:
    """What kind of file it is, in the letters of its ending: "MP4", "VIEWS.PNG"."""
    return "".join(PurePath(name).suffixes[-2:]).lstrip(".").upper()


def costs(expected: Estimate) -> str:
    """The expected cost of what a form submits."""
    time = f"About {duration(expected.seconds)}" if expected.seconds is not None else "Time unknown"
    memory = f"{expected.memory / 2**30:.1f} GB of memory" if expected.memory else "memory unknown"
    return f'<p class="costs">{time}, {memory}.</p>'


def sentence(message: str) -> str:
    """An error of the form, below it."""
    return f'<p class="error" role="alert">{escape(message)}</p>' if message else ""
