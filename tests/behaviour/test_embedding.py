"""A page of another site frames a session: cookies blocked or not, saved by message, read back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Dialog, FrameLocator, Page, Route

from tests.browser import profile_page, run_cell
from tests.deployment import Deployment, Run
from tests.firefox import CONTROL, ENTER, firefox
from tests.lab import engine
from tests.lab.client import Session

NOTEBOOK = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
    },
    "cells": [
        {
            "id": "a",
            "cell_type": "code",
            "source": "",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
    ],
}
# The embedding page: it shows the session, notes what the session says, and asks it to save.
PAGE = """<!doctype html><html lang="en"><title>A question</title>
<h1>A question</h1><iframe title="Notebook" width="1100" height="640" src="%s"></iframe>
<script>
const heard = [];
addEventListener("message", event => heard.push({origin: event.origin, data: event.data}));
const say = (message, origin) => frames[0].postMessage(message, origin);
</script>"""


@dataclass
class Site:
    """An application's web server: its pages, and the requests that it got."""

    port: int = 0
    pages: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)

    @property
    def origin(self) -> str:
        # Another site than 127.0.0.1, where the hub is.
        return f"http://localhost:{self.port}"

    def page(self, frame: str) -> str:
        path = f"/{len(self.pages)}"
        self.pages[path] = PAGE % frame.replace("&", "&amp;")
        return self.origin + path


class Handler(BaseHTTPRequestHandler):
    def __init__(self, site: Site, *args: Any) -> None:
        self.site = site
        super().__init__(*args)

    def do_GET(self) -> None:
        self.site.requests.append((self.path, self.headers.get("Referer", "")))
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.site.pages.get(self.path, "<title>elsewhere</title>").encode())

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served() -> Iterator[Site]:
    site = Site()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, site)) as server:
        site.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield site
        server.shutdown()


@pytest.fixture(scope="module")
def site(deployment: Deployment, first_run: Run) -> Iterator[Site]:
    """Listed in access_control_origins, which are deployed for this module."""
    with served() as made:
        deployment.run(access_control_origins=[made.origin])
        yield made
    deployment.run()


@pytest.fixture(scope="module")
def stranger(site: Site) -> Iterator[Site]:
    with served() as made:
        yield made


@pytest.fixture
def visit(site: Site, open_session: Callable[[], Session]) -> Session:
    """A session with a notebook, as an application prepares it for one page view."""
    session = open_session()
    kind = {"type": "notebook", "content": NOTEBOOK}
    assert session.request("PUT", "/api/contents/main.ipynb", body=kind).status_code == 201
    return session


def saved(session: Session) -> Any:
    """The notebook's first cell, as the backend reads it."""
    answer = session.request("GET", "/api/contents/main.ipynb")
    # The server writes in place: who reads just then gets an error.
    return answer.json()["content"]["cells"][0] if answer.ok else {"source": None}


VIEWS = {"lab": "lab/tree/main.ipynb", "notebook": "notebooks/main.ipynb"}


def link(session: Session, view: str, **parameters: str) -> str:
    return f"{session.url}/{VIEWS[view]}?{urlencode({'token': session.token, **parameters})}"


# --- Chromium ------------------------------------------------------------------------------------
def edit_and_run(frame: FrameLocator, text: str, result: str) -> None:
    cell = frame.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    cell.wait_for(timeout=60_000)
    cell.click()
    cell.press_sequentially(text)
    run_cell(cell, frame.locator(".jp-OutputArea-output", has_text=result).first)


def heard(page: Page, kind: str, number: int = 1) -> list[Any]:
    """What the session has told the page, once it has said `number` things of this kind."""
    page.wait_for_function(
        "([kind, n]) => heard.filter(m => m.data.type === kind).length >= n",
        arg=[kind, number],
        timeout=60_000,
    )
    return [m for m in page.evaluate("heard") if m["data"]["type"] == kind]


def origin_of(session: Session) -> str:
    return session.url.partition("/user/")[0]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("blocked", [False, True], ids=["allowed", "blocked"])
def test_a_cell_is_edited_run_and_saved_by_a_page_of_another_site(
    site: Site, visit: Session, tmp_path: Path, artifacts: Path, blocked: bool, view: str
) -> None:
    hub = origin_of(visit)
    with profile_page(tmp_path / "profile", block_third_party_cookies=blocked) as page:
        page.goto(site.page(link(visit, view)))
        frame = page.frame_locator("iframe")
        (ready,) = heard(page, "ready")
        assert ready["origin"] == hub
        edit_and_run(frame, "6*7", "42")
        page.evaluate("hub => say({type: 'save-all', id: 7}, hub)", hub)
        (answer,) = heard(page, "save-all")
        assert answer["data"] == {
            "type": "save-all", "id": 7, "status": "ok", "saved": ["main.ipynb"], "failed": [],
        }  # fmt: skip
        assert saved(visit)["source"] == "6*7"
        assert saved(visit)["outputs"][0]["data"]["text/plain"] == "42"
        name = f"embedded-{view}-{'blocked' if blocked else 'allowed'}.png"
        page.screenshot(path=artifacts / name)

        # The cookie opens it again, without the token, in the same page.
        page.goto(site.page(f"{visit.url}/{VIEWS[view]}"))
        edit_and_run(frame, "+1", "43")
        page.evaluate("hub => say('save-all', hub)", hub)
        (again,) = heard(page, "save-all")
        assert (again["data"]["status"], "id" in again["data"]) == ("ok", False)
        assert "+1" in saved(visit)["source"]


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with profile_page(tmp_path / "profile", block_third_party_cookies=True) as made:
        yield made


def edit(page: Page, text: str) -> None:
    """As a person would: the browser asks nobody who has touched nothing."""
    cell = page.frame_locator("iframe").locator(".jp-CodeCell .cm-content").first
    cell.click(timeout=60_000)
    cell.press_sequentially(text)


def test_what_was_edited_is_saved_when_the_frame_goes_away_if_told(
    site: Site, visit: Session, page: Page
) -> None:
    remove = "document.querySelector('iframe').remove()"
    page.goto(site.page(link(visit, "notebook")))
    heard(page, "ready")
    edit(page, "untold")
    page.evaluate(remove)
    page.goto(site.page(link(visit, "notebook", saveBeforeUnload="true")))
    heard(page, "ready")
    assert saved(visit)["source"] == ""  # the positive control: nothing was saved by itself
    edit(page, "removed")
    page.evaluate(remove)
    assert engine.until(lambda: saved(visit)["source"] == "removed", 20)
    page.goto(site.page(link(visit, "lab", saveBeforeUnload="true")))
    heard(page, "ready")
    edit(page, " and left")
    page.goto(site.origin)
    assert engine.until(lambda: saved(visit)["source"] == "removed and left", 20)


# Before the page's own scripts: JupyterLab's look at what it has just saved waits for another
# request for the file, which would find it changed; a second at most.
SLOW_TO_NOTICE = """
const real = fetch;
let written = false, waiting;
window.fetch = async (...what) => {
  const {method, url} = what[0] instanceof Request ? what[0] : new Request(...what);
  if (!/contents\\/main[.]ipynb/.test(url)) return real(...what);
  if (method === 'PUT') {
    const answer = await real(...what);
    written = true;
    return answer;
  }
  if (waiting) {
    const answer = await real(...what);
    setTimeout(waiting, 200);
    return answer;
  }
  if (written) {
    written = false;
    window.between = true;
    await new Promise(go => { waiting = go; setTimeout(go, 1000); });
    waiting = undefined;
  }
  return real(...what);
};
"""


@pytest.mark.parametrize("view", VIEWS)
def test_a_save_during_another_is_no_change_of_somebody_else(
    site: Site, visit: Session, page: Page, view: str
) -> None:
    """Who clicks the page's button leaves the frame: each of them saves."""
    page.add_init_script(SLOW_TO_NOTICE)
    page.goto(site.page(link(visit, view)))
    heard(page, "ready")
    edit(page, "once")
    say = "hub => say('save-all', hub)"
    page.evaluate(say, origin_of(visit))
    page.frames[1].wait_for_function("window.between")
    page.evaluate(say, origin_of(visit))
    answers = [answer["data"]["status"] for answer in heard(page, "save-all", 2)]
    assert answers == ["ok", "ok"]
    assert page.frame_locator("iframe").get_by_role("dialog").count() == 0
    assert saved(visit)["source"] == "once"


def test_nobody_is_asked_about_changes_if_told(site: Site, visit: Session, page: Page) -> None:
    dialogs: list[str] = []

    def note(dialog: Dialog) -> None:
        dialogs.append(dialog.type)
        dialog.accept()

    page.on("dialog", note)
    for told, expected in (
        ({}, ["beforeunload"]),
        ({"preventBeforeUnloadPropagation": "true"}, []),
    ):
        page.goto(site.page(link(visit, "lab", **told)))
        heard(page, "ready")
        edit(page, "x")
        dialogs.clear()
        page.goto(site.origin)
        assert dialogs == expected


def test_a_site_that_is_not_listed_neither_frames_nor_is_heard(
    site: Site, stranger: Site, visit: Session, page: Page
) -> None:
    page.goto(stranger.page(link(visit, "lab")))
    frame = page.frame_locator("iframe")
    assert frame.locator(".jp-Notebook").count() == 0
    # It opens a window instead, which nobody can forbid.
    with page.expect_popup() as opened:
        page.evaluate("url => { window.session = window.open(url) }", link(visit, "lab"))
    popup = opened.value
    popup.locator(".jp-Notebook").first.wait_for(timeout=60_000)
    page.evaluate("session.postMessage({type: 'save-all', id: 1}, '*')")
    # Its own page is heard: when it has its answer, the stranger would have had one.
    answer = popup.evaluate(
        """new Promise(resolve => {
            addEventListener("message", ({data}) => data.status && resolve(data));
            postMessage({type: "save-all", id: 2}, location.origin);
        })"""
    )
    assert (answer["id"], answer["status"]) == (2, "ok")
    assert page.evaluate("heard") == []
    # What the session's page asks of others does not tell where it comes from.
    popup.evaluate("url => fetch(url, {mode: 'no-cors'})", stranger.origin + "/pixel")
    assert ("/pixel", "") in stranger.requests


def test_people_are_told_before_the_end_and_may_go_on(
    site: Site, visit: Session, page: Page, artifacts: Path
) -> None:
    """With a server's clock that says so: half an hour is long."""
    now = datetime.now(UTC)
    active = {"at": now - timedelta(seconds=1800 - 120)}
    kept: list[str] = []

    def status(route: Route) -> None:
        told = {"started": now.isoformat(), "last_activity": active["at"].isoformat()}
        route.fulfill(json=told)

    def keep(route: Route) -> None:
        kept.append(route.request.url)
        active["at"] = now
        route.continue_()

    page.route("**/api/status", status)
    page.route("**/api/me", lambda route: route.continue_())
    page.goto(site.page(link(visit, "lab")))
    banner = page.frame_locator("iframe").get_by_role("alert")
    banner.wait_for(timeout=60_000)
    page.frame_locator("iframe").locator(".jp-Notebook").first.wait_for(timeout=60_000)
    assert "It ends, and its files are deleted, at" in banner.inner_text()
    (ending,) = heard(page, "ending")
    end = datetime.fromisoformat(ending["data"]["at"])
    assert abs(end - (now + timedelta(seconds=120))) < timedelta(seconds=1)
    page.screenshot(path=artifacts / "session-ending.png")
    page.route("**/api/me", keep)
    banner.get_by_role("button", name="Keep the session").click()
    banner.wait_for(state="detached", timeout=60_000)
    assert kept


# --- Firefox -------------------------------------------------------------------------------------
# Its own ways with third-party cookies: a jar for each site (its default), or none at all.
JARS: dict[str, dict[str, Any]] = {
    "partitioned": {},
    "blocked": {"network.cookie.cookieBehavior": 1},
}
CELL = "document.querySelector('.jp-Notebook .jp-CodeCell .cm-content')"


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("jar", JARS)
def test_firefox_does_the_same(
    site: Site, visit: Session, tmp_path: Path, artifacts: Path, jar: str, view: str
) -> None:
    with firefox(tmp_path / "profile", JARS[jar]) as browser:

        def said(kind: str) -> list[Any]:
            return [m["data"] for m in browser.evaluate("heard") if m["data"]["type"] == kind]

        browser.goto(site.page(link(visit, view)))
        assert engine.until(lambda: bool(said("ready")), 60)
        frame = browser.frame
        assert frame
        # The kernel's websocket is there, whatever became of cookies.
        idle = "!!document.querySelector('.jp-Notebook-ExecutionIndicator[data-status=idle]')"
        assert engine.until(lambda: bool(browser.evaluate(idle, frame)), 60)
        assert engine.until(lambda: bool(browser.evaluate(f"!!{CELL}", frame)), 60)

        def in_cell() -> bool:
            browser.click(frame, CELL)
            return bool(browser.evaluate(f"{CELL}.contains(document.activeElement)", frame))

        assert engine.until(in_cell, 30)
        browser.press(frame, *"6*7")
        assert engine.until(lambda: browser.evaluate(f"{CELL}.innerText", frame) == "6*7", 10)
        shown = "document.querySelector('.jp-OutputArea-output')?.innerText?.trim() ?? ''"

        def ran() -> bool:
            return bool(browser.evaluate(shown, frame) == "42")

        for _ in range(10):
            # A window without a screen gets no focus, by which JupyterLab tells what is current.
            for event, bubbles in (("focus", "false"), ("focusin", "true")):
                made = f"new FocusEvent('{event}', {{bubbles: {bubbles}}})"
                browser.evaluate(f"({CELL}.dispatchEvent({made}), 0)", frame)
            browser.chord(frame, CONTROL, ENTER)
            if engine.until(ran, 3):
                break
        assert ran()
        browser.evaluate(f"(say({{type: 'save-all', id: 7}}, '{origin_of(visit)}'), 0)")
        assert engine.until(lambda: bool(said("save-all")), 30)
        assert said("save-all")[0]["saved"] == ["main.ipynb"]
        assert saved(visit)["source"] == "6*7"
        assert saved(visit)["outputs"][0]["data"]["text/plain"] == "42"
        browser.screenshot(artifacts / f"firefox-{view}-{jar}.png")
