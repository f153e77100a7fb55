"""A page of another site frames a session: cookies blocked or not, saved by message, read back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import FrameLocator, Page, TimeoutError

from tests.browser import profile_page
from tests.deployment import Deployment, Run
from tests.lab import Host
from tests.lab.client import Hub, Session
from tests.lab.demo import hub_of

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
        self.send_header("Content-Type", "text/html")
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
def visit(site: Site, host: Host) -> Iterator[Session]:
    """A session with a notebook, as an application prepares it for one page view."""
    hub: Hub = hub_of(host)[1]
    name = f"embedded{len(site.requests)}_{id(site)}"
    hub.create_user(name)
    hub.start_server(name)
    session = hub.session(name, hub.mint_token(name))
    write(session, "main.ipynb", NOTEBOOK)
    yield session
    hub.delete_user(name)


def write(session: Session, path: str, content: object) -> None:
    kind = {"type": "notebook", "content": content}
    assert session.request("PUT", f"/api/contents/{path}", body=kind).status_code in (200, 201)


def saved(session: Session) -> Any:
    """The notebook's first cell, as the backend reads it."""
    return session.request("GET", "/api/contents/main.ipynb").json()["content"]["cells"][0]


VIEWS = {"lab": "lab/tree/main.ipynb", "notebook": "notebooks/main.ipynb"}


def link(session: Session, view: str, **parameters: str) -> str:
    return f"{session.url}/{VIEWS[view]}?{urlencode({'token': session.token, **parameters})}"


# --- Chromium ------------------------------------------------------------------------------------
def edit_and_run(frame: FrameLocator, text: str, result: str) -> None:
    cell = frame.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    cell.wait_for(timeout=60_000)
    cell.click()
    cell.press_sequentially(text)
    output = frame.locator(".jp-OutputArea-output", has_text=result).first
    for _ in range(20):
        # A cell that is run before its kernel is connected is dropped: run it again.
        cell.press("Control+Enter")
        with suppress(TimeoutError):
            output.wait_for(timeout=3_000)
            return
    raise AssertionError(f"{text} never came to {result}")


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
