"""The endpoints for gradio_client, through it."""

from collections.abc import Callable

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
