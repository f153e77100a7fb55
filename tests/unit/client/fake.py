"""A hub that answers what it is told to, and notes what it is asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FakeHub:
    """`answers`: (status, body) by "METHOD /path"; of several the last one stays."""

    url: str
    answers: dict[str, list[tuple[int | None, Any]]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    connections: list[int] = field(default_factory=list)
    """The client's port of each call."""

    def says(self, call: str, *answers: int | tuple[int, Any] | None) -> None:
        """None: the connection is closed without an answer."""
        self.answers[call] = [a if isinstance(a, tuple) else (a, {}) for a in answers]


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            call = f"{self.command} {self.path}"
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fake.asked.append(call)
            fake.connections.append(self.client_address[1])
            fake.bodies.append(json.loads(text) if text else None)
            left = fake.answers.get(call, [(500, {"message": f"not told what to say: {call}"})])
            status, body = left.pop(0) if len(left) > 1 else left[0]
            if status is None:
                self.close_connection = True
                return
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in fake.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(0 if status == 204 else len(data)))
            self.end_headers()
            self.wfile.write(b"" if status == 204 else data)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        fake = FakeHub(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
