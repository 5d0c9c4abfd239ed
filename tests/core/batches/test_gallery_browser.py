"""The page of a folder in a real browser, from the disk: Chromium, where it is installed."""

import json
from pathlib import Path

import numpy as np

from core.batches.gallery import write_gallery
from core.io.clips.write import write_clip
from tests.chromium import NASTY, contrast, open_browser, require_chromium, tab_stops

sync_api = require_chromium()


def test_the_page_works_from_the_disk_by_keyboard(tmp_path: Path) -> None:
    folder = tmp_path / "clips <script>"
    folder.mkdir()
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    for name, prompt in (("a.webm", NASTY), ("b.webp", "a cat"), ("c #1.png", "a dog")):
        written = [path.name for path in write_clip(folder / name, frames, 8)]
        record = {"prompt": prompt, "seed": 3, "files": dict.fromkeys(written, "")}
        (folder / f"{Path(name).stem}.gen-video.json").write_text(json.dumps(record))
    file = write_gallery(folder)
    assert file
    with open_browser(tmp_path, viewport={"width": 1000, "height": 700}) as browser:
        page, requests, errors = browser.new_page(), list[str](), list[str]()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.emulate_media(color_scheme="light")
        page.goto(file.as_uri())
        assert page.title() == folder.name and page.locator("h1").text_content() == folder.name
        caption = page.locator("figcaption").first.text_content()
        assert caption.startswith(NASTY) and not page.locator("main b, main img[src=x]").count()
        assert page.locator("main img").evaluate_all("all => all.map(image => image.naturalWidth)") == [
            32,
            32,
        ]
        page.wait_for_function("document.querySelector('main video').currentTime > 0")

        controls = ["Filter", "play clips", "light or dark"]
        figures = [f"enlarge: {NASTY}", "save a.webm", "enlarge: a cat", "save b.webp"]
        assert tab_stops(page) == [*controls, *figures, "enlarge: a dog", "save c #1.0001.png"]

        # Arrow keys go from one to the next; Enter shows it by itself, and Escape returns to it.
        page.locator(".shown").first.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        one = page.locator("#one")
        assert one.is_visible() and one.locator("#caption").text_content().startswith("a cat")
        page.keyboard.press("ArrowLeft")
        assert one.locator("video").count() == 1 and one.locator("#caption").text_content().startswith(NASTY)
        page.keyboard.press("Escape")
        assert not one.is_visible()
        sync_api.expect(page.locator(".shown").first).to_be_focused()

        page.get_by_role("button", name="play clips").click()
        assert page.locator("main video").evaluate("video => video.paused")
        page.get_by_label("Filter").fill("CAT")
        assert [box.is_visible() for box in page.locator("figure").all()] == [False, True, False]
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            for paper in ("paper", "panel"):
                assert contrast(page, "ink", paper) >= 7 and contrast(page, "muted", paper) >= 4.5
                assert contrast(page, "focus", paper) >= 3
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.get_by_role("button", name="light or dark").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != color

        # What is added to the page as a script does not run: the policy names the hash of the one that does.
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))"
        )
        assert page.evaluate("window.ran") is None
        assert not errors and not [url for url in requests if not url.startswith("file:")]
