"""What a person sees who clicks a session's URL."""

from __future__ import annotations

from pathlib import Path

from tests.browser import browser_page
from tests.lab.client import Session


def test_the_sessions_url_opens_jupyterlab(session: Session, artifacts: Path) -> None:
    with browser_page() as page:
        page.goto(session.link())
        launcher = page.locator(".jp-LauncherCard[title^='Python 3']").first
        launcher.wait_for(timeout=60_000)
        page.screenshot(path=artifacts / "jupyterlab.png")
        launcher.click()
        # A cell that is run before its kernel is connected is dropped.
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)
        page.locator(".jp-Notebook .cm-content").first.click()
        page.keyboard.type("6*7")
        page.keyboard.press("Shift+Enter")
        page.locator(".jp-OutputArea-output >> text=42").wait_for(timeout=60_000)
        page.screenshot(path=artifacts / "cell.png")
