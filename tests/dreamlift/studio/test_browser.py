"""The page in a real browser: Chromium, where it is installed (`apt-get install chromium`)."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dream3d.meshing import pipeline
from dream3d.options import ObjectOptions
from dreamlift.studio.studio import Studio
from dreamlift.studio.work import clips, objects
from tests.chromium import open_browser, require_chromium
from tests.dreamlift.studio.conftest import serve
from tests.dreamlift.studio.test_making import OBJECT

sync_api = require_chromium()
SCRIPT = "<script>document.title = 'it ran'</script>"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    with open_browser(tmp_path) as context:
        yield context


@pytest.fixture
def small_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of seconds, and previews after every step."""
    load = objects.load_object_preset

    def small(*arguments: Any) -> tuple[str, ObjectOptions]:
        name, options = load(*arguments)
        return name, options.with_changes(**OBJECT | {"iterations": 12, "turn": 4})

    monkeypatch.setattr(objects, "load_object_preset", small)
    monkeypatch.setattr(objects, "PREVIEW_EVERY", 0.0)
    monkeypatch.setattr(clips, "PREVIEW_EVERY", 0.0)
    monkeypatch.setattr(pipeline, "SIZE", 24)
    monkeypatch.setattr(pipeline, "VIEWS", 4)


@pytest.mark.usefixtures("small_jobs", "one_thread")
def test_a_person_makes_clips_and_objects_on_the_page(studio: Studio, browser: Any) -> None:
    expect: Callable[..., Any] = sync_api.expect
    sync_api.expect.set_options(timeout=30_000)
    page, requests = browser.pages[0], list[str]()
    page.on("request", lambda request: requests.append(request.url))
    with serve(studio) as port:
        page.goto(f"http://127.0.0.1:{port}/")
        prompt, stage, status = (page.locator(f"#clip-{part}") for part in ("prompt", "stage", "status"))
        text = prompt.locator("textarea")

        # What cannot be made is refused in one sentence, and a script is a text.
        text.fill("p" * 100_000)
        page.get_by_role("button", name="Make the clip").click()
        expect(page.get_by_text("The prompt has 100,000 characters")).to_be_visible()

        # A clip refines, and then plays.
        page.get_by_role("button", name="Sampling").click()
        page.get_by_role("button", name="Length and file").click()
        page.get_by_role("spinbutton", name="number input for Steps").fill("12")
        page.get_by_role("spinbutton", name="number input for Frames", exact=True).fill("8")
        text.fill(f"a panda waving {SCRIPT}")
        text.press("Enter")
        expect(stage.locator("img.unfinished")).to_be_visible()
        video = stage.locator("video")
        expect(video).to_be_visible()
        page.wait_for_function("() => document.querySelector('#clip-stage video').currentTime > 0")
        assert video.evaluate("video => [video.videoWidth, video.error]") == [256, None]
        expect(status.locator(".prompt")).to_contain_text(SCRIPT)
        assert page.title() == "Dreamlift studio"

        # A run is found again after a reload, and stops between two steps.
        page.get_by_role("spinbutton", name="number input for Steps").fill("100")
        page.get_by_role("spinbutton", name="number input for Frames", exact=True).fill("16")
        text.fill("a fox dancing")
        make = page.get_by_role("button", name="Make the clip")
        make.click()
        make.click()  # another one, which is taken out of the queue again
        queue = page.locator("#queue li")
        expect(queue).to_have_count(2)
        queue.nth(1).get_by_role("button").click()
        expect(queue).to_have_count(1)
        expect(status.locator(".phase")).to_have_text(re.compile("sampling [1-9]"))
        page.reload()
        expect(status.locator(".phase")).to_have_text(re.compile("sampling [1-9]"))
        page.locator("#clip-cancel").click()
        expect(status).to_contain_text("Cancelled after")
        assert len([*studio.library.folder.glob("*.mp4")]) == 1

        # An object turns while it is optimized, and then as a mesh.
        page.get_by_role("tab", name="Object").click()
        page.locator("#object-prompt textarea").fill(f"a fox {SCRIPT}")
        page.get_by_role("button", name="Make the object").click()
        expect(page.locator("#object-stage img.unfinished")).to_be_visible()
        canvas = page.frame_locator("#object-stage iframe").locator("#view")
        expect(canvas).to_be_visible()
        canvas.press(" ")  # stands still
        time.sleep(0.5)
        before = canvas.screenshot()
        canvas.press("ArrowLeft")
        time.sleep(0.5)
        assert canvas.screenshot() != before

        # History has both; a chosen one fills the form again.
        page.get_by_role("tab", name="History").click()
        cards = page.locator("#history .card")
        expect(cards).to_have_count(2)
        cards.nth(1).click()
        page.get_by_role("button", name="Again").click()
        expect(prompt).to_be_visible()
        expect(text).to_have_value(f"a panda waving {SCRIPT}")
        page.get_by_role("tab", name="History").click()
        page.get_by_role("button", name="Extend").click()
        page.get_by_role("button", name="Start from").click()
        expect(page.locator("img[src*='file=']")).to_be_visible()
        page.get_by_role("tab", name="History").click()
        page.get_by_role("button", name="Delete to the bin").click()
        expect(cards).to_have_count(1)
        assert len([*(studio.library.folder / "bin").iterdir()]) == 3
        assert [
            url for url in requests if not url.startswith((f"http://127.0.0.1:{port}/", "blob:", "data:"))
        ] == []

    # The viewer works by itself, from the disk.
    page, from_disk = browser.new_page(), list[str]()
    page.on("request", lambda request: from_disk.append(request.url))
    (viewer,) = studio.library.folder.glob("*.html")
    page.goto(viewer.as_uri())
    expect(page.get_by_role("heading")).to_have_text(f"a fox {SCRIPT}")
    assert page.title() == f"a fox {SCRIPT}"
    before = page.locator("#view").screenshot()
    page.locator("#view").press("ArrowRight")
    time.sleep(0.3)
    assert page.locator("#view").screenshot() != before
    assert [url for url in from_disk if not url.startswith(("file:", "blob:", "data:"))] == []
