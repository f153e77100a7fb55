"""The filter's two ends: a socket for the hub, and Docker's."""

import asyncio
import json
import logging
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, UnixConnector, web
from yarl import URL

from docker_filter.decide import (
    MAX_BODY,
    ROLE_LABEL,
    SESSION,
    Create,
    List,
    Ping,
    Refused,
    Request,
    Touch,
    compose,
    is_session,
    parse,
    room,
    told,
)
from docker_filter.health import SOCKET
from docker_filter.policy import ConfigError, Policy, load_seccomp

DOCKER_SOCKET = Path("/var/run/docker.sock")

# The hub has 16 threads for Docker.
MAX_CONNECTIONS = 64
MAX_HEADERS, MAX_HEADER = 32, 4096
IDLE_SECONDS = 75
READ_SECONDS = 10
LOCK_SECONDS = 50
DOCKER_SECONDS = 300
LINES_PER_MINUTE = 60
LOOK_SECONDS, STALE_SECONDS = 5.0, 30.0

log = logging.getLogger("docker_filter")


@dataclass(frozen=True)
class Answer:
    """What Docker or the filter says."""

    status: int
    body: bytes

    @classmethod
    def saying(cls, status: int, message: str) -> "Answer":
        """In the form of Docker's own errors."""
        return cls(status, json.dumps({"message": message}).encode())

    def json(self) -> Any:
        return json.loads(self.body)


class Docker:
    """Docker's API. Whatever keeps it from answering is a 503, which the hub's spawner sits out."""

    def __init__(self, path: Path) -> None:
        self._http = ClientSession(
            # A connection for each request: none is stale after a restart of Docker.
            connector=UnixConnector(str(path), limit=MAX_CONNECTIONS, force_close=True),
            timeout=ClientTimeout(total=DOCKER_SECONDS, sock_connect=5),
            cookie_jar=DummyCookieJar(),
        )

    async def ask(self, method: str, path: str, body: object = None) -> Answer:
        """One request; `path` is composed by the filter alone."""
        url = URL(f"http://docker{path}", encoded=True)
        try:
            async with self._http.request(
                method, url, json=body, allow_redirects=False
            ) as response:
                return Answer(response.status, await response.read())
        except (ClientError, OSError, TimeoutError) as error:
            raise Refused(f"Docker does not answer ({type(error).__name__})", 503) from None

    async def close(self) -> None:
        await self._http.close()


class Filter:
    """Answers the hub's requests by asking Docker its own."""

    def __init__(self, policy: Policy, seccomp: str, docker: Docker) -> None:
        self._policy, self._seccomp, self._docker = policy, seccomp, docker
        # From counting the sessions until the new one is counted.
        self._creating = asyncio.Lock()

    async def answer(self, request: Request) -> Answer:
        """Raises Refused."""
        match request:
            case Ping():
                return await self._docker.ask("GET", "/_ping")
            case List():
                sessions = told(await self._sessions())
                return Answer(HTTPStatus.OK, json.dumps(sessions).encode())
            case Create():
                return await self._create(request)
            case Touch("inspect", container):
                return (await self._session(container))[1]
            case Touch("start", container):
                found, _ = await self._session(container)
                return await self._docker.ask("POST", f"/containers/{found}/start")
            case Touch("remove", container):
                found, _ = await self._session(container)
                return await self._docker.ask("DELETE", f"/containers/{found}?v=1&force=1")
        raise AssertionError(request)

    async def _create(self, wanted: Create) -> Answer:
        try:
            async with asyncio.timeout(LOCK_SECONDS):
                await self._creating.acquire()
        except TimeoutError:
            raise Refused("Docker is busy making other sessions", 503) from None
        try:
            uid = room(await self._sessions(), wanted.name, self._policy)
            image = await self._docker.ask("GET", f"/images/{quote(wanted.image)}/json")
            if image.status != HTTPStatus.OK:
                return image
            volumes = (image.json()["Config"] or {}).get("Volumes") or {}
            body = compose(wanted, uid, volumes, self._policy, self._seccomp)
            return await self._docker.ask("POST", f"/containers/create?name={wanted.name}", body)
        finally:
            self._creating.release()

    async def _sessions(self) -> list[dict[str, Any]]:
        """All of them, ended ones included."""
        ours = quote(json.dumps({"label": [f"{ROLE_LABEL}={SESSION}"]}))
        sessions = await self._docker.ask("GET", f"/containers/json?all=1&filters={ours}")
        if sessions.status != HTTPStatus.OK:
            raise Refused("Docker does not list the sessions", 503)
        return list(sessions.json())

    async def _session(self, container: str) -> tuple[str, Answer]:
        """The id of a session, and what Docker says of it. By its id no renamed one can slip in."""
        told = await self._docker.ask("GET", f"/containers/{container}/json")
        if told.status == HTTPStatus.NOT_FOUND:
            raise Refused("No such container", 404)
        if told.status != HTTPStatus.OK:
            # dockerspawner would take a 500 for the session's end.
            raise Refused("Docker does not tell of this container", 503)
        found = told.json()
        if not is_session(found):
            raise Refused("not a session")
        return str(found["Id"]), told


class Server(web.Server):
    """aiohttp's, with a bound to the number of connections, and so of requests at a time."""

    def __call__(self) -> Any:
        return super().__call__() if len(self.connections) < MAX_CONNECTIONS else _Full()


class _Full(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        log.warning("refused: more than %d connections", MAX_CONNECTIONS)
        transport.close()


class Limited(logging.Filter):
    """Lets a number of lines a minute through, and tells how many it left out."""

    def __init__(
        self, lines: int = LINES_PER_MINUTE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._lines, self._clock = lines, clock
        self._room, self._last, self._left_out = float(lines), clock(), 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = self._clock()
        self._room = min(self._lines, self._room + (now - self._last) * self._lines / 60)
        self._last = now
        if self._room < 1:
            self._left_out += 1
            return False
        self._room -= 1
        if self._left_out:
            record.msg = f"{record.getMessage()} (and {self._left_out} lines before, left out)"
            record.args, self._left_out = None, 0
        return True


class OneLine(logging.Formatter):
    """A line for each record, aiohttp's too; no traceback, for it quotes what was sent."""

    def format(self, record: logging.LogRecord) -> str:
        kind = record.exc_info[0] if record.exc_info else None
        line = " ".join(record.getMessage().split())
        return f"docker-filter: {line}{f': {kind.__name__}' if kind else ''}"


def peer(request: web.BaseRequest) -> int:
    """The uid of the process at the other end, by the kernel (unix(7), SO_PEERCRED)."""
    transport = request.transport
    if transport is None:
        raise Refused("gone")
    connection = transport.get_extra_info("socket")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int(struct.unpack("3i", credentials)[1])


async def body_of(request: web.BaseRequest) -> bytes:
    """The body, within bounds of size and time. Raises Refused."""
    body = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY:
                    raise Refused(f"a body of more than {MAX_BODY} bytes", 413)
    except TimeoutError:
        raise Refused("the body did not come in time", 408) from None
    return bytes(body)


def handler(policy: Policy, filter_: Filter) -> Callable[[web.BaseRequest], Any]:
    """The way of each request. All that a refusal logs is what was asked for and why not."""

    async def handle(request: web.BaseRequest) -> web.Response:
        what = ascii(f"{request.method} {request.raw_path.partition('?')[0]}")[1:-1][:200]
        try:
            uid = peer(request)
            if uid not in (policy.hub_uid, os.getuid()):
                raise Refused(f"uid {uid} is not the hub's")
            asked = parse(request.method, request.raw_path, await body_of(request), policy)
            if uid != policy.hub_uid and not isinstance(asked, Ping):
                raise Refused(f"uid {uid} may ask for /_ping only")
            answer = await filter_.answer(asked)
        except Refused as refused:
            answer = Answer.saying(refused.status, f"Docker filter: {refused}")
            if refused.status != HTTPStatus.NOT_FOUND:
                log.warning("%d %s: %s", refused.status, what, refused)
        except Exception as error:  # noqa: BLE001  (no traceback: it could hold an environment)
            answer = Answer.saying(503, "Docker filter: failed, see its log")
            log.error("503 %s: %s", what, type(error).__name__)
        response = web.Response(
            status=answer.status, body=answer.body, content_type="application/json"
        )
        if not request.content.is_eof():
            response.force_close()
        return response

    return handle


@asynccontextmanager
async def serving(
    policy: Policy, seccomp: str, path: Path = SOCKET, upstream: Path = DOCKER_SOCKET
) -> AsyncIterator[Server]:
    """The socket at `path` answers. A stale one makes way; requests under way are finished."""
    docker = Docker(upstream)
    server = Server(
        handler(policy, Filter(policy, seccomp, docker)),
        keepalive_timeout=IDLE_SECONDS,
        max_line_size=MAX_HEADER,
        max_field_size=MAX_HEADER,
        max_headers=MAX_HEADERS,
        auto_decompress=False,
        lingering_time=0,
    )
    runner = web.ServerRunner(server)
    await runner.setup()
    mask = os.umask(0o117)  # the socket is for the group too, to which the hub belongs
    try:
        await web.UnixSite(runner, str(path), backlog=MAX_CONNECTIONS).start()
    finally:
        os.umask(mask)
    try:
        yield server
    finally:
        await runner.cleanup()
        await docker.close()


async def until_stale(
    path: Path = DOCKER_SOCKET, every: float = LOOK_SECONDS, patience: float = STALE_SECONDS
) -> None:
    """Return once nobody has listened at `path` for `patience` seconds.

    systemd sometimes makes Docker's socket anew (docker.socket, after a failed start). What is
    mounted here is then the old one, for ever: only a new start of the container mounts the new.
    """
    silent_since = None
    while True:
        try:
            _, writer = await asyncio.open_unix_connection(str(path))
            writer.close()
            silent_since = None
        except OSError:
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since >= patience:
                return
        await asyncio.sleep(every)


async def serve(policy: Policy, seccomp: str) -> None:
    """Serve until SIGTERM, or until Docker's socket is a stale one: Docker starts us again."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(policy, seccomp):
        log.warning("serving; at most %d sessions", policy.max_sessions)
        ends = [asyncio.ensure_future(until_stale()), asyncio.ensure_future(stop.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            log.warning("nobody listens at Docker's socket any more: ending, to be started anew")


def main() -> int:
    """Returns 1 when the configuration is wrong."""
    out = logging.StreamHandler(sys.stderr)
    out.addFilter(Limited())
    out.setFormatter(OneLine())
    logging.basicConfig(handlers=[out], level=logging.WARNING)
    try:
        policy, seccomp = Policy.load(), load_seccomp()
    except ConfigError as error:
        log.error("%s", error)
        return 1
    asyncio.run(serve(policy, seccomp))
    return 0
