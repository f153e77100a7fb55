"""An application that embeds sessions: a question page, and the backend that plays the LMS.

    HUB_URL=… HUB_TOKEN=… HUB_CA=… python examples/embed/server.py

HUB_TOKEN is a service's, and stays here. The page gets links that open one session each.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from integrable_jupyterhub_client import Hub, HubError, HubFull, NotFound, SessionGone

PORT = 8800
PAGE = Path(__file__).with_name("page")
QUESTION = Path(__file__).with_name("question")
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
NOTEBOOK = "main.ipynb"
ANSWER = 12.2
"""Hours; the mean that is asked for, to a decimal."""
MOST_BODY = 10_000


@dataclass
class Attempt:
    """Somebody's work on the question: *user* of the hub, *saved*: files as last fetched."""

    user: str
    saved: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Application:
    """What the page may ask for. An attempt's id is as good as a key: nobody guesses it."""

    hub: Hub
    attempts: dict[str, Attempt] = field(default_factory=dict)

    def start(self, pretend_full: bool) -> dict[str, Any]:
        """A session with the question's files, and links that open it in either view."""
        if pretend_full:
            raise HubFull("as many sessions as allowed", 20)
        files = {str(p.relative_to(QUESTION)): p.read_bytes() for p in QUESTION.rglob("*.*")}
        session = self.hub.session(files=files, timeout=60)
        attempt = secrets.token_urlsafe()
        self.attempts[attempt] = Attempt(session.name)
        pages = {"lab": f"lab/tree/{NOTEBOOK}", "notebook": f"notebooks/{NOTEBOOK}"}
        links = {
            view: session.link(
                page, save_before_unload=True, prevent_before_unload_propagation=True
            )
            for view, page in pages.items()
        }
        return {"attempt": attempt, "links": links}

    def fetch(self, attempt: Attempt) -> dict[str, Any]:
        """The notebook as it was saved in the session; kept here from now on."""
        attempt.saved = self.hub.attach(attempt.user).files()
        return {"cells": shown(json.loads(attempt.saved[NOTEBOOK]))}

    def check(self, attempt: Attempt) -> dict[str, Any]:
        """Run what was fetched in a session of its own, where nothing is left from before."""
        notebook = json.loads(attempt.saved[NOTEBOOK])
        with self.hub.session(files=attempt.saved, timeout=60) as session:
            results = session.run(notebook, timeout=30)
        told = next(filter(None, (r.error or r.value for r in reversed(results))), "nothing")
        return {"right": is_right(told), "told": told}

    def end(self, attempt: Attempt) -> None:
        """End the session; its user goes, and with it everything that was not fetched."""
        self.hub.delete_user(attempt.user)


def is_right(told: str) -> bool:
    """Whether a cell's value is the answer."""
    try:
        return abs(float(told) - ANSWER) < 0.05
    except ValueError:
        return False


def shown(notebook: Mapping[str, Any]) -> list[dict[str, str]]:
    """The code cells that are not empty, each with the text below it."""
    return [
        {
            "source": joined(cell["source"]),
            "output": "".join(map(text_of, cell.get("outputs", []))),
        }
        for cell in notebook["cells"]
        if cell["cell_type"] == "code" and cell["source"]
    ]


def text_of(output: Mapping[str, Any]) -> str:
    if output["output_type"] == "error":
        return f"{output['ename']}: {output['evalue']}"
    return joined(output.get("text") or output.get("data", {}).get("text/plain", ""))


def joined(text: str | list[str]) -> str:
    return "".join(text)


class Handler(BaseHTTPRequestHandler):
    """HTTP to and from an Application."""

    application: Application
    origin: str

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        file = PAGE / {"/": "index.html"}.get(path, path.removeprefix("/"))
        if not self._is_for_us():
            # Only this origin is one that the hub lets embed.
            self._send(HTTPStatus.FOUND, b"", Location=self.origin + "/")
        elif path == "/api/hub":
            self._json(HTTPStatus.OK, {"url": self.application.hub.public_url})
        elif file in PAGE.iterdir():
            kind = f"{TYPES[file.suffix]}; charset=utf-8"
            self._send(HTTPStatus.OK, file.read_bytes(), **{"Content-Type": kind})
        else:
            self._json(HTTPStatus.NOT_FOUND, {"message": "no such page"})

    def do_POST(self) -> None:
        # A page of another origin can send this, too, but neither header is its own to choose.
        if not self._is_for_us() or self.headers.get("Origin") != self.origin:
            self._json(HTTPStatus.FORBIDDEN, {"message": "not from the page"})
            return
        try:
            length = min(int(self.headers.get("Content-Length") or 0), MOST_BODY)
            body = json.loads(self.rfile.read(length) or b"{}")
            self._json(HTTPStatus.OK, self._do(self.path, body))
        except HubFull as full:
            told = {"message": str(full), "retry_after": full.retry_after}
            self._json(HTTPStatus.TOO_MANY_REQUESTS, told)
        except SessionGone as gone:
            self._json(HTTPStatus.GONE, {"message": str(gone)})
        except (KeyError, TypeError, ValueError, NotFound) as wrong:
            self._json(HTTPStatus.NOT_FOUND, {"message": f"no such attempt or file: {wrong}"})
        except HubError as error:
            self._json(HTTPStatus.BAD_GATEWAY, {"message": str(error)})

    def _do(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        do = self.application
        if path == "/api/start":
            return do.start(bool(body.get("pretend_full")))
        attempt = do.attempts[body["attempt"]]
        if path == "/api/fetch":
            return do.fetch(attempt)
        if path == "/api/check":
            return do.check(attempt)
        if path != "/api/end":
            raise KeyError(path)
        do.end(attempt)
        return {}

    def _is_for_us(self) -> bool:
        """Else a name that somebody else's DNS gives this address would do."""
        return self.headers.get("Host") == urlsplit(self.origin).netloc

    def _json(self, status: HTTPStatus, body: dict[str, Any]) -> None:
        self._send(status, json.dumps(body).encode(), **{"Content-Type": "application/json"})

    def _send(self, status: HTTPStatus, body: bytes, **headers: str) -> None:
        hub = urlsplit(self.application.hub.public_url)
        self.send_response(status)
        for name, value in {
            **headers,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": (
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
                f"frame-src {hub.scheme}://{hub.netloc}; "
                "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            ),
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        print(self.command, self.path, *args[1:], file=sys.stderr, flush=True)


def serve(hub: Hub, port: int = PORT) -> ThreadingHTTPServer:
    """A server on loopback, at http://localhost:PORT; port 0: a free one."""
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    origin = f"http://localhost:{server.server_port}"
    application = Application(hub)
    server.RequestHandlerClass = type(
        "Bound", (Handler,), {"application": application, "origin": origin}
    )
    return server


def main() -> None:
    hub = Hub(os.environ["HUB_URL"], os.environ["HUB_TOKEN"], os.environ.get("HUB_CA"), patience=10)
    try:
        server = serve(hub, int(os.environ.get("PORT", PORT)))
    except OSError as error:
        sys.exit(f"embed: port {os.environ.get('PORT', PORT)}: {error.strerror}; choose PORT=")
    signal.signal(
        signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start()
    )
    print(f"http://localhost:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
