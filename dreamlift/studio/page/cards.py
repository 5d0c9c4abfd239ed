"""The cards of the history, and all that is known of one of them: plain HTML, all texts escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import PurePath
from typing import Any

from core.io.media import VIDEOS
from dreamlift.studio.history import Entry
from dreamlift.studio.page.panels import downloads, duration, file_url, medium

QUIETLY = 'preload="metadata" muted loop playsinline'
STILL = "#t=0.1"  # s, of the frame that a card shows before it plays


def grid(entries: Sequence[Entry], count: int) -> str:
    """Cards of some entries, of so many in all."""
    if not count:
        return '<div class="stage empty"><p>What you make appears here.</p></div>'
    cards = "".join(map(_card, entries))
    return f'<p class="count">{count} in the folder</p><div class="cards">{cards}</div>'


def _card(entry: Entry) -> str:
    prompt, name = escape(entry.record.prompt, quote=True), escape(entry.name, quote=True)
    moving = next((file for file in entry.files if PurePath(file).suffix in VIDEOS), None)
    if moving:
        picture = f'<video src="{file_url(moving)}{STILL}" aria-hidden="true" {QUIETLY}></video>'
    else:
        picture = f'<img src="{file_url(entry.files[0])}" alt="" loading="lazy">'
    return (
        f'<button type="button" class="card" data-name="{name}" aria-label="{entry.kind}: {prompt}">{picture}'
        f'<span class="prompt">{prompt}</span> <small>{entry.kind}, seed {entry.record.seed}</small></button>'
    )


def detail(entry: Entry | None) -> str:
    """The result of an entry, its files and all of its options."""
    if entry is None:
        return '<div class="stage empty"><p>Choose a clip or an object.</p></div>'
    record = entry.record
    about: dict[str, Any] = {
        "seed": record.seed,
        "preset": record.preset,
        "drawn as": record.completed,
        "made": f"{record.created:%Y-%m-%d %H:%M} UTC",
        "in": duration(sum(record.seconds.model_dump(exclude={"since_start"}).values())),
        "on": record.device,
        **record.options.model_dump(mode="json", exclude_defaults=True),
    }
    rows = "".join(
        f"<tr><th scope=row>{escape(name.replace('_', ' '))}</th><td>{escape(_text(value))}</td></tr>"
        for name, value in about.items()
        if value not in (None, "", [], {})
    )
    return (
        f'<div class="stage">{medium(entry.files, record.prompt)}</div><div class="status">'
        f'<p class="prompt">{escape(record.prompt)}</p>{downloads([*entry.files, entry.record_name])}'
        f"<details><summary>All options</summary><table>{rows}</table></details></div>"
    )


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    return "; ".join(map(_text, value)) if isinstance(value, list) else str(value)
