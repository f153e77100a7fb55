"""The example's backend, in front of a hub that only pretends; and the demo's care for it."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from integrable_jupyterhub_client import Hub

from examples.embed import server
from tests.lab import demo, example
from tests.lab.errors import LabError
from tests.unit.client.fake import FakeHub, fake_hub

ROOT = Path(__file__).parents[3]
Ask = Callable[..., tuple[int, dict[str, str], Any]]


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    with fake_hub() as fake:
        yield fake


@pytest.fixture
def application(fake: FakeHub) -> Iterator[ThreadingHTTPServer]:
    with server.serve(Hub(fake.url, "service-token", patience=0), 0) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.fixture
def ask(application: ThreadingHTTPServer) -> Ask:
    """Status, headers and body; headers are the page's own unless given."""
    port = application.server_port
    page = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}

    def ask(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request(method, path, json.dumps(body or {}), page | headers)
        answer = connection.getresponse()
        data = answer.read()
        is_json = answer.headers["Content-Type"] == "application/json"
        return answer.status, dict(answer.headers), json.loads(data) if is_json else data

    return ask


def test_it_listens_on_loopback(application: ThreadingHTTPServer) -> None:
    assert application.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/", "/page.js", "/style.css"])
def test_the_page_is_complete_in_itself(ask: Ask, fake: FakeHub, path: str) -> None:
    status, headers, body = ask("GET", path)
    assert status == 200
    assert f"frame-src {fake.url};" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert not re.search(rb"(?:src|href|url|import)\W{1,3}(?:https?:)?//", body)
    assert b"service-token" not in body


@pytest.mark.parametrize("path", ["/../server.py", "/server.py", "/%2e%2e/server.py", "/question"])
def test_it_serves_nothing_else(ask: Ask, path: str) -> None:
    assert ask("GET", path)[0] == 404


@pytest.mark.parametrize("wrong", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}])
def test_only_its_own_page_may_ask(ask: Ask, fake: FakeHub, wrong: dict[str, str]) -> None:
    assert ask("POST", "/api/start", **wrong)[0] == 403
    assert fake.asked == []


def test_another_name_leads_to_the_one_that_the_hub_lets_embed(
    ask: Ask, application: ThreadingHTTPServer
) -> None:
    port = application.server_port
    status, headers, _ = ask("GET", "/", Host=f"127.0.0.1:{port}")
    assert (status, headers["Location"]) == (302, f"http://localhost:{port}/")


def test_a_full_hub_and_what_does_not_exist_are_told(ask: Ask) -> None:
    status, _, told = ask("POST", "/api/start", {"pretend_full": True})
    assert (status, told["retry_after"]) == (429, 20)
    for path, body in (("/api/fetch", {"attempt": "x"}), ("/api/fetch", {}), ("/api/no", {})):
        assert ask("POST", path, body)[0] == 404


def test_a_session_that_is_gone_is_410(
    ask: Ask, fake: FakeHub, application: ThreadingHTTPServer
) -> None:
    handler: Any = application.RequestHandlerClass
    handler.application.attempts["a"] = server.Attempt("ada")
    fake.says("POST /hub/api/users/ada/tokens", 404)
    fake.says("GET /hub/api/users/ada", 404)
    assert ask("POST", "/api/fetch", {"attempt": "a"})[0] == 410


def test_a_notebooks_cells_are_shown_as_text() -> None:
    outputs = [
        {"output_type": "stream", "text": ["a\n", "b\n"]},
        {"output_type": "execute_result", "data": {"text/plain": "42"}},
        {"output_type": "error", "ename": "E", "evalue": "v"},
    ]
    cells = [
        {"cell_type": "markdown", "source": "text"},
        {"cell_type": "code", "source": ["x\n", "y"], "outputs": outputs},
        {"cell_type": "code", "source": ""},
    ]
    assert server.shown({"cells": cells}) == [{"source": "x\ny", "output": "a\nb\n42E: v"}]


@pytest.mark.parametrize(
    ("told", "right"), [("12.2", True), ("12.1666", True), ("12.3", False), ("E: v", False)]
)
def test_the_answer_is_known(told: str, right: bool) -> None:
    assert server.is_right(told) is right


# --- Beside the demo -------------------------------------------------------------------------
def test_the_demos_hub_lets_the_example_embed() -> None:
    assert f"http://localhost:{server.PORT}" == demo.EXAMPLE_URL
    assert f'["{demo.EXAMPLE_URL}"]' in (ROOT / "inventory.py").read_text()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def test_the_demo_starts_it_once_and_ends_it(tmp_path: Path) -> None:
    port = free_port()
    url, record = f"http://localhost:{port}", tmp_path / "embed.json"
    hub = {"HUB_URL": "http://127.0.0.1:9", "HUB_TOKEN": "t", "PORT": str(port)}
    try:
        example.start(tmp_path, hub, url)
        first = example._pid(record)
        assert first
        example.start(tmp_path, hub, url)
        assert example._pid(record) == first
        example.start(tmp_path, hub | {"HUB_TOKEN": "another"}, url)
        assert example._pid(record) not in (None, first)
    finally:
        example.stop(tmp_path)
    assert not record.exists()
    assert not example._answers(url)


def test_a_taken_port_is_told_in_a_line(application: ThreadingHTTPServer, tmp_path: Path) -> None:
    """Also where somebody answers on it."""
    port = application.server_port
    hub = {"HUB_URL": "http://127.0.0.1:9", "HUB_TOKEN": "t", "PORT": str(port)}
    try:
        with pytest.raises(LabError, match=f"embed: port {port}: Address already in use"):
            example.start(tmp_path, hub, f"http://localhost:{port}")
        assert not (tmp_path / "embed.json").exists()
    finally:
        example.stop(tmp_path)


def test_a_process_that_is_not_the_example_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        (tmp_path / "embed.json").write_text(json.dumps({"pid": other.pid}))
        example.stop(tmp_path)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.2)
        other.terminate()
    assert not (tmp_path / "embed.json").exists()
