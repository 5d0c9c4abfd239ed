"""Values that no option can take, by its kind, and some that look strange and are legal."""

from collections.abc import Callable

from benchmarks.faults.commands import Option

NO_NUMBERS = [
    "nan",
    "-nan",
    "inf",
    "-inf",
    "1e400",
    "-1e400",
    "",
    " ",
    "abc",
    "1,5",
    "0x1p3",
    "--",
    "9" * 5000,
]
NUMBERS = ["1e300", "-1e300", "1e30", "-1e30"]
WHOLE = [str(10**30), str(-(10**30)), str(2**63), str(-(2**63)), "9" * 4000, "1.5", "1e3", "-99999999999"]
LONG = ["x" * 256, "ü" * 128, "x" * 5000, "/".join(["x" * 200] * 21)]
NO_PATHS = [
    "",
    "a\nb",
    "\x1b[2Ja",
    "a\tb",
    "a\udcffb",
    "~nobody-at-all",
    "~nobody-at-all/x",
    "/dev/zero",
    "pipe",
]
BELOW_A_FILE = ["plain/x", "plain/x/y.png", "loop", "loop/x"]
MISSING = ["missing", "missing/x", "missing.png", "/nowhere/at/all", "./x.yaml"]
NO_TEXTS = ["\x07", "a\x1b[2Jb", "a\udcffb", "\udc80", "a\x7fb", "x" * 20_000, "a\x85b"]
NO_NAMES = ["no-such-thing", "[/b]", "a b c", "ddim ", "DDIM,", "../..", "🦊", "'", "-1"]

FREE = {"prompt", "negative", "before", "after", "sample", "auth", "to", "from"}  # any text says something
OUTPUTS = {"out", "run", "sheet", "cache"}  # which need not be there
INPUT_FILES = {"image", "interpolate", "video", "prompts", "script", "picture", "first", "second"}
FREE_NAMES = {"host"}


def _numbers(option: Option) -> list[str]:
    return NO_NUMBERS + NUMBERS


def _whole(option: Option) -> list[str]:
    return NO_NUMBERS + WHOLE


def _paths(option: Option) -> list[str]:
    return NO_PATHS + LONG + BELOW_A_FILE + ([] if option.name in OUTPUTS else MISSING)


def _names(option: Option) -> list[str]:
    if option.name in OUTPUTS:
        return [*NO_PATHS, *LONG, *BELOW_A_FILE, "aux.png", "fox.exe", "fox", "[/b]"]
    return ["", *NO_NAMES, *NO_TEXTS, *LONG]


def _choices(option: Option) -> list[str]:
    return ["", *NO_NAMES, *NO_TEXTS]


BAD: dict[str, Callable[[Option], list[str]]] = {
    "float": _numbers,
    "integer": _whole,
    "path": _paths,
    "text": _names,
    "choice": _choices,
}

Files = dict[str, bytes]
LEGAL_CALLS: list[tuple[str, list[str], Files]] = [
    *(
        (command, ["[/b] :fox: \\[x] 狐 🦊 \"'", "--no-preview"], Files())
        for command in ("gen-video", "dream3d")
    ),
    ("gen-video", ["a fox\nwaving\ta flag", "--out", "take[b].mp4"], Files()),
    ("gen-video", ["a fox", "--out", "12:30.mp4"], Files()),
    ("gen-video", ["a fox", "--out=-y/", "--seed", str(2**62)], Files()),
    ("gen-video", ["a fox", "--negative", "", "--guidance", "2.5"], Files()),
    ("gen-video", ["con"], Files()),
    ("gen-video", ["a" * 9000], Files()),
    ("gen-video", ["--prompts", "p.txt"], {"p.txt": b"\xef\xbb\xbfa fox\r\n\r\n[/b]\r\n"}),
    ("gen-video", ["--prompts", "p.csv"], {"p.csv": b'prompt,seed,out\n"a, fox",3,b[c].gif\n'}),
    ("gen-video", ["--prompts", "p.jsonl"], {"p.jsonl": b'{"text": "a \\u72d0", "steps": 3}\n'}),
    ("gen-video", ["--script", "s.txt"], {"s.txt": b"0: a fox standing\n1: a fox waving\n"}),
    (
        "gen-video",
        ["a fox", "--preset", "p.yaml"],
        {"p.yaml": b"# a comment\r\nsteps: 4\r\nguidance: 2\r\nframes: 8\r\nfps: 8\r\nscale: 1\r\n"},
    ),
    ("gen-video", ["a fox", "--image", "picture.png", "--fps", "0.01", "--out", "a.gif"], Files()),
    ("dream3d", ["a fox", "--out", "./~a b.obj", "--iterations", "1"], Files()),
    ("dreamlift image", ["a fox", "--azimuth", "-360"], Files()),
    ("dreamlift toybox", ["--out", "~/toys", "--images", "1"], Files()),
    *(
        (command, list[str](), Files())
        for command in ("dreamlift data", "dreamlift doctor", "dreamlift train image")
    ),
    *((f"dreamlift evaluate {kind}", list[str](), Files()) for kind in ("image", "video", "object")),
    ("dreamlift train eyes", list[str](), Files()),
]
