"""The HTTP API over a real server: jobs of several clients, events, files, uploads."""

import http.client
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import chain
from pathlib import Path

import httpx
import pytest
from PIL import Image
from starlette.testclient import TestClient

from core.batches import requirements
from core.errors import UserError
from dreamlift.studio.server import make_app
from dreamlift.studio.studio import Studio
from tests.dreamlift.studio.conftest import Steps, serve


def events_of(client: httpx.Client, job: str) -> list[dict[str, object]]:
    with client.stream("GET", f"/api/jobs/{job}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_twenty_requests_of_four_clients_with_two_cancelled_and_one_that_disconnects(
    studio: Studio, fake_works: Callable[..., Steps]
) -> None:
    first = fake_works(steps=2, pass_on=threading.Semaphore(0))
    with serve(studio) as port:
        base, submitted, lock = f"http://127.0.0.1:{port}", list[str](), threading.Lock()

        def one_client(number: int) -> list[str]:
            identifiers = []
            with httpx.Client(base_url=base) as client:
                for index in range(5):
                    with lock:  # so that the order is known
                        prompt = f"client {number}, clip {index}"
                        answer = client.post("/api/jobs", json={"prompt": prompt})
                        submitted.append(prompt)
                    assert answer.status_code == 202
                    identifiers.append(answer.json()["id"])
            return identifiers

        with ThreadPoolExecutor(4) as pool:
            of_clients = [*pool.map(one_client, range(4))]
        with httpx.Client(base_url=base, timeout=30) as client:
            left_early = of_clients[0][4]
            with client.stream("GET", f"/api/jobs/{left_early}/events") as response:
                next(response.iter_lines())  # one event, and the client is gone
            cancelled = [of_clients[1][3], of_clients[2][4]]
            for identifier in cancelled:
                assert client.post(f"/api/jobs/{identifier}/cancel").json()["state"] == "cancelled"
            first.pass_on.release(40)
            for identifier in chain(*of_clients):
                last = events_of(client, identifier)[-1]
                assert last["state"] == ("cancelled" if identifier in cancelled else "done")
            views = client.get("/api/jobs").json()
    assert [view["prompt"] for view in views] == submitted
    dropped = {view["prompt"] for view in views if view["id"] in cancelled}
    assert first.made == [prompt for prompt in submitted if prompt not in dropped]  # in order, each once
    assert {path.stem for path in studio.library.folder.glob("*.mp4")} == {*submitted} - dropped


def test_events_show_every_state_until_the_job_is_over(
    studio: Studio, fake_works: Callable[..., Steps]
) -> None:
    first = fake_works(steps=3, pass_on=threading.Semaphore(0))
    with serve(studio) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        job = client.post("/api/jobs", json={"prompt": "a fox"}).json()["id"]
        seen = list[dict[str, object]]()
        with client.stream("GET", f"/api/jobs/{job}/events") as response:
            for line in response.iter_lines():
                if line.startswith("data: "):
                    seen.append(json.loads(line.removeprefix("data: ")))
                    first.pass_on.release()
    assert seen[-1]["state"] == "done"
    assert seen[-1]["files"] == ["a fox.mp4"]
    versions = [int(str(view["version"])) for view in seen]
    assert versions == sorted(set(versions))  # nothing twice, nothing back


WAYS_OUT = [
    "../secret.mp4",
    "../../etc/passwd",
    "..%2fsecret.mp4",
    "%2e%2e/secret.mp4",
    "%2e%2e%2fsecret.mp4",
    "..%252fsecret.mp4",
    "%252e%252e%252fsecret.mp4",
    "..%5csecret.mp4",
    "..\\secret.mp4",
    "uploads/../../secret.mp4",
    "uploads/%2e%2e/%2e%2e/secret.mp4",
    "./../secret.mp4",
    "....//secret.mp4",
    "%c0%ae%c0%ae/secret.mp4",
    "..%00/secret.mp4",
    "clip.mp4%00.png",
    "{secret}",
    "/{secret}",
    "%2f{secret}",
    "file:%2f%2f{secret}",
    "C:%5csecret.mp4",
    "C:secret.mp4",
    "%5c%5chost%5cshare%5csecret.mp4",
    "link.mp4",
    "linked/secret.mp4",
    ".hidden.mp4",
    "bin/old.mp4",
    "deep/clip.mp4",
    "key.safetensors",
    "clip.mp4/",
    "clip.mp4::$DATA",
    "uploads",
    "",
    "CON.mp4",
    "a" * 300 + ".mp4",
    "~/secret.mp4",
    "http:%2f%2f127.0.0.1/secret.mp4",
]


def test_only_files_of_the_folder_are_served(studio: Studio) -> None:
    folder = studio.library.folder
    secret = folder.parent / "secret.mp4"
    for path in (secret, folder / ".hidden.mp4", folder / "key.safetensors"):
        path.write_bytes(b"secret")
    for name in ("bin/old.mp4", "deep/clip.mp4"):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(b"secret")
    (folder / "link.mp4").symlink_to(secret)
    (folder / "linked").symlink_to(folder.parent)
    (folder / "clip.mp4").write_bytes(b"a clip")
    with serve(studio) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port)

        def get(path: str) -> tuple[int, bytes]:  # as it stands: clients tidy addresses up
            connection.putrequest("GET", path, skip_host=False)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.read()

        assert get("/files/clip.mp4") == (200, b"a clip")
        for way in WAYS_OUT:
            way = way.format(secret=str(secret))
            status, body = get(f"/files/{way}")
            assert (status, b"secret" in body.replace(b"secret.mp4", b"")) == (404, False), way
        for way in (f"file={secret}", f"file/{secret}", "proxy=http://127.0.0.1/", f"file=http://{secret}"):
            status, body = get(f"/gradio_api/{way}")
            assert (status in (403, 404), b"secret" in body.replace(b"secret.mp4", b"")) == (True, False), way
    assert len(WAYS_OUT) > 20


def test_uploads_are_checked_and_can_be_named_in_submissions(studio: Studio) -> None:
    picture = BytesIO()
    Image.new("RGB", (8, 8), "red").save(picture, "PNG")
    with serve(studio) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:

        def upload(name: str, data: bytes) -> httpx.Response:
            return client.post("/api/uploads", params={"name": name}, content=data)

        name = upload("../red.PNG", picture.getvalue()).json()["name"]
        assert Image.open(studio.library.folder / name).getpixel((0, 0)) == (255, 0, 0)
        assert client.get(f"/files/{name}").content == picture.getvalue()
        in_forms = client.get(f"/gradio_api/file={studio.library.folder / name}")
        assert in_forms.content == picture.getvalue()
        assert upload("again.png", picture.getvalue()).json()["name"] == name
        refused = {
            "red.svg": (b"<svg/>", "pictures and clips end in"),
            "red.png": (b"not a picture", "neither a picture nor a clip"),
            "red.mp4": (b"not a clip", "neither a picture nor a clip"),
            "large.png": (b"0" * (studio.limits.upload + 1), "32 MB|takes 32"),
        }
        for file, (data, sentence) in refused.items():
            answer = upload(file, data)
            assert answer.status_code == 422
            assert any(part in answer.json()["error"] for part in sentence.split("|")), file
    assert [path.name for path in (studio.library.folder / "uploads").iterdir()] == [Path(name).name]


REFUSED = [
    ({"prompt": "p" * 100_000}, "The prompt has 100,000 characters, and the studio takes 2,000"),
    ({"prompt": ""}, "The prompt is empty."),
    ({"prompt": "a fox", "kind": "song"}, "kind"),
    ({"prompt": "a fox", "colour": "red"}, "colour"),
    ({"prompt": "a fox", "seed": -1}, "seed"),
    ({"prompt": "a fox", "preset": "../../etc/passwd"}, "There is no preset"),
    ({"prompt": "a fox", "options": {"steps": 0}}, "--steps cannot be 0"),
    ({"prompt": "a fox", "options": {"speed": 2}}, "'speed' is no option of a clip"),
    ({"prompt": "a fox", "options": {"image": "/etc/hostname"}}, "There is no file '/etc/hostname'"),
    ({"prompt": "a fox", "options": {"frames": 600}}, "up to 512 frames, not 600"),
    ({"prompt": "a fox", "options": {"scale": 32, "frames": 16}}, "are more than the studio makes"),
    ({"prompt": "a fox", "format": ".exe"}, "Clips cannot be written as .exe"),
    ({"prompt": "a fox", "kind": "object", "options": {"iterations": 99_999}}, "up to 10,000 iterations"),
    ({"prompt": "a fox", "kind": "object", "options": {"steps": 3}}, "'steps' is no option of an object"),
    (
        {"prompt": "a fox", "kind": "object", "options": {"negative": "n" * 9999}},
        "negative prompt has 9,999",
    ),
    ([], "The submission"),
]


def test_what_cannot_be_made_is_refused_in_one_sentence(studio: Studio) -> None:
    client = TestClient(make_app(studio), base_url="http://localhost")
    for submission, sentence in REFUSED:
        answer = client.post("/api/jobs", json=submission)
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert sentence in error
        assert error.endswith(".")
        assert "\n" not in error
        assert len(error) < 600
    assert studio.queue.all() == []


def test_what_does_not_fit_is_refused_with_the_estimate_of_the_page(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, larger = ({"prompt": "a fox", "options": {"scale": scale}} for scale in (1, 4))
    costs = [studio.estimate(each).memory for each in (clip, larger)]
    assert costs[0] and costs[1] and costs[0] < costs[1]
    monkeypatch.setattr(requirements, "used_memory", lambda: 0)
    monkeypatch.setattr(requirements, "free_memory", lambda: int(sum(filter(None, costs)) / 2))
    studio.plan(clip)
    for submission, advice in (
        (larger, "smaller --scale."),
        ({"prompt": "a fox", "kind": "object"}, "draft."),
    ):
        with pytest.raises(UserError, match=f"would need about .* are free: .*{advice}$"):
            studio.submit(submission)
