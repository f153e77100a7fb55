"""The Docker filter at work, on Unix sockets, in front of a Docker that only pretends."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import stat
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import ClientSession, UnixConnector, web
from docker_filter import health, serve
from docker_filter.decide import FIRST_UID, MAX_BODY, ROLE_LABEL, UID_LABEL
from docker_filter.policy import Policy
from yarl import URL

from tests.unit.images.samples import FILTER_POLICY, in_loop

NAME = "jupyterhub-session-a"
IMAGE = FILTER_POLICY["images"][0]
BODY = {"Image": IMAGE, "Env": ["TOKEN=s3cret"]}
CREATE = f"/v1.41/containers/create?name={NAME}"
LIST = "/v1.41/containers/json?limit=-1&all=1&size=0&trunc_cmd=0"
SESSION_ID, SERVICE_ID = "5e" * 32, "a0" * 32


class FakeDocker:
    """Docker's API as far as the filter asks it; notes all that it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.sessions: list[dict[str, Any]] = []
        self.status: dict[str, int] = {}
        self.volumes: dict[str, Any] | None = None

    async def handle(self, request: web.BaseRequest) -> web.Response:
        path, body = request.raw_path, await request.read()
        self.asked.append((request.method, path, json.loads(body) if body else None))
        await asyncio.sleep(0)
        for beginning, status in self.status.items():
            if path.startswith(beginning):
                return web.json_response({"message": "Docker's own words"}, status=status)
        if path.startswith("/containers/json?"):
            return web.json_response(self.sessions)
        if path.startswith("/images/"):
            return web.json_response({"Config": {"Volumes": self.volumes}})
        if path.startswith("/containers/create?"):
            uid = self.asked[-1][2]["Labels"][UID_LABEL]
            await asyncio.sleep(0.01)  # Docker lists a container only when it is made
            name = "/" + path.partition("name=")[2]
            self.sessions.append({"Names": [name], "Labels": {UID_LABEL: uid}})
            return web.json_response({"Id": SESSION_ID, "Warnings": []}, status=201)
        if path.endswith("/json"):
            return self.inspected(path.split("/")[2])
        return web.Response(status=204)

    def inspected(self, container: str) -> web.Response:
        by_name = {NAME: SESSION_ID, "jupyterhub_db": SERVICE_ID}
        roles = {SESSION_ID: "session", SERVICE_ID: "service"}
        found = by_name.get(container, container)
        if found not in roles:
            return web.json_response({"message": "No such container"}, status=404)
        labels = {ROLE_LABEL: roles[found]}
        return web.json_response({"Id": found, "Config": {"Labels": labels}, "State": {}})


class Both:
    """The filter in front of a FakeDocker, and a client of it."""

    def __init__(self, docker: FakeDocker, client: ClientSession, path: Path) -> None:
        self.docker, self.client, self.path = docker, client, path

    async def ask(
        self, method: str, target: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        url = URL(f"http://docker{target}", encoded=True)
        async with self.client.request(method, url, data=data, headers=headers) as answer:
            text = await answer.read()
            return answer.status, json.loads(text) if text else None

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path, _ in self.docker.asked]


@asynccontextmanager
async def filtered(folder: Path, docker: bool = True, **changes: Any) -> AsyncIterator[Both]:
    fake = FakeDocker()
    policy = Policy.model_validate({**FILTER_POLICY, "hub_uid": os.getuid() or 1, **changes})
    runner = web.ServerRunner(web.Server(fake.handle))
    await runner.setup()
    if docker:
        await web.UnixSite(runner, str(folder / "raw")).start()
    path = folder / "filtered"
    async with (
        serve.serving(policy, "{}", path, folder / "raw"),
        ClientSession(connector=UnixConnector(str(path))) as client,
    ):
        yield Both(fake, client, path)
    await runner.cleanup()


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks is the hub, unless a test says else: uid 0 can't be the hub's."""
    if os.getuid() == 0:
        monkeypatch.setattr(serve, "peer", lambda _: 1)


# --- What is forwarded -------------------------------------------------------------------------
@in_loop
async def test_docker_gets_what_the_filter_composes(tmp_path: Path) -> None:
    async with filtered(tmp_path) as both:
        both.docker.volumes = {"/data": {}}
        status, answer = await both.ask("POST", CREATE, BODY, Authorization="x", Cookie="y")
        assert (status, answer["Id"]) == (201, SESSION_ID)
        *looks, (method, path, body) = both.docker.asked
    assert [path.partition("?")[0] for _, path, _ in looks] == [
        "/containers/json",
        f"/images/{IMAGE.replace(':', '%3A')}/json",
    ]
    assert "all=1" in looks[0][1]  # ended sessions count too
    assert (method, path) == ("POST", f"/containers/create?name={NAME}")
    assert body["User"] == f"{FIRST_UID}:100"
    assert body["Env"] == BODY["Env"]
    assert "/data" in body["HostConfig"]["Tmpfs"]


@pytest.mark.parametrize(
    ("method", "target", "forwarded"),
    [
        ("POST", f"/v1.41/containers/{NAME}/start", f"/containers/{SESSION_ID}/start"),
        ("DELETE", f"/v1.41/containers/{NAME}?v=0", f"/containers/{SESSION_ID}?v=1&force=1"),
    ],
)
@pytest.mark.parametrize("by", [NAME, SESSION_ID])
@in_loop
async def test_a_session_is_looked_at_and_then_acted_on_by_its_id(
    tmp_path: Path, method: str, target: str, forwarded: str, by: str
) -> None:
    async with filtered(tmp_path) as both:
        assert (await both.ask(method, target.replace(NAME, by)))[0] == 204
        assert both.asked == [("GET", f"/containers/{by}/json"), (method, forwarded)]


@in_loop
async def test_an_inspected_session_is_told_of_with_one_look(tmp_path: Path) -> None:
    async with filtered(tmp_path) as both:
        status, told = await both.ask("GET", f"/v1.41/containers/{NAME}/json")
        assert (status, told["Id"]) == (200, SESSION_ID)
        assert both.asked == [("GET", f"/containers/{NAME}/json")]


@in_loop
async def test_the_hub_hears_of_sessions_only_and_little_of_them(tmp_path: Path) -> None:
    mine: dict[str, Any] = {"Id": SESSION_ID, "Names": [f"/{NAME}"], "State": "running"}
    mine |= {"Labels": {ROLE_LABEL: "session", UID_LABEL: "1900000000"}}
    async with filtered(tmp_path) as both:
        both.docker.sessions = [
            {**mine, "Mounts": ["m"], "Command": "c", "NetworkSettings": {}},
            {**mine, "Id": SERVICE_ID, "Labels": {ROLE_LABEL: "service"}},
        ]
        assert await both.ask("GET", LIST) == (200, [mine])
        ((method, path),) = both.asked
    assert method == "GET"
    assert path.startswith("/containers/json?all=1&filters=")
    assert unquote(path).endswith('{"label": ["integrable-jupyterhub.role=session"]}')


@pytest.mark.parametrize("by", ["jupyterhub_db", SERVICE_ID])
@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/containers/{}/json"),
        ("POST", "/containers/{}/start"),
        ("DELETE", "/containers/{}"),
    ],
)
@in_loop
async def test_other_containers_are_neither_shown_nor_touched(
    tmp_path: Path, method: str, target: str, by: str
) -> None:
    async with filtered(tmp_path) as both:
        status, told = await both.ask(method, target.format(by))
        assert (status, told) == (403, {"message": "Docker filter: not a session"})
        assert both.asked == [("GET", f"/containers/{by}/json")]


@in_loop
async def test_a_refused_request_reaches_docker_in_no_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with filtered(tmp_path) as both:
        body = {**BODY, "HostConfig": {"Privileged": True}}
        status, told = await both.ask("POST", CREATE, body)
        assert status == 403
        assert both.asked == []
    (line,) = [record.getMessage() for record in caplog.records if record.name == "docker_filter"]
    assert line == "403 POST /v1.41/containers/create: 'HostConfig' is not the hub's to choose"
    assert told == {"message": "Docker filter: 'HostConfig' is not the hub's to choose"}
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("begins", "status", "said"), [("/images/", 404, 404), ("/containers/create", 409, 409)]
)
@in_loop
async def test_what_docker_says_is_handed_on(
    tmp_path: Path, begins: str, status: int, said: int
) -> None:
    async with filtered(tmp_path) as both:
        both.docker.status = {begins: status}
        assert await both.ask("POST", CREATE, BODY) == (said, {"message": "Docker's own words"})


@in_loop
async def test_a_container_that_is_gone_is_404(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What the hub's spawner takes for the end of a session; nothing to log."""
    async with filtered(tmp_path) as both:
        assert (await both.ask("GET", "/containers/gone/json"))[0] == 404
    assert not [record for record in caplog.records if record.name == "docker_filter"]


# --- How many ----------------------------------------------------------------------------------
@in_loop
async def test_sessions_made_at_once_have_uids_of_their_own_and_a_limit(tmp_path: Path) -> None:
    async with filtered(tmp_path, max_sessions=5) as both:
        targets = [f"/containers/create?name={NAME}{i}" for i in range(8)]
        answers = await asyncio.gather(*(both.ask("POST", target, BODY) for target in targets))
        assert sorted(status for status, _ in answers) == [201] * 5 + [429] * 3
        uids = [body["User"] for method, _, body in both.docker.asked if method == "POST"]
    assert sorted(uids) == [f"{FIRST_UID + i}:100" for i in range(5)]


# --- When Docker is away -----------------------------------------------------------------------
@in_loop
async def test_an_engine_that_is_away_is_503(tmp_path: Path) -> None:
    """Which the hub's spawner sits out."""
    async with filtered(tmp_path, docker=False) as both:
        for method, target, body in [
            ("POST", CREATE, BODY),
            ("GET", f"/containers/{NAME}/json", None),
            ("DELETE", f"/containers/{NAME}", None),
        ]:
            assert (await both.ask(method, target, body))[0] == 503


@in_loop
async def test_an_engine_in_trouble_does_not_end_sessions(tmp_path: Path) -> None:
    """dockerspawner would take a 500 for an answer: the session is gone."""
    async with filtered(tmp_path) as both:
        both.docker.status = {f"/containers/{NAME}/json": 500}
        assert (await both.ask("GET", f"/containers/{NAME}/json"))[0] == 503


@in_loop
async def test_what_nobody_foresaw_is_503_without_a_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with filtered(tmp_path) as both:
        both.docker.sessions = [{"Names": None, "Labels": "s3cret"}]
        assert (await both.ask("POST", CREATE, BODY))[0] == 503
    assert "TypeError" in caplog.text
    assert "s3cret" not in caplog.text
    assert "Traceback" not in caplog.text


# --- Bounds ------------------------------------------------------------------------------------
@in_loop
async def test_a_large_body_is_refused_before_its_end(tmp_path: Path) -> None:
    async with filtered(tmp_path) as both:
        assert (await both.ask("POST", CREATE, b" " * (MAX_BODY + 1)))[0] == 413
        assert both.asked == []


@in_loop
async def test_a_compressed_body_is_not_unpacked(tmp_path: Path) -> None:
    async with filtered(tmp_path) as both:
        body = zlib.compress(json.dumps(BODY).encode())
        headers = {"Content-Encoding": "deflate"}
        assert (await both.ask("POST", CREATE, body, **headers))[0] == 403


@in_loop
async def test_a_body_has_to_come_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "READ_SECONDS", 0.05)
    async with filtered(tmp_path) as both:
        reader, writer = await asyncio.open_unix_connection(str(both.path))
        writer.write(f"POST {CREATE} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{".encode())
        assert b" 408 " in await reader.readline()
        writer.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /_ping HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\nHost: x\r\n" + b"X: x\r\n" * 200 + b"\r\n",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"POST /_ping HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET http://docker/_ping HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1.41/../_ping HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /%5fping HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET //_ping HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /_ping# HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT docker:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=lambda request: repr(request[:40]),
)
@in_loop
async def test_what_is_no_plain_request_gets_no_further(tmp_path: Path, request_: bytes) -> None:
    async with filtered(tmp_path) as both:
        assert (await both.ask("GET", "/_ping"))[0] == 204  # the positive control
        reader, writer = await asyncio.open_unix_connection(str(both.path))
        writer.write(request_)
        assert (await reader.readline()).split()[1] in (b"400", b"403")
        writer.close()
        assert both.asked == [("GET", "/_ping")]


@in_loop
async def test_connections_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "MAX_CONNECTIONS", 3)
    async with filtered(tmp_path) as both:
        writers = []
        for _ in range(3):
            _, writer = await asyncio.open_unix_connection(str(both.path))
            writers.append(writer)
        reader, writer = await asyncio.open_unix_connection(str(both.path))
        assert await reader.read() == b""
        for open_one in [*writers, writer]:
            open_one.close()
        for _ in range(100):
            try:
                assert (await both.ask("GET", "/_ping"))[0] == 204
                break
            except OSError:
                await asyncio.sleep(0.01)
        else:
            pytest.fail("no connection after others were closed")


def test_lines_have_a_bound_and_none_goes_unmentioned() -> None:
    now = 0.0
    limited = serve.Limited(lines=2, clock=lambda: now)

    def said(text: str) -> str | None:
        record = logging.LogRecord("n", logging.WARNING, "f", 1, "%s", (text,), None)
        return record.getMessage() if limited.filter(record) else None

    assert [said("1"), said("2"), said("3"), said("4")] == ["1", "2", None, None]
    now = 30.0
    assert [said("5"), said("6")] == ["5 (and 2 lines before, left out)", None]


@in_loop
async def test_a_broken_request_is_one_line_that_quotes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with filtered(tmp_path) as both:
        reader, writer = await asyncio.open_unix_connection(str(both.path))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX: s3cret" + b"x" * 9000 + b"\r\n\r\n")
        await reader.read()
        writer.close()
    (record,) = [record for record in caplog.records if record.name.startswith("aiohttp")]
    assert record.exc_info  # the positive control: there is a traceback to leave out
    line = serve.OneLine().format(record)
    assert line == "docker-filter: Error handling request from: LineTooLong"


# --- Who asks ----------------------------------------------------------------------------------
@in_loop
async def test_only_the_hub_and_for_its_health_the_filter_itself_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with filtered(tmp_path, hub_uid=65602) as both:
        for uid, statuses in [
            (65602, [204, 201]),
            (os.getuid(), [204, 403]),
            (65604, [403, 403]),
        ]:
            monkeypatch.setattr(serve, "peer", lambda _, uid=uid: uid)
            both.docker.sessions.clear()
            asked = [await both.ask("GET", "/_ping"), await both.ask("POST", CREATE, BODY)]
            assert [status for status, _ in asked] == statuses


def test_a_peer_is_who_the_kernel_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    here, there = socket.socketpair()
    with here, there:

        class Request:
            class transport:  # noqa: N801
                @staticmethod
                def get_extra_info(_: str) -> socket.socket:
                    return here

        request: Any = Request()
        assert serve.peer(request) == os.getuid()


@in_loop
async def test_the_socket_is_for_user_and_group_and_a_stale_one_makes_way(tmp_path: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "filtered"))
    stale.close()
    async with filtered(tmp_path) as both:
        mode = both.path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o660
        assert (await both.ask("GET", "/_ping"))[0] == 204


@in_loop
async def test_health_is_that_of_filter_and_docker(tmp_path: Path) -> None:
    def healthy() -> bool:
        return health.answers(tmp_path / "filtered")

    assert not healthy()
    async with filtered(tmp_path) as both:
        both.docker.status = {"/_ping": 200}
        assert await asyncio.to_thread(healthy)
        both.docker.status = {"/_ping": 500}
        assert not await asyncio.to_thread(healthy)


@in_loop
async def test_a_socket_where_nobody_listens_any_more_is_noticed(tmp_path: Path) -> None:
    """docker.socket was made anew: what is mounted here is the old one."""
    path = tmp_path / "raw"
    server = await asyncio.start_unix_server(lambda _, writer: writer.close(), str(path))
    watch = asyncio.ensure_future(serve.until_stale(path, every=0.01, patience=0.2))
    await asyncio.sleep(0)
    assert not (await asyncio.wait([watch], timeout=0.4))[0]
    server.close()
    await asyncio.wait_for(watch, 5)


@in_loop
async def test_a_restart_of_docker_is_sat_out(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    watch = asyncio.ensure_future(serve.until_stale(path, every=0.01, patience=5))
    assert not (await asyncio.wait([watch], timeout=0.1))[0]
    async with await asyncio.start_unix_server(lambda _, writer: writer.close(), str(path)):
        assert not (await asyncio.wait([watch], timeout=0.1))[0]
    watch.cancel()
