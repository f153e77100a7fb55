"""The route refresher and the health command, against small servers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from integrable_jupyterhub.health import answers
from integrable_jupyterhub.routes import AWAY_SECONDS, WATCH_SECONDS, has_hub_route, look

HUB_ROUTE = {"/": {"hub": True, "jupyterhub": True, "target": "http://172.27.0.2:8081"}}
DEFAULT_TARGET = {"/": {"target": "http://172.27.0.2:8081"}}
USER_ROUTE = {"/user/u": {"user": "u", "jupyterhub": True, "target": "http://172.27.128.1:8888"}}


@dataclass
class Site:
    """A server that gives one answer and notes who asked what."""

    address: str = ""
    port: int = 0
    seen: list[tuple[str, str, str]] = field(default_factory=list)


@contextmanager
def site(status: int = 200, body: Any = None) -> Iterator[Site]:
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            state.seen.append((self.command, self.path, self.headers.get("Authorization", "")))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    state.address = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "routes", [{}, DEFAULT_TARGET, USER_ROUTE, {**DEFAULT_TARGET, **USER_ROUTE}]
)
def test_a_proxy_without_the_hubs_route_is_restored(routes: dict[str, Any]) -> None:
    with site(body=routes) as proxy, site() as hub:
        wait = look(proxy.address, "proxy-token", f"{hub.address}/hub/api", "hub-token")
    assert proxy.seen == [("GET", "/api/routes", "token proxy-token")]
    assert hub.seen == [("POST", "/hub/api/proxy", "token hub-token")]
    assert wait == WATCH_SECONDS


def test_a_proxy_that_knows_its_routes_is_left_alone() -> None:
    assert has_hub_route({**HUB_ROUTE, **USER_ROUTE})
    with site(body={**HUB_ROUTE, **USER_ROUTE}) as proxy, site() as hub:
        assert look(proxy.address, "t", f"{hub.address}/hub/api", "t") == WATCH_SECONDS
    assert hub.seen == []


def test_a_proxy_that_is_away_is_looked_at_more_often() -> None:
    with site() as hub:
        assert look("http://127.0.0.1:1", "t", f"{hub.address}/hub/api", "t") == AWAY_SECONDS
    assert hub.seen == []


def test_a_hub_that_refuses_is_asked_again_soon() -> None:
    with site(body={}) as proxy, site(status=503) as hub:
        assert look(proxy.address, "t", f"{hub.address}/hub/api", "t") == AWAY_SECONDS


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (404, False)])
def test_health_is_what_the_hub_answers(status: int, healthy: bool) -> None:
    with site(status=status) as hub:
        assert answers("127.0.0.1", hub.port, "/jupyter/hub/health") is healthy
    assert hub.seen[0][:2] == ("GET", "/jupyter/hub/health")


def test_nobody_listening_is_not_healthy() -> None:
    assert not answers("127.0.0.1", 1, "/hub/health", seconds=1)
