"""Completion of the three commands: values that exist, in three shells, without torch."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import dream3d.cli
import dreamlift.cli
import video.cli
from core.command_line.completion import choices_of
from core.errors import UserError
from dream3d.options import ObjectOptions
from dream3d.presets import load_named_preset
from video.options import ClipOptions

ROOT = Path(__file__).parents[3]
MAINS = {"gen-video": video.cli.main, "dream3d": dream3d.cli.main, "dreamlift": dreamlift.cli.main}
Complete = Callable[..., list[str]]


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Complete:
    """What a shell is offered for the last word of a line."""

    def complete(line: str, shell: str = "bash") -> list[str]:
        words = line.split(" ")
        monkeypatch.setenv(f"_{words[0].replace('-', '_').upper()}_COMPLETE", f"complete_{shell}")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
        monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
        monkeypatch.setattr(sys, "argv", words[:1])
        with pytest.raises(SystemExit) as stop:
            MAINS[words[0]]()
        assert stop.value.code == 0
        return capsys.readouterr().out.split()

    return complete


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("gen-video fox --sampler dp", ["dpm-solver++"]),
        ("gen-video fox --extension ", ["guidance", "replacement"]),
        ("gen-video fox --tier ", ["exact", "fast", "draft"]),
        ("gen-video fox --preset st", ["standard"]),
        ("gen-video fox --model e", ["emoji"]),
        ("gen-video fox --model Lig", ["Lightricks/LTX-Video"]),
        ("gen-video fox --device c", ["cpu", "cuda"]),
        ("gen-video fox --js", ["--json"]),
        ("dream3d fox --loss c", ["csd"]),
        ("dream3d fox --tier f", ["fast"]),
        ("dreamlift image fox --tier e", ["exact"]),
        ("dream3d fox --preset ch", ["checkpoint"]),
        ("dream3d fox --dtype b", ["bfloat16"]),
        ("dream3d fox --model sdx", ["sdxl"]),
        ("dreamlift ima", ["image"]),
        ("dreamlift image fox --sampler eul", ["euler"]),
        ("dreamlift train super", ["super-resolution"]),
    ],
)
def test_words_are_completed(complete: Complete, line: str, offered: list[str]) -> None:
    assert complete(line) == offered


def test_zsh_and_fish_are_offered_the_same(complete: Complete) -> None:
    assert '"guidance"' in " ".join(complete("gen-video fox --extension gui", "zsh"))
    assert complete("gen-video fox --extension gui", "fish") == ["guidance"]


def test_every_value_that_is_completed_is_accepted_and_no_other() -> None:
    clip, thing = video.cli._preset("standard"), load_named_preset("standard")
    for options in (clip, thing):
        choices = choices_of(type(options))
        assert len(choices) > 3
        for name, values in choices.items():
            for value in values():
                assert getattr(options.with_changes(**{name: value}), name) == value
            with pytest.raises(UserError):
                options.with_changes(**{name: "nonesuch"})
    assert "sampler" in choices_of(ClipOptions) and "prompt" not in choices_of(ObjectOptions)


@pytest.mark.parametrize("name", MAINS)
def test_nothing_heavy_is_imported_to_complete(
    command: Callable[..., "subprocess.CompletedProcess[str]"], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"_{name.replace('-', '_').upper()}_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"{name} --show")
    monkeypatch.setenv("COMP_CWORD", "1")
    result = command(name, without=("torch", "transformers", "diffusers", "numpy", "PIL"))
    assert (result.returncode, result.stdout.split(), result.stderr) == (0, ["--show-completion"], "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_with_the_script_that_is_shown(tmp_path: Path) -> None:
    program = tmp_path / "gen-video"
    program.write_text(f"#!{sys.executable}\nimport video.cli\nvideo.cli.main()\n")
    program.chmod(0o755)
    script = (
        "source <(_GEN_VIDEO_COMPLETE=source_bash gen-video); COMP_WORDS=(gen-video fox --model emo); "
        'COMP_CWORD=3; _gen_video_completion gen-video; echo "${COMPREPLY[@]}"; complete -p gen-video'
    )
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "--norc", "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == "emoji" and "-F _gen_video_completion" in done.stdout, done.stderr
