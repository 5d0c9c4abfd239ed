"""Pictures of the documentation: what prompts give, and how enlargements compare.

    python -m benchmarks.contact_sheets [--seeds 8] [--model FOLDER] [--out docs/pictures]

demo-prompts.webp, showcase-prompts.webp: images of the bundled model, a row of seeds for each prompt, at half
their size. enlargements.webp: one frame as the model draws it, enlarged by the nearest pixel, bicubically, by
Lanczos' filter and by the super-resolution model, and the face of each at full size. With --model emoji in
their place emoji.webp and emoji-never-seen.webp: names that it has learned, and prompts beyond them; and
emoji-moving.webp: six clips. With --model unclip: unclip-variations.webp, pictures and their variations,
unclip-blends.webp, the way from one to another, and unclip-edits.webp, one picture as a text changes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from core.io.clips.write import write_clip
from core.io.pictures import Frames
from core.io.sheet import PAPER, contact_sheet
from dreamlift import ImageVariations, TextToImage, TextToVideo
from dreamlift.text_to_image import Picture

DEMO = ("a panda on a swing", "a fox holding a controller")
SHOWCASE = (  # as people word the scenes of core.toybox.scenes.SHOWCASE
    "a panda on a swing in the park",
    "a fox holding a video game controller",
    "a lobster playing the saxophone",
    "a corgi wearing a beret and holding a baguette",
    "a skeleton drinking a glass of wine",
    "two teddy bears mixing chemicals",
    "an astronaut riding a horse in space",
    "a golden retriever eating ice cream on the beach at sunset",
    "a horse drinking juice",
    "a couple walking under an umbrella in the rain",
    "a paintbrush painting on a canvas",
    "a bear in a calculus class",
)
EMOJI = (  # six that people would ask for
    *("a slice of pizza", "a rocket", "a panda face", "a red apple", "a soccer ball", "a birthday cake"),
    # twenty names drawn at random
    *("a weary face", "a snowman", "a girl", "a love hotel", "a reminder ribbon", "a sleeping face"),
    *("an orange book", "a baby chick", "a goal net", "an overheated face", "a musical note", "a placard"),
    *("a raised back of hand", "a bow and arrow", "a microphone", "a rainbow"),
    *("a smiling face with smiling eyes and three hearts", "a call me hand", "a sushi", "a wilted flower"),
)
MOVING = ("a panda face", "a weary face", "a rocket", "a snowman", "a sleeping face", "a red heart")
NEVER_SEEN = (  # names left out of training, and things that are no emoji
    *("a koala", "a mango", "a zebra face", "a hibiscus", "a garlic", "a boar", "a carousel horse"),
    *("a tumbler glass", "a three button mouse", "a virgo"),
    *("a blue apple", "a green panda", "a rocket made of pizza", "a snowman with sunglasses"),
)
VARIED = ("a panda on a swing", "a fox dancing", "a robot riding a bicycle", "a frog playing the saxophone")
BLENDED = (("a fox dancing", "a panda dancing"), ("a corgi on a beach", "a robot in space"))
EDITED = (("a fox dancing", "a fox", "a panda"), ("a panda on a swing", "by day", "at night"))
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bicubic": Image.Resampling.BICUBIC,
    "Lanczos": Image.Resampling.LANCZOS,
}


def rows_of_seeds(images: TextToImage, prompts: tuple[str, ...], seeds: int) -> Image.Image:
    """A row of images for each prompt, at half their size, below the prompt."""
    rows: list[Image.Image] = []
    for prompt in prompts:
        pictures = [images(prompt, seed=seed).image for seed in range(seeds)]
        halves = [picture.resize((picture.width // 2, picture.height // 2)) for picture in pictures]
        rows.append(contact_sheet(np.stack([np.asarray(half) for half in halves]), prompt, seeds))
    return stacked(rows)


def rows_of_embeddings(images: TextToImage, draws: ImageVariations) -> dict[str, Image.Image]:
    """Variations, blends and edits of pictures of prompts, by the name of their sheet."""
    wide = 7  # pictures in a row

    def row(pictures: Sequence[Picture], title: str) -> Image.Image:
        halves = [each.image.resize((each.image.width // 2, each.image.height // 2)) for each in pictures]
        return contact_sheet(np.stack([np.asarray(half) for half in halves]), title, wide)

    given = {prompt: images(prompt, seed=0) for prompt in VARIED + sum(BLENDED, ())}
    varied = [row([given[p], *draws.vary(given[p].image, wide - 1)], f"{p}, and variations") for p in VARIED]
    blended = [
        row(draws.interpolate(given[first].image, given[second].image, wide), f"{first} to {second}")
        for first, second in BLENDED
    ]
    edited = [
        row([given[p], *draws.edit(given[p].image, before, after, wide - 1)], f"{p}: {before} to {after}")
        for p, before, after in EDITED
    ]
    return {
        "unclip-variations": stacked(varied),
        "unclip-blends": stacked(blended),
        "unclip-edits": stacked(edited),
    }


def moving(videos: TextToVideo, prompts: tuple[str, ...]) -> Frames:
    """Clips in a row (F,H,W,3), at half their size."""
    clips = np.concatenate([videos(prompt, seed=0).frames for prompt in prompts], axis=2)
    count, height, width, _ = clips.shape
    halves = clips.reshape(count, height // 2, 2, width // 2, 2, 3).mean((2, 4))
    return halves.round().astype(np.uint8)


def enlargements(images: TextToImage, prompt: str, seed: int) -> Image.Image:
    """One image by every filter and by the model: entire in the first row, the upper middle in the second."""
    drawn = images(prompt, seed=seed, super_resolution=0).image
    finished = images(prompt, seed=seed).image
    pictures = [drawn.resize(finished.size, filtered) for filtered in FILTERS.values()] + [finished]
    width, height = finished.size
    middle = (width * 5 // 16, height // 8, width * 11 // 16, height // 2)
    faces = [picture.crop(middle).resize(finished.size, Image.Resampling.NEAREST) for picture in pictures]
    frames: Frames = np.stack([np.asarray(picture) for picture in pictures + faces])
    title = f"{prompt}: {', '.join(FILTERS)}, super-resolution"
    return contact_sheet(frames, title, len(pictures))


def stacked(parts: list[Image.Image]) -> Image.Image:
    """Images of equal width, one below the other."""
    out = Image.new("RGB", (parts[0].width, sum(part.height for part in parts)), PAPER)
    top = 0
    for part in parts:
        out.paste(part, (0, top))
        top += part.height
    return out


def main() -> None:
    """Draws the pictures and writes them."""
    parser = argparse.ArgumentParser(description="Pictures of the documentation.")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--model", default="bundled", help="unclip, emoji, or the folder of an image model")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.model == "unclip":
        drawings = rows_of_embeddings(TextToImage.from_pretrained(), ImageVariations.from_pretrained())
    elif options.model == "emoji":
        images = TextToImage.from_pretrained("emoji")
        drawings = {
            "emoji": rows_of_seeds(images, EMOJI, options.seeds),
            "emoji-never-seen": rows_of_seeds(images, NEVER_SEEN, options.seeds),
        }
        clips = moving(TextToVideo.from_pretrained("emoji"), MOVING)
        write_clip(options.out / "emoji-moving.webp", clips, fps=8)
    else:
        images = TextToImage.from_pretrained(options.model)
        drawings = {
            "demo-prompts": rows_of_seeds(images, DEMO, options.seeds),
            "showcase-prompts": rows_of_seeds(images, SHOWCASE, options.seeds),
        }
        if images.super_resolution:
            drawings["enlargements"] = stacked([enlargements(images, prompt, seed=3) for prompt in DEMO])
    for name, drawing in drawings.items():
        path = options.out / f"{name}.webp"
        drawing.save(path, quality=88, method=6)
        print(path)


if __name__ == "__main__":
    main()
