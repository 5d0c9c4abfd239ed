"""Who may ask: hosts, origins and passwords."""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from dreamlift.studio.guard import Guard, Login

INNER = Starlette(routes=[Route("/api/jobs", lambda _: PlainTextResponse("in"), methods=["GET", "POST"])])
LOCAL = Guard(INNER, None, local=True)


def status(guard: Guard, method: str = "GET", path: str = "/api/jobs", **headers: str) -> int:
    given = {name.replace("_", "-"): value for name, value in ({"host": "127.0.0.1:7860"} | headers).items()}
    return TestClient(guard).request(method, path, headers=given).status_code


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LOCALHOST:1", "[::1]:7860"])
def test_names_of_this_machine_are_answered(host: str) -> None:
    assert status(LOCAL, host=host) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:7860", "[::1", ""]
)
def test_other_names_that_lead_to_this_machine_are_refused(host: str) -> None:
    assert status(LOCAL, host=host) == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8000"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": "http://127.0.0.1:7860", "sec_fetch_site": "cross-site"},
    ],
)
def test_requests_that_pages_of_other_sites_cause_are_refused(headers: dict[str, str]) -> None:
    assert status(LOCAL, "POST", **headers) == 403


def test_the_own_page_programs_and_links_to_the_page_are_answered() -> None:
    assert status(LOCAL, "POST", origin="http://127.0.0.1:7860", sec_fetch_site="same-origin") == 200
    assert status(LOCAL, "POST") == 200
    followed = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    assert status(LOCAL, **followed) == 200
    assert status(LOCAL, **(followed | {"sec_fetch_dest": "iframe"})) == 403


def test_a_password_is_asked_for_on_every_path() -> None:
    guard = Guard(INNER, Login("ada", "love:läce"), local=False)
    client = TestClient(guard)
    for path in ("/api/jobs", "/", "/gradio_api/info", "/files/a.mp4"):
        answer = client.get(path)
        assert (answer.status_code, "Basic" in answer.headers["www-authenticate"]) == (401, True)
    assert client.get("/api/jobs", auth=("ada", "love:läce".encode())).status_code == 200
    for wrong in (("ada", "love"), ("bob", "love:läce".encode()), ("", "")):
        assert client.get("/api/jobs", auth=wrong).status_code == 401
    for header in ("Basic", "Basic !", "Bearer YWRhOmxvdmU=", ""):
        assert client.get("/api/jobs", headers={"authorization": header}).status_code == 401


def test_what_gradio_offers_besides_the_page_is_closed() -> None:
    for path in (
        "/gradio_api/proxy=http://127.0.0.1/",
        "/gradio_api/file=https://evil.example/a",
        "/docs",
        "/monitoring",
    ):
        assert status(LOCAL, path=path) == 404


def test_answers_allow_nothing_from_a_network() -> None:
    policy = (
        TestClient(LOCAL).get("/api/jobs", headers={"host": "localhost"}).headers["content-security-policy"]
    )
    assert "default-src 'self'" in policy
    assert "http" not in policy
