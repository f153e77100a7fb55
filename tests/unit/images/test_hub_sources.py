"""Who may use the hub's API, by where a request really came from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from integrable_jupyterhub import sources
from integrable_jupyterhub.config import HubConfig
from integrable_jupyterhub.sources import may_use_api, restrict_api
from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError

from tests.unit.images.samples import CONFIG, in_loop

PROXY, GATEWAY, HUB, SESSION, BACKEND = (
    "172.27.0.4",
    "172.27.0.1",
    "172.27.0.2",
    "172.27.128.9",
    "172.27.0.9",
)
LISTED, LISTED6, STRANGER = "198.51.100.7", "2001:db8::7", "198.51.100.8"

RESTRICTED = HubConfig(
    **CONFIG
    | {
        "api_sources": [f"{LISTED}/32", f"{LISTED6}/128"],
        "trusted_proxies": [GATEWAY],
        "internal_networks": [HUB, "172.27.128.0/17", BACKEND],
    }
)


@pytest.mark.parametrize(
    ("peer", "forwarded", "may"),
    [
        (PROXY, LISTED, True),
        (PROXY, STRANGER, False),
        (PROXY, f"{STRANGER}, {LISTED}", True),
        (PROXY, f"{LISTED}, {STRANGER}", False),  # what stands before may be invented
        (PROXY, f"{LISTED},{GATEWAY}", True),  # a web server in front
        (PROXY, f"{LISTED6},{GATEWAY}", True),
        (PROXY, f"{LISTED}, {STRANGER},{GATEWAY}", False),
        (PROXY, f"::ffff:{LISTED}", True),
        (PROXY, f"{SESSION}, {STRANGER}", False),
        (PROXY, f"{LISTED}, unknown", False),
        (PROXY, "", False),
        (PROXY, GATEWAY, False),  # relayed by Docker on the host: nobody knows for whom
        (STRANGER, LISTED, False),  # who comes by himself says what he likes
        (LISTED, STRANGER, True),
        (SESSION, "", True),
        (BACKEND, "", True),
        (HUB, "", True),
        ("172.27.0.3", "", False),
        ("", LISTED, False),
    ],
)
def test_a_request_is_let_in_by_where_it_came_from(peer: str, forwarded: str, may: bool) -> None:
    assert may_use_api(RESTRICTED, peer, forwarded) is may


def ask(prepare: Any, peer: str, *forwarded: str) -> Any:
    """A request to a handler whose `prepare` is given."""
    headers = HTTPHeaders()
    for value in forwarded:
        headers.add("X-Forwarded-For", value)
    socket = SimpleNamespace(getpeername=lambda: (peer, 1))
    connection = SimpleNamespace(stream=SimpleNamespace(socket=socket))
    return prepare(SimpleNamespace(request=SimpleNamespace(headers=headers, connection=connection)))


@pytest.fixture
def api_handler(monkeypatch: pytest.MonkeyPatch) -> Any:
    """JupyterHub's handlers, to be patched for one test; who passes is noted."""
    passed: list[Any] = []

    async def prepare(self: Any) -> None:
        passed.append(self)

    base = type("Base", (), {"prepare": prepare})
    handler = type("Handler", (base,), {"passed": passed})
    monkeypatch.setattr(sources, "BaseHandler", base)
    monkeypatch.setattr(sources, "APIHandler", handler)
    return handler


@in_loop
async def refuses(handler: Any) -> None:
    await ask(handler.prepare, PROXY, LISTED)
    with pytest.raises(HTTPError) as refused:
        await ask(handler.prepare, PROXY, LISTED, STRANGER)  # two headers are one list
    assert refused.value.status_code == 403


def test_every_api_handler_asks_first(api_handler: Any) -> None:
    restrict_api(RESTRICTED)
    refuses(api_handler)
    assert len(api_handler.passed) == 1


def test_without_sources_nobody_is_asked(api_handler: Any) -> None:
    before = api_handler.prepare
    restrict_api(HubConfig(**CONFIG))
    assert api_handler.prepare == before
