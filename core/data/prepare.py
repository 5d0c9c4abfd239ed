"""Training shards from one's own pictures and clips.

The shards have the format of `core.training.data.Shards`. What a folder of pictures does not know (camera,
phase, shadow) is NaN there: "not given". The folder of the shards is a cache: a file is decoded again when
its contents or the options have changed, and not otherwise.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from core.data.decode import PrepareOptions, digest_of, kind_of, reason_of
from core.data.folder import Collection, Example, Problem
from core.data.shards import ShardWriter
from core.errors import UserError
from core.io.atomic import atomic_write, writable_folder
from core.io.media import UNDECODABLE
from core.training.data import CAPTIONS


@dataclass
class Preparation:
    """What was prepared, and what could not be."""

    images: int = 0
    clips: int = 0
    windows: int = 0  # cut from the clips
    decoded: int = 0  # files that were not prepared before
    problems: list[Problem] = field(default_factory=list[Problem])
    duplicates: list[tuple[str, str]] = field(
        default_factory=list[tuple[str, str]]
    )  # name, name of the first
    without_caption: list[str] = field(default_factory=list[str])
    several_captions: int = 0  # examples
    sources: Counter[str] = field(default_factory=Counter[str])  # of the captions


def prepare(
    collection: Collection,
    out: Path,
    options: PrepareOptions,
    on_done: Callable[[int, int], None] | None = None,
) -> Preparation:
    """Writes the shards of a collection into the folder `out`, and captions.txt beside them.

    on_done: called with (examples done, examples in total).

    Raises UserError when nothing can be used, or the folder is not writable.
    """
    writable_folder(out)
    result = Preparation(problems=list(collection.problems))
    groups: dict[str, list[tuple[int, Example, str]]] = {"images": [], "clips": []}
    seen: dict[tuple[str, tuple[str, ...]], str] = {}
    lines: list[str] = []
    for example in collection.examples:
        try:
            kind, digest = kind_of(example), digest_of(example)
        except UNDECODABLE as error:
            result.problems.append(Problem(example.name, reason_of(error)))
            continue
        first = seen.setdefault((digest, example.captions), example.name)
        if first != example.name:
            result.duplicates.append((example.name, first))
            continue
        result.sources[example.source] += 1
        result.several_captions += len(example.captions) > 1
        if not example.captions:
            result.without_caption.append(example.name)
        groups[kind].append((len(lines), example, digest))
        lines += example.captions or ("",)
    done, total = 0, sum(len(group) for group in groups.values())
    for kind, group in groups.items():
        writer = ShardWriter(out, kind, options)
        for line, example, digest in group:
            reason = writer.add(example, digest, line)
            if reason:
                result.problems.append(Problem(example.name, reason))
            done += 1
            if on_done:
                on_done(done, total)
        writer.close()
        used = len(group) - writer.unusable
        if kind == "images":
            result.images = used
        else:
            result.clips, result.windows = used, writer.rows
        result.decoded += writer.decoded
    if not result.images + result.clips:
        first = result.problems[0]
        raise UserError(f"Nothing in the folder can be used: {first.path}: {first.reason}.")
    text = "".join(f"{line}\n" for line in lines)
    if not (out / CAPTIONS).is_file() or (out / CAPTIONS).read_text(encoding="utf-8") != text:
        with atomic_write(out / CAPTIONS) as draft:
            draft.write_text(text, encoding="utf-8")
    return result
