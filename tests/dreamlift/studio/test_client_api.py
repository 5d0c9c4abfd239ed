"""The endpoints for gradio_client, through it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from dreamlift.studio.guard import Login
from dreamlift.studio.studio import Studio
from tests.dreamlift.studio.conftest import Steps, serve


def test_gradio_client_submits_waits_and_cancels(studio: Studio, fake_works: Callable[..., Steps]) -> None:
    first = fake_works(steps=2)
    with serve(studio, Login("ada", "lovelace"), local=False) as port:
        client = Client(
            f"http://127.0.0.1:{port}", headers={"Authorization": "Basic YWRhOmxvdmVsYWNl"}, verbose=False
        )
        job = client.predict({"prompt": "a fox"}, api_name="/submit")
        assert job["prompt"] == "a fox"
        made = client.predict({"prompt": "a panda"}, api_name="/make")
        assert (made["state"], made["files"]) == ("done", ["a panda.mp4"])
        assert client.predict(job["id"], api_name="/status")["state"] == "done"
        assert client.predict(job["id"], api_name="/cancel")["state"] == "done"  # which it was before
        with pytest.raises(AppError, match="There is no such job"):
            client.predict("0", api_name="/status")
    assert first.made == ["a fox", "a panda"]
    assert sorted(client.view_api(return_format="dict")["named_endpoints"]) == [
        "/cancel",
        "/make",
        "/status",
        "/submit",
    ]


def test_the_programs_of_the_docs_run(
    studio: Studio, fake_works: Callable[..., Steps], capsys: pytest.CaptureFixture[str]
) -> None:
    fake_works(steps=2)
    page = (Path(__file__).parents[3] / "docs" / "studio.md").read_text(encoding="utf-8")
    over_http, by_client = re.findall(r"```python\n(.*?)```", page, re.S)
    with serve(studio) as port:
        names: dict[str, Any] = {}
        for program in (over_http, by_client):
            exec(program.replace("7860", str(port)), names)
    assert names["clip"] == b"a panda on a swing"
    shown = capsys.readouterr().out
    assert "event: done" in shown
    assert "['a panda on a swing.mp4']" in shown
