"""Chromium, as the tests use it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, sync_playwright
from playwright.sync_api import TimeoutError as TooLate

CHROMIUM = "/usr/bin/chromium"
WAIT_MS = 60_000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def browser_page(**context: Any) -> Iterator[Page]:
    """A page in a browser of its own, which is closed afterwards."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            page = browser.new_page(ignore_https_errors=True, **context)
            page.set_default_timeout(WAIT_MS)
            yield page
        finally:
            browser.close()


@contextmanager
def profile_page(folder: Path, *, block_third_party_cookies: bool) -> Iterator[Page]:
    """A page in a browser with a new profile in `folder`, set as a person would set it."""
    (folder / "Default").mkdir(parents=True)
    profile = {
        "block_third_party_cookies": block_third_party_cookies,
        "cookie_controls_mode": int(block_third_party_cookies),
    }
    (folder / "Default" / "Preferences").write_text(json.dumps({"profile": profile}))
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(folder),
            executable_path=CHROMIUM,
            args=FLAGS,
            ignore_https_errors=True,
            viewport={"width": 1200, "height": 800},
        )
        context.set_default_timeout(WAIT_MS)
        try:
            yield context.pages[0]
        finally:
            context.close()


def run_cell(cell: Locator, output: Locator) -> None:
    """Run a cell until its output shows: one whose kernel is not connected yet is dropped."""
    for _ in range(20):
        cell.press("Control+Enter")
        with suppress(TooLate):
            output.wait_for(timeout=3_000)
            return
    raise AssertionError(f"{cell.inner_text()} never came to {output}")


def check_accessibility(page: Page) -> None:
    """WCAG 2.1 AA, as far as a program can tell."""
    standard = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    found = Axe().run(page, options=standard).response
    assert not found["violations"], found["violations"]
    assert len(found["passes"]) > 5  # it did look
