"""What opens one session opens nothing else: not another session, not the hub."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
import requests
import websocket

from tests.deployment import Run
from tests.lab import Host
from tests.lab.client import Hub, Session
from tests.lab.demo import hub_of
from tests.sessions import name_of


@dataclass(frozen=True)
class Credential:
    """What somebody holds who has a session: sent by hand, for no browser guards it."""

    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)


WAYS = ["header", "bearer", "query", "cookie", "server", "nothing"]


def credentials(session: Session) -> dict[str, Credential]:
    """Everything that user code and page of this session can get hold of."""
    browser = requests.Session()
    browser.trust_env = False  # or REQUESTS_CA_BUNDLE would win over verify
    browser.get(session.link(), verify=str(session.ca), timeout=30).raise_for_status()
    jar = browser.cookies.get_dict()
    xsrf = jar["_xsrf"]
    own = session.run("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").stdout.strip()
    assert own
    cookies = "; ".join(f"{name}={value}" for name, value in jar.items())
    return {
        "header": Credential({"Authorization": f"token {session.token}"}),
        "bearer": Credential({"Authorization": f"Bearer {session.token}"}),
        "query": Credential(query={"token": session.token}),
        "cookie": Credential({"Cookie": cookies, "X-XSRFToken": xsrf}),
        "server": Credential({"Authorization": f"token {own}"}),
        "nothing": Credential(),
    }


@dataclass(frozen=True)
class Two:
    """A session, what opens it, and the session of somebody else, with a kernel."""

    hub: Hub
    mine: Session
    keys: dict[str, Credential]
    theirs: Session
    kernel: str

    def ask(self, key: Credential, method: str, url: str) -> requests.Response:
        return requests.request(
            method,
            url,
            headers={"Accept": "application/json", **key.headers},
            params=key.query,
            json={} if method in ("POST", "PUT", "PATCH") else None,
            verify=str(self.hub.ca),
            timeout=60,
        )

    def doors_of_the_session(self) -> Iterator[tuple[str, str]]:
        at = self.theirs.url
        for path in ("lab", "notebooks/x.ipynb", "files/secret.txt", "api/status", "api/sessions"):
            yield "GET", f"{at}/{path}"
        for path in ("api/contents/secret.txt", "api/kernels", "api/terminals", "api/me"):
            yield "GET", f"{at}/{path}"
        yield "PUT", f"{at}/api/contents/theirs.txt"
        yield "DELETE", f"{at}/api/contents/secret.txt"
        yield "POST", f"{at}/api/kernels"
        yield "POST", f"{at}/api/terminals"
        yield "DELETE", f"{at}/api/kernels/{self.kernel}"
        yield "POST", f"{at}/api/kernels/{self.kernel}/interrupt"
        yield "POST", f"{at}/api/shutdown"

    def doors_of_the_hub(self) -> Iterator[tuple[str, str]]:
        api, me, them = self.hub.api_url, name_of(self.mine), name_of(self.theirs)
        for path in ("users", "services", "groups", "proxy", "info", f"users/{them}"):
            yield "GET", f"{api}/{path}"
        for name in (me, them):
            yield "GET", f"{api}/users/{name}/tokens"
            yield "POST", f"{api}/users/{name}/tokens"
            yield "POST", f"{api}/users/{name}/server"
            yield "DELETE", f"{api}/users/{name}/server"
            yield "PATCH", f"{api}/users/{name}"
            yield "DELETE", f"{api}/users/{name}"
        yield "POST", f"{api}/users/{them}/activity"
        yield "POST", f"{api}/users"
        yield "POST", f"{api}/users/somebody"
        yield "POST", f"{api}/shutdown"
        yield "POST", f"{api}/proxy"
        for page in ("metrics", "admin", "home", "token", f"spawn/{them}"):
            yield "GET", f"{self.hub.public_url}/hub/{page}"


def opened(hub: Hub, name: str) -> Session:
    hub.create_user(name)
    hub.start_server(name)
    return hub.session(name, hub.mint_token(name))


@pytest.fixture(scope="module")
def two(host: Host, first_run: Run) -> Iterator[Two]:
    hub = hub_of(host)[1]
    names = [f"s{secrets.randbelow(10**10)}" for _ in range(2)]
    try:
        mine, theirs = (opened(hub, name) for name in names)
        body = {"type": "file", "format": "text", "content": "theirs"}
        assert theirs.request("PUT", "/api/contents/secret.txt", body=body).status_code == 201
        yield Two(hub, mine, credentials(mine), theirs, theirs.start_kernel())
    finally:
        for name in names:
            hub.delete_user(name)


@pytest.mark.parametrize("way", WAYS)
def test_it_is_403_at_everybody_elses_doors(two: Two, way: str) -> None:
    doors = [*two.doors_of_the_session(), *two.doors_of_the_hub()]
    seen = {(m, urlsplit(u).path): two.ask(two.keys[way], m, u).status_code for m, u in doors}
    # 404: the hub does not say whether there is such a user. 405: not even a handler.
    assert {door: status for door, status in seen.items() if status not in (403, 404, 405)} == {}
    assert list(seen.values()).count(403) > len(seen) / 2
    socket = f"ws{two.theirs.url.removeprefix('http')}/api/kernels/{two.kernel}/channels"
    key = two.keys[way]
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(
            f"{socket}?{'&'.join(f'{k}={v}' for k, v in key.query.items())}",
            header=[f"{k}: {v}" for k, v in key.headers.items()],
            origin=two.hub.public_url,
            sslopt={"ca_certs": str(two.hub.ca)},
            http_no_proxy=["*"],
            timeout=30,
        )
    assert refused.value.status_code in (302, 403)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "nothing"])
def test_and_it_opens_its_own(two: Two, way: str) -> None:
    """The positive control: these are live credentials."""
    own = two.ask(two.keys[way], "GET", f"{two.mine.url}/api/contents")
    assert own.status_code == 200


def test_the_other_session_lost_nothing(two: Two) -> None:
    assert two.theirs.request("GET", "/api/contents/secret.txt").json()["content"] == "theirs"
    assert two.theirs.request("GET", "/api/contents/theirs.txt").status_code == 404
    assert [k["id"] for k in two.theirs.request("GET", "/api/kernels").json()] == [two.kernel]
    assert two.theirs.request("GET", "/api/terminals").json() == []
    assert two.theirs.run("6*7", kernel=two.kernel).value == "42"


@pytest.mark.parametrize("told", [{}, {"X-XSRFToken": "2|a|b|1"}], ids=["no token", "a wrong one"])
def test_a_cookie_alone_changes_nothing(two: Two, told: dict[str, str]) -> None:
    """What a page of somebody else could have a browser send."""
    cookie = {"Cookie": two.keys["cookie"].headers["Cookie"], "Origin": "https://evil.example"}
    for method, path in (("POST", "api/kernels"), ("PUT", "api/contents/x.txt")):
        answer = two.ask(Credential({**cookie, **told}), method, f"{two.mine.url}/{path}")
        assert answer.status_code == 403, path
    kernel = two.mine.start_kernel()
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(
            f"ws{two.mine.url.removeprefix('http')}/api/kernels/{kernel}/channels",
            header=[f"Cookie: {cookie['Cookie']}"],
            origin=cookie["Origin"],
            sslopt={"ca_certs": str(two.hub.ca)},
            http_no_proxy=["*"],
            timeout=30,
        )
    assert refused.value.status_code == 403
