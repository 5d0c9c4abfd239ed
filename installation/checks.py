"""What runs in an installed environment: not as root, without a home, in the locale C."""

import dataclasses
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

NOBODY = 65534
PATIENCE = 3600  # seconds that a command may take
NO_HOME = "/dev/null/home"  # cannot be created, by root neither
CLIP = ("a panda on a swing", "--tier", "draft", "--frames", "4")
SMALL_OBJECT = """
iterations: 2
views: 2
learning_rate: 0.2
noise: [[0.98, 0.98], [0.2, 0.6]]
target_buffer: {size: 2, refresh_every: 2, views_per_step: 2, pixel_stride: 2}
texture: 64
faces: 600
stages:
  - {share: 1.0, size: 32, samples: 24, grid: 24, guidance: 2.0, steps: 2}
"""
FRONT_DOOR = """
from dreamlift import TextToVideo
clip = TextToVideo.from_pretrained("bundled")("a fox waving", seed=1, num_frames=4, num_inference_steps=2)
clip.save("front-door.mp4")
assert clip.frames.shape == (4, 256, 256, 3)
"""
VERSIONS = """
import importlib.metadata, json, re
required = importlib.metadata.requires("dreamlift")
names = [re.match(r"[\\w.-]+", line)[0] for line in required if "extra ==" not in line or "'studio'" in line]
print(json.dumps({name.replace("_", "-"): importlib.metadata.version(name) for name in names}))
"""


class CheckFailedError(Exception):
    """A check has failed; the message has what was printed."""


@dataclasses.dataclass(frozen=True)
class Installed:
    """An environment, the empty folder in which its commands run, and one where Python keeps bytecode.

    The user of the commands must be able to write into both folders, and cannot into the environment.
    """

    environment: Path
    folder: Path
    bytecode: Path

    def start(self, command: str, *arguments: str) -> "subprocess.Popen[str]":
        """Starts a command of the environment, as the user `nobody` where this process is root's."""
        root = os.getuid() == 0
        variables = {name: value for name, value in os.environ.items() if name.startswith("OPENBLAS_")}
        variables |= {"PATH": f"{self.environment}/bin:/usr/bin:/bin", "HOME": NO_HOME, "LC_ALL": "C"}
        variables["PYTHONPYCACHEPREFIX"] = str(self.bytecode)
        return subprocess.Popen(
            [self.environment / "bin" / command, *arguments],
            cwd=self.folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            user=NOBODY if root else None,
            group=NOBODY if root else None,
            extra_groups=[] if root else None,
        )

    def run(self, command: str, *arguments: str) -> str:
        """What a command prints. Raises CheckFailedError where it fails or warns."""
        process = self.start(command, *arguments)
        try:
            printed, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise CheckFailedError(f"{command} {arguments}: not done after {PATIENCE} s") from error
        if process.returncode or "Traceback" in printed or "Warning" in printed:
            raise CheckFailedError(
                f"{command} {' '.join(arguments)}: exit code {process.returncode}\n{printed}"
            )
        return printed

    def expect(self, *names: str) -> None:
        """Raises CheckFailedError unless these files are there and hold something."""
        if missing := [name for name in names if not (self.folder / name).is_file()]:
            raise CheckFailedError(f"not written: {missing}; there is {sorted(os.listdir(self.folder))}")


def commands_help(installed: Installed) -> None:
    """`--help` of the three commands."""
    for command in ("gen-video", "dream3d", "dreamlift"):
        if "Usage" not in installed.run(command, "--help"):
            raise CheckFailedError(f"{command} --help prints no usage")


def doctor(installed: Installed) -> None:
    """`dreamlift doctor`, with all weights intact."""
    if "not usable" in (printed := installed.run("dreamlift", "doctor")):
        raise CheckFailedError(printed)


def clip(installed: Installed) -> None:
    """A clip of four frames."""
    installed.run("gen-video", *CLIP, "--out", "clip.mp4")
    installed.expect("clip.mp4", "clip.sheet.png", "clip.gen-video.json")


def draft_object(installed: Installed) -> None:
    """A small object of two iterations, by a preset of one's own."""
    (installed.folder / "small.yaml").write_text(SMALL_OBJECT, encoding="utf-8")
    installed.run("dream3d", "a fox", "--preset", "small.yaml", "--out", "fox.obj")
    installed.expect("fox.obj", "fox.mtl", "fox.texture.png", "fox.glb", "fox.html")


def front_door(installed: Installed) -> None:
    """A clip by the Python API."""
    installed.run("python", "-c", FRONT_DOOR)
    installed.expect("front-door.mp4")


def studio(installed: Installed) -> None:
    """`dreamlift studio` answers requests for its page and its jobs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    process = installed.start("dreamlift", "studio", "--port", str(port))
    try:
        for path in ("/", "/api/jobs"):
            request(f"http://127.0.0.1:{port}{path}", process)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def request(address: str, process: "subprocess.Popen[str]") -> bytes:
    """What a server answers as soon as it listens. Raises CheckFailedError where it does not."""
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < PATIENCE:
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise CheckFailedError(f"{address}: status {error.code}") from error
        except OSError:
            time.sleep(1)
    printed = "" if process.poll() is None else process.communicate()[0]
    raise CheckFailedError(f"{address}: no answer\n{printed}")


CHECKS: dict[str, Callable[[Installed], None]] = {
    "help": commands_help,
    "doctor": doctor,
    "clip": clip,
    "object": draft_object,
    "front door": front_door,
    "studio": studio,
}


def versions(installed: Installed) -> dict[str, str]:
    """Versions of the packages that dreamlift and its studio require directly, by their names."""
    return json.loads(installed.run("python", "-c", VERSIONS))
