"""--list-models: names that --model takes, and whether they are here."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import dreamlift.cli
import video.cli
from core.bundled import bundled_model
from core.command_line.known_models import CACHED, ONLINE, SHIPS, known_models
from core.pretrained.hub import is_hub_name


def test_every_model_is_one_that_ships_or_a_name_of_the_hub() -> None:
    models = known_models("gen-video")
    assert len({model.name for model in models}) == len(models) > 10
    for model in models:
        assert (model.state == SHIPS) == (bundled_model(model.name) is not None)
        assert model.state == SHIPS or is_hub_name(model.name)
    named = {model.name for model in models}
    assert {"bundled", "emoji", "sdxl", "Lightricks/LTX-Video"} <= named
    assert {model.name for model in known_models()} < named


@pytest.mark.parametrize(
    ("main", "words"), [(video.cli.main, ["gen-video"]), (dreamlift.cli.main, ["dreamlift", "image"])]
)
def test_models_in_the_cache_are_listed_as_such(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    main: Callable[[], None],
    words: list[str],
) -> None:
    for name in ("stabilityai/sd-turbo", "somebody/her--model"):
        folder = tmp_path / f"models--{name.replace('/', '--')}" / "snapshots" / "0a1b"
        folder.mkdir(parents=True)
        (folder / "model_index.json").write_text("{}")
    (tmp_path / "models--somebody--tokenizer" / "snapshots" / "0a1b").mkdir(parents=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [*words, "--list-models"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert CACHED in lines["sd-turbo"] and "stabilityai/sd-turbo" in lines["sd-turbo"]
    assert CACHED in lines["somebody/her--model"] and "somebody/tokenizer" not in lines
    assert ONLINE in lines["sdxl"] and SHIPS in lines["bundled"]
    assert ("Lightricks/LTX-Video" in lines) == (words == ["gen-video"])
