"""Fetches 1,852 named emoji as training data: Microsoft's Fluent emoji (MIT), from packages of npm.

python examples/fetch_emoji.py data/emoji                        16 MB; needs npm, and pip install emoji
python examples/fetch_emoji.py data/moving-emoji --animated      730 MB; the 700 that move

Each picture has two captions: its name in Unicode ("a panda face") and that in CLDR, which the package emoji
knows ("panda"). Variants by skin tone are left out, and ten emoji that no model is to see.
"""

import argparse
import csv
import shutil
import subprocess
import tarfile
import tempfile
import unicodedata
from pathlib import Path

from PIL import Image

STILLS = ["@lobehub/fluent-emoji-3d@1.1.0"]
ANIMATED = [f"@lobehub/fluent-emoji-anim-{part}@1.0.0" for part in range(1, 5)]
SKIN_TONES = [chr(point) for point in range(0x1F3FB, 0x1F400)]
VARIATION = "\N{VARIATION SELECTOR-16}"  # asks for a picture; some file names leave it out
# Drawn at random once. A model never sees them.
HELD_OUT = ["tumbler glass", "hibiscus", "virgo", "three button mouse", "mango"] + [
    *("koala", "zebra face", "garlic", "boar", "carousel horse")
]


def characters(stem: str) -> str:
    """The emoji of a file's name: "1f43c" is the panda; without variation selectors."""
    points = stem.replace("_", "-").split("-")
    return "".join(chr(int(point, 16)) for point in points).replace(VARIATION, "")


def plain(name: str) -> str:
    """A name of the package emoji as text: ":red_apple:" -> "red apple"."""
    return name.strip(":").replace("_", " ").replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")


def with_article(name: str) -> str:
    """A name as one asks for it: "red apple" -> "a red apple", "socks" -> "socks"."""
    if name.startswith(("a ", "the ", "flag of")) or (name.endswith("s") and not name.endswith("ss")):
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def names_of(text: str, cldr: dict[str, str]) -> tuple[str, str] | None:
    """The two names of an emoji, equal where it has one; None where it has none."""
    short = cldr.get(text, "").lower()
    flag = all("REGIONAL INDICATOR" in unicodedata.name(each, "") for each in text)
    if flag and short:
        short = f"flag of {short}"
    long = unicodedata.name(text, "").lower() if len(text) == 1 else ""
    return (long or short, short or long) if long or short else None


def captions_of(names: tuple[str, str]) -> tuple[str, str]:
    """Two captions that differ: the first name with its article, the second without."""
    first, second = with_article(names[0]), names[1]
    return first, second if second != first else f"the {second}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--animated", action="store_true")
    options = parser.parse_args()
    import emoji

    cldr = {text.replace(VARIATION, ""): plain(data["en"]) for text, data in emoji.EMOJI_DATA.items()}
    options.folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, tuple[Path, tuple[str, str]]] = {}
    for package in ANIMATED if options.animated else STILLS:
        print(f"fetching {package}", flush=True)
        with tempfile.TemporaryDirectory() as download:
            subprocess.run(["npm", "pack", "--silent", package], cwd=download, check=True)
            with tarfile.open(next(Path(download).glob("*.tgz"))) as archive:
                archive.extractall(download, filter="data")
            for path in sorted(Path(download, "package", "assets").glob("*.webp")):
                text = characters(path.stem)
                names = names_of(text, cldr)
                if not names or text in found or any(tone in text for tone in SKIN_TONES):
                    continue
                if names[0] in HELD_OUT:
                    continue
                with Image.open(path) as picture:
                    if options.animated and getattr(picture, "n_frames", 1) == 1:
                        continue
                found[text] = Path(shutil.copy(path, options.folder)), names
    with (options.folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file_name", "text"])
        for path, names in found.values():
            rows.writerows((path.name, caption) for caption in captions_of(names))
    print(f"{options.folder}: {len(found)} pictures; held out: {', '.join(HELD_OUT)}")


if __name__ == "__main__":
    main()
