"""What a person sees who clicks a session's URL."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.lab.client import Session

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def test_the_sessions_url_opens_jupyterlab(session: Session, artifacts: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        try:
            page = browser.new_page(ignore_https_errors=True)
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
        finally:
            browser.close()
