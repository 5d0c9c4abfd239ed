"""Chromium for the tests of pages, where it is installed (`apt-get install chromium`), by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# fmt: off
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader",  # WebGL without a GPU
]
# fmt: on
# What a person may type in place of a prompt, to have it run.
NASTY = (
    'a <b>fox</b> </script><script>document.title = "it ran"</script> "quoted" \'too\' \u2028 & '
    "<img src=x onerror=alert(1)>"
)


def require_chromium() -> Any:
    """Playwright's interface; skips the module that calls it where there is no Chromium."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium", allow_module_level=True)
    return pytest.importorskip("playwright.sync_api")


@contextmanager
def open_browser(folder: Path, **options: Any) -> Iterator[Any]:
    """A browser context with its profile in a folder; options: Playwright's."""
    with require_chromium().sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder / "profile", executable_path=CHROMIUM, args=FLAGS, **options
        )
        yield context
        context.close()


def contrast(page: Any, ink: str, paper: str) -> float:
    """Contrast of two colors that the page has as custom properties, by WCAG 2.2."""
    code = """names => names.map(name => {
        const probe = document.body.appendChild(document.createElement("i"));
        probe.style.color = `var(--${name})`;
        return getComputedStyle(probe).color.match(/\\d+/g).slice(0, 3).map(Number);
    })"""
    lights = []
    for color in page.evaluate(code, [ink, paper]):
        linear = [
            value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in color
        ]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def tab_stops(page: Any, most: int = 40) -> list[str]:
    """Accessible names of what Tab reaches from the top of a page, each with a visible outline."""
    found: list[str] = []
    for _ in range(most):
        page.keyboard.press("Tab")
        name, outline = page.evaluate("""() => {
            const element = document.activeElement, style = getComputedStyle(element);
            const label = element.labels?.[0]?.textContent;
            const name = element.getAttribute("aria-label") || label || element.textContent;
            return [element === document.body ? null : name.trim(), style.outlineStyle + style.outlineWidth];
        }""")
        if name is None or name in found:
            break
        assert name and outline == "solid3px", (name, outline)
        found.append(name)
    return found
