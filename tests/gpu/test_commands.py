"""Both commands on a GPU, at their default settings, with their time."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dream3d.cli import main as dream3d
from video.cli import main as gen_video

CASES = [
    (gen_video, ["gen-video", "a panda on a swing"], "a-panda-on-a-swing.gen-video.json", 60),
    (
        dream3d,
        ["dream3d", "a fox holding a controller", "--preset", "draft"],
        "a-fox-holding-a-controller.dream3d.json",
        180,
    ),
]


@pytest.mark.parametrize(("main", "arguments", "record", "seconds"), CASES)
def test_a_command_uses_the_gpu_by_itself(
    main: Callable[[], None],
    arguments: list[str],
    record: str,
    seconds: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`--device auto`. The limit is generous: a GPU that is slower is not used."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    written = json.loads((tmp_path / record).read_text())
    assert written["device"].startswith(torch.cuda.get_device_name())
    assert sum(written["seconds"][name] for name in written["seconds"] if name != "since_start") < seconds
