"""The example page on a real hub, as a person sees it: framed from another site."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import FrameLocator, Page, expect

from examples.embed import server
from tests.browser import WAIT_MS, browser_page, check_accessibility, run_cell
from tests.deployment import Deployment, Run
from tests.lab import Host
from tests.lab.client import Hub
from tests.lab.demo import hub_of

CODE = "import csv\nrows = [*csv.DictReader(open('data/daylight.csv'))]\n"
CODE += "sum(float(row['hours']) for row in rows) / len(rows)"


@pytest.fixture(scope="module")
def backend(host: Host, deployment: Deployment, first_run: Run) -> Iterator[tuple[str, Hub]]:
    """The example's address, which the hub lets embed."""
    hub = hub_of(host)[1]
    with server.serve(hub, 0) as serving:
        origin = f"http://localhost:{serving.server_port}"
        deployment.run(access_control_origins=[origin])
        application: server.Application = vars(serving.RequestHandlerClass)["application"]
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield origin, hub
        finally:
            serving.shutdown()
            thread.join()
            for attempt in application.attempts.values():  # nobody has finished
                hub.call("DELETE", f"/users/{attempt.user}")
            deployment.run()


@pytest.fixture
def page(backend: tuple[str, Hub]) -> Iterator[Page]:
    with browser_page(viewport={"width": 1280, "height": 1100}) as page:
        expect.set_options(WAIT_MS)
        page.goto(backend[0])
        yield page


def button(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()


def opened(page: Page) -> FrameLocator:
    """Start, and wait until the notebook is there."""
    button(page, "Open the notebook")
    frame = page.frame_locator("#frame")
    expect(frame.get_by_role("paragraph").filter(has_text="How many are they")).to_be_visible()
    expect(frame.locator(".jp-NotebookPanel-toolbar")).to_be_visible()
    frame.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    return frame


def test_work_in_the_frame_reaches_the_platform(page: Page, artifacts: Path) -> None:
    check_accessibility(page)
    page.screenshot(path=artifacts / "embed-1-question.png", full_page=True)
    frame = opened(page)
    cell = frame.locator(".jp-CodeCell .cm-content").first
    cell.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(CODE)
    run_cell(cell, frame.get_by_text("12.1666").first)

    button(page, "Save my work")
    status = page.get_by_role("status")
    expect(status).to_have_text("Saved.")
    shown = page.locator("#result")
    expect(shown.locator("pre.source")).to_have_text(CODE)
    expect(shown.locator("pre.output")).to_contain_text("12.1666")
    check_accessibility(page)
    page.screenshot(path=artifacts / "embed-2-saved.png", full_page=True)

    button(page, "Check my answer")
    expect(status).to_contain_text("is right")

    button(page, "Finish")
    expect(status).to_contain_text("Finished")
    expect(page.locator("#frame")).to_be_hidden()


def test_the_lab_is_embedded_and_saves_by_message(page: Page, artifacts: Path) -> None:
    page.get_by_text("JupyterLab").click()
    button(page, "Open the notebook")
    frame = page.frame_locator("#frame")
    expect(frame.locator("#jp-main-dock-panel")).to_be_visible()
    frame.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    frame.locator(".jp-CodeCell .cm-content").first.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(CODE)
    button(page, "Save my work")
    expect(page.get_by_role("status")).to_have_text("Saved.")
    expect(page.locator("#result pre.source")).to_have_text(CODE)
    page.screenshot(path=artifacts / "embed-3-lab.png", full_page=True)


def test_an_expired_session_and_a_full_hub_are_told(
    page: Page, backend: tuple[str, Hub], artifacts: Path
) -> None:
    frame = opened(page)
    page.get_by_text("What if").click()
    button(page, "the session expires?")
    expect(frame.get_by_role("heading")).to_have_text("This session has ended")
    page.screenshot(path=artifacts / "embed-4-expired.png", full_page=True)
    button(page, "Save my work")
    status = page.get_by_role("status")
    expect(status).to_contain_text("Your session has ended")

    button(page, "the hub is full?")
    expect(status).to_contain_text("All places are taken just now")
    check_accessibility(page)
    page.screenshot(path=artifacts / "embed-5-full.png", full_page=True)
    expect(page.get_by_role("button", name="Open the notebook")).to_be_enabled()
    assert backend[1].token not in page.content()
