"""`gen-video --replay` of a checkpoint's clip: the same bytes, or what differs."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.pretrained.conftest import GenVideo


def test_a_replay_gives_the_same_bytes_or_says_what_differs(
    video_folder: Callable[[str], Path], tmp_path: Path, gen_video: GenVideo
) -> None:
    size = ["--width", 32, "--height", 32, "--frames", 3, "--steps", 2, "--device", "cpu", "--no-tiling"]
    made = gen_video("a fox", "--model", video_folder("modelscope"), *size, "--force", "--out", "fox.gif")
    assert made[0] == 0, made[1]
    record = tmp_path / "fox.gen-video.json"
    code, printed = gen_video("--replay", record.name, "--device", "cpu")
    assert code == 0 and f"fox-replay.gif: the same bytes as the files of {record.name}." in printed
    assert (tmp_path / "fox-replay.gif").read_bytes() == (tmp_path / "fox.gif").read_bytes()

    values = json.loads(record.read_text())
    values["versions"]["torch"] = "0.1"
    values["files"] = dict.fromkeys(values["files"], "0" * 64)
    record.write_text(json.dumps(values))
    code, printed = gen_video("--replay", record.name, "--out", "again.gif", "--device", "cpu")
    assert code == 1 and "again.gif: other bytes than the files of" in printed and "torch 0.1 then" in printed

    for words, sentence in (
        (["a fox", "--replay", record.name], "takes everything from the record: leave out PROMPT"),
        (["--replay", record.name, "--steps", 3], "takes everything from the record: leave out --steps"),
        (["--replay", "fox.gif"], "fox.gif is no record of gen-video: give the .gen-video.json"),
        (["--replay", "missing.json"], "missing.json is no record of gen-video"),
    ):
        code, printed = gen_video(*words)
        assert code == 2 and sentence in printed
