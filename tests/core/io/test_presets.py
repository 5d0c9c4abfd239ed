"""Presets: values that are read, and errors that name the file and the key."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field

from core.errors import UserError
from core.io.presets import CONFIGS, load_preset
from core.training.tasks.images import ImagePreset


class Wheel(BaseModel):
    model_config = ConfigDict(extra="forbid")

    spokes: int = Field(default=32, ge=3)


class Bicycle(BaseModel):
    model_config = ConfigDict(extra="forbid")

    color: str = "red"
    wheel: Wheel = Wheel()


def write(folder: Path, text: str) -> Path:
    path = folder / "bicycle.yaml"
    path.write_text(text)
    return path


def test_nested_values_are_read(tmp_path: Path) -> None:
    bicycle = load_preset(write(tmp_path, "wheel: {spokes: 3}"), Bicycle)
    assert bicycle == Bicycle(color="red", wheel=Wheel(spokes=3))


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load_preset(write(tmp_path, "# nothing\n"), Bicycle) == Bicycle()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("wheel: {spokes: 2}", r"bicycle.yaml: wheel.spokes: input should be greater than or equal to 3\.$"),
        ("wheel: {hubs: 2}", r"bicycle.yaml: wheel.hubs: extra inputs are not permitted\.$"),
        ("color: [1]", r"bicycle.yaml: color: input should be a valid string\.$"),
        ("- 1", r"bicycle.yaml: the settings: "),
        (
            "wheel: {spokes",
            r"The preset .*bicycle.yaml is not valid YAML in line 1 \(wheel: {spokes\): expected",
        ),
        ("color: red\nwheel: 2024-13-45", r"YAML in line 2 \(wheel: 2024-13-45\): this is no timestamp\.$"),
        (
            "color: " + "9" * 5000,
            r"bicycle.yaml is not valid YAML in line 1 \(color: 9+\.\.\.9+\): this is no int",
        ),
        (
            "color: 0x" + "f" * 5000,
            r"bicycle.yaml: color has a number of 20000 bits: give one below 2\^63\.$",
        ),
        (
            "color: " + "[" * 30000,
            r"the preset .*bicycle.yaml: its lists or mappings are nested too deeply\.$",
        ),
        ("color: " + "x" * 70000, r"the preset .*bicycle.yaml: it is larger than 64 KiB\.$"),
        (
            "a: &a [1]\nb: [*a, *a]",
            r"YAML in line 2 \(b: \[\*a, \*a\]\): aliases \(\*name\) are not supported\.$",
        ),
        ("color: red\ncolor: blue", r"YAML in line 2 \(color: blue\): the key color occurs twice\.$"),
        ("wheel: !!timestamp now", r"YAML in line 1 \(wheel: !!timestamp now\): this is no timestamp"),
        ("wheel: !!bool maybe", r"this is no bool"),
        ("wheel: {spokes: .inf}", r"bicycle.yaml: wheel: spokes cannot be inf: give a finite number\.$"),
        ('color: "\\uD800"', r"bicycle.yaml: color has the character U\+D800, which is no text"),
        ('color: "\\e[2J"', r"bicycle.yaml: color has the character U\+001B, which is no text"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        load_preset(write(tmp_path, text), Bicycle)
    assert "\n" not in str(error.value)


def test_unreadable_files_raise_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot read the preset .*none.yaml: No such file"):
        load_preset(tmp_path / "none.yaml", Bicycle)
    (tmp_path / "bicycle.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        load_preset(tmp_path / "bicycle.yaml", Bicycle)


def test_an_unknown_name_raises_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="no preset 'tricycle'; there are .*bundled-image"):
        load_preset("tricycle", Bicycle)


def test_the_bundled_image_preset_uses_the_values_of_its_file() -> None:
    written = yaml.safe_load((CONFIGS / "bundled-image.yaml").read_text())
    preset = load_preset("bundled-image", ImagePreset).model_dump(mode="json")
    for section in ("model", "dropout", "training"):
        assert preset[section].keys() >= written[section].keys()
    assert preset["training"]["learning_rate"] == written["training"]["learning_rate"]
    assert preset["model"]["network"]["widths"] == written["model"]["network"]["widths"]


def test_wrong_schedules_and_networks_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="model.noise_schedule: unknown noise schedule 'cosin'"):
        load_preset(write(tmp_path, "model: {noise_schedule: {name: cosin}}"), ImagePreset)
    with pytest.raises(UserError, match="model.network: blocks must have one entry per level"):
        load_preset(write(tmp_path, "model: {network: {widths: [32]}}"), ImagePreset)


@pytest.mark.parametrize(("drop", "unconditional"), [("0", "true"), ("0.1", "false")])
def test_unconditional_must_agree_with_the_text_dropout(
    tmp_path: Path, drop: str, unconditional: str
) -> None:
    text = f"dropout: {{text: {drop}}}\nmodel: {{unconditional: {unconditional}}}\n"
    with pytest.raises(UserError, match=rf"dropout.text is {drop}, so model.unconditional must be"):
        load_preset(write(tmp_path, text), ImagePreset)
    preset = load_preset(write(tmp_path, "dropout: {text: 0}\nmodel: {unconditional: false}"), ImagePreset)
    assert not preset.model.unconditional


def test_torch_is_not_imported() -> None:
    code = "import sys, core.io.presets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0
