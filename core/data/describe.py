"""What the files of a collection are: sizes, frame rates, lengths, and the words of the captions."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageOps, ImageSequence

from core.data.folder import Collection, Example
from core.io.media import PICTURES, SHORTEST, UNDECODABLE, UNTIMED, frame_files, open_video


@dataclass(frozen=True)
class MediaProperties:
    """Width and height in pixels, upright; number of frames, and frames per second, of clips alone."""

    width: int
    height: int
    frames: int = 1
    fps: float | None = None


@dataclass(frozen=True)
class Overview:
    """Counts over a collection, most common first."""

    sizes: list[tuple[str, int]]
    rates: list[tuple[str, int]]
    frames: tuple[int, int, int] | None  # least, median and most frames of clips
    words: list[tuple[str, int]]


def overview(collection: Collection) -> Overview:
    """The overview of a collection; files that cannot be read are left out."""
    sizes: Counter[str] = Counter()
    rates: Counter[str] = Counter()
    lengths: list[int] = []
    for example in collection.examples:
        try:
            properties = describe(example)
        except UNDECODABLE:
            continue
        sizes[f"{properties.width}x{properties.height}"] += 1
        if properties.frames > 1:
            lengths.append(properties.frames)
            rates[f"{properties.fps:.3g}" if properties.fps else "not known"] += 1
    middle = sorted(lengths)
    frames = (middle[0], middle[len(middle) // 2], middle[-1]) if middle else None
    captions = [caption for example in collection.examples for caption in example.captions]
    return Overview(sizes.most_common(), rates.most_common(), frames, caption_words(captions))


def caption_words(captions: Sequence[str]) -> list[tuple[str, int]]:
    """Words of at least three letters in captions and in how many of them they are, most common first."""
    words = Counter(word for text in captions for word in set(re.findall(r"[^\W\d_]{3,}", text.lower())))
    return words.most_common()


def describe(example: Example) -> MediaProperties:
    """Properties of a picture or clip, from its header where that says them.

    Raises one of `core.io.media.UNDECODABLE` for what is damaged.
    """
    with example.files() as path:
        if path.is_dir():
            files = frame_files(path)
            with Image.open(files[0]) as image:
                return MediaProperties(*_upright(image), len(files))
        if path.suffix.lower() in PICTURES:
            with Image.open(path) as image:
                count, size = getattr(image, "n_frames", 1), _upright(image)
                if count == 1:
                    return MediaProperties(*size)
                seconds = sum(
                    max(SHORTEST, frame.info.get("duration", UNTIMED)) / 1000
                    for frame in ImageSequence.Iterator(image)
                    if frame.load() is not None
                )
                return MediaProperties(*size, count, count / seconds)
        reader = open_video(path)
        information = next(reader)
        reader.close()
        width, height = information["size"]
        return MediaProperties(
            width, height, max(1, round(information["duration"] * information["fps"])), information["fps"]
        )


def _upright(image: Image.Image) -> tuple[int, int]:
    return ImageOps.exif_transpose(image).size
