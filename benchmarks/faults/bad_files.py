"""Files that commands are given: a few good ones, and bad presets, prompts and pictures."""

import json
import random
import struct
import zlib
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import yaml
from PIL import Image

from benchmarks.faults.commands import Option
from core.io.presets import CONFIGS
from core.io.weights import save_folder
from core.toybox import dataset
from core.toybox.dataset import DatasetPlan, write_dataset

TOYS = 16  # pictures of a shard
PRESETS = {
    "gen-video": "gen-video/standard",
    "dream3d": "dream3d/standard",
    "dreamlift evaluate object": "dream3d/standard",
    "dreamlift train image": "bundled-image",
    "dreamlift train video": "bundled-video",
    "dreamlift train autoencoder": "autoencoder-64",
    "dreamlift train super-resolution": "super-resolution",
    "dreamlift train interpolation": "interpolation",
    "dreamlift train features": "features-64",
    "dreamlift train contrastive": "contrastive",
    "dreamlift train prior": "prior",
    "dreamlift train distill": "distilled",
}
NO_YAML = [
    b"steps: 2024-13-45\n",
    b"steps: " + b"9" * 5000,
    b"[" * 5000,
    b"{a: " * 3000,
    b"\xff\xfe\x00",
    b"a: [1\n",
    b"- 1\n- 2\n",
    b"just words\n",
    b"42\n",
    b"a: &a [1, 2]\nb: *a\n",
    b"steps: 1\nsteps: 2\n",
    b"\tsteps: 4\n",
    b"steps: !!python/object/apply:os.system ['true']\n",
    b"steps: !!timestamp x\n",
    b"steps: !!int ''\n",
    b"steps: !!binary '*'\n",
    b"? [1]\n: 2\n",
    b"1: 2\n",
    b"null: 3\n",
    b"steps: 4\x07\n",
    b"x" * 70000,
    b"steps: 0x" + b"f" * 3000,
    b"a: b: c\n",
    b"---\na: 1\n---\nb: 2\n",
    b"no_such_key: 1\n",
    b'steps: "\\ud800"\n',
    b"<<: {steps: 4}\n<<: 3\n",
    b"a: !!float ''\n",
    b"%YAML 9\n--- 1\n",
]
NO_VALUES: list[Any] = [
    float("nan"),
    float("inf"),
    -float("inf"),
    1e300,
    -1e300,
    10**30,
    -(10**30),
    {"a": 1},
    "x\ud800",
]
BAD_TYPES: list[Any] = ["text", {"a": 1}, [[1]], "2024-01-01"]
JSON_ROWS = [
    '{"prompt": "a", "seed": "x"}',
    '{"prompt": "a", "seed": -1}',
    '{"prompt": "a", "seed": 1.5}',
    "[1]",
    "1",
    '"a"',
    '{"prompt": "a", "seed": 18446744073709551616}',
    '{"prompt": "\\ud800"}',
    '{"prompt": "a", "out": "../x.mp4"}',
    '{"prompt": "a", "out": "a/b"}',
    '{"prompt": "a", "out": ""}x',
    "{",
    "[" * 20000,
    '{"prompt": ""}',
    "{}",
    '{"prompt": "a", "no_such": 1}',
    '{"prompt": "a", "guidance": NaN}',
    '{"prompt": "a", "guidance": Infinity}',
    '{"prompt": "a", "seed": ' + "9" * 5000 + "}",
    '{"prompt": "a", "out": "a.exe"}',
    '{"prompt": "a\\u0007"}',
    '{"prompt": "a", "guidance": "many"}',
    '{"prompt": "a", "guidance": [1]}',
    '{"prompt": "a", "model": "x"}',
    '{"prompt": "a", "out": "' + "x" * 300 + '"}',
    '{"prompt": "a", "out": "nul"}',
    '{"seed": 1}',
    "null",
    '{"prompt": "a", "out": "a\\nb.mp4"}',
    '{"prompt": "' + "a" * 20000 + '"}',
    '{"prompt": "a", "seed": true}',
]
CSV_TEXTS = [
    "",
    "prompt\n",
    "no,prompt\n1,2\n",
    "prompt,seed\na,x\n",
    "prompt\na,b,c\n",
    'prompt\n"a\n',
    "prompt,seed\na,-1\n",
    "prompt,out\na,../b\n",
    "prompt,guidance\na,nan\n",
    "prompt,guidance\na,-5\n",
    "prompt,x\na,1\n",
    "prompt\n\x07\n",
    "prompt,seed\na," + "9" * 5000 + "\n",
    "prompt\n" + "a" * 200000 + "\n",
    "prompt,out\na,aux.mp4\n",
]
NO_LINES = [
    b"",
    b"\n \n\t\n",
    b"\xff\xfea\x00",
    b"caf\xe9\n",
    b"a\x00b\n",
    b"a\x1b[2J\n",
    b"x" * 20000 + b"\n",
]
NO_SCRIPTS = [
    b"a fox\n",
    b"1: a fox\n",
    b"0: a\n0: b\n",
    b"0: a\n5: b\n4: c\n",
    b"0:\n",
    b"0: a\n" + b"9" * 400 + b": b\n",
    b"0: a\n1e3: b\n",
]


def write_given(folder: Path) -> Path:
    """Good files that cases may name.

    pictures/, picture.png, plain (a file), loop (a link to itself), toys/ (shards), a-run/ (its preset) and
    a-model/ (a folder of a model; whoever reads the weights has begun its work).
    """
    (folder / "pictures").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(4):
        pixels = rng.integers(256, size=(16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"a red rug {'abcd'[number]}.png")
    Image.new("RGB", (16, 16), "red").save(folder / "picture.png")
    (folder / "plain").write_text("a file\n", encoding="utf-8")
    (folder / "loop").symlink_to("loop")
    save_folder(folder / "a-model", {}, {})
    (folder / "a-run").mkdir()
    preset = yaml.safe_load((CONFIGS / "bundled-image.yaml").read_text(encoding="utf-8"))
    (folder / "a-run" / "preset.json").write_text(
        json.dumps({"kind": "image", "preset": preset}), encoding="utf-8"
    )
    with patch.object(dataset, "SHARD", TOYS):
        plan = DatasetPlan(folder / "toys", TOYS, 1, textureless=TOYS, objects=TOYS)
        for _ in write_dataset(plan):
            pass
    return folder


def bad_preset(rng: random.Random, command: str) -> bytes:
    """Text that is no YAML, or a preset of a command with one value that its key cannot take."""
    if rng.random() < 0.4:
        return rng.choice(NO_YAML)
    name = PRESETS.get(command, "bundled-image")
    values = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    numbers = [path for path, value in _leaves(values) if isinstance(value, (int, float))]
    path = rng.choice(numbers)
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    boolean = isinstance(inner[path[-1]], bool)
    inner[path[-1]] = rng.choice(BAD_TYPES if boolean else NO_VALUES + BAD_TYPES)
    if rng.random() < 0.2:
        inner = values
        values["no_such_key"] = 1
    return yaml.safe_dump(values).encode()


def _leaves(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """Paths and values of all that is neither a list nor a mapping."""
    if isinstance(values, (dict, list)):
        pairs = values.items() if isinstance(values, dict) else enumerate(values)
        return [leaf for key, value in pairs for leaf in _leaves(value, (*path, key))]
    return [(path, values)]


def bad_prompts(rng: random.Random, option: Option) -> tuple[str, bytes]:
    """Name and text of a file of prompts, or of a script, with something that no command can draw."""
    if option.name == "script":
        return "bad.txt", rng.choice(NO_LINES + NO_SCRIPTS)
    ending = rng.choice(["txt", "csv", "jsonl", "jsonl"])
    if ending == "txt":
        return "bad.txt", rng.choice(NO_LINES)
    if ending == "csv":
        return "bad.csv", rng.choice([text.encode() for text in CSV_TEXTS] + NO_LINES[:4])
    good = json.dumps({"prompt": "a fox"})
    return "bad.jsonl", "\n".join([good] * rng.randint(0, 2) + [rng.choice(JSON_ROWS)]).encode()


def bad_file(rng: random.Random) -> tuple[str, bytes]:
    """Name and content of a file that is no picture, clip, prompts or script."""
    noise = rng.randbytes(rng.choice([1, 100, 10_000])).replace(b"\n", b"\xff") + b"\xff\xfe"
    size = rng.choice([(2**31 - 1, 2**31 - 1), (100_000, 100_000), (0, 0)])
    content = rng.choice(
        [
            b"",
            noise,
            _png(*size),
            b"GIF89a\xff\xff\xff\xff\x00",
            b"\x89PNG\r\n\x1a\n",
            b"RIFF\x00\xff",
            b"\xff\xd8\xff",
        ]
    )
    ending = rng.choice([".png", ".mp4", ".gif", ".txt", ".jsonl", ""])
    return f"bad{ending}", content


def _png(width: int, height: int) -> bytes:
    """The beginning of a PNG that promises these pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
        + b"\xff\xfe"
    )
