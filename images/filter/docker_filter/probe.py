"""What does a session reach? `python -m docker_filter probe` asks one, for `make check`.

Two containers are made as sessions are, but for what runs in them: one listens, as a neighbour; the
other knocks at the doors that standard input lists in JSON ({"port": of the neighbour, "doors":
[[protocol, address, port]]}), and tells, as a list in JSON, what it saw. Then both are gone.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from docker_filter.decide import FIRST_UID, ROLE_LABEL, Create, Refused, compose
from docker_filter.policy import ConfigError, Policy, load_seccomp
from docker_filter.serve import DOCKER_SOCKET, Docker

PROBE = "probe"
"""The value of the label: the hub, and the limit of sessions, do not count it."""

NEIGHBOUR = "neighbour"
"""As an address: that of the other container, which is not known before."""

SECONDS = 90.0
LOOK_SECONDS = 0.1

# A session may open 20 connections a second: who knocks faster hears of no door.
KNOCK = """
import concurrent.futures, json, os, socket, sys, time

def seen(protocol, address, port):
    try:
        if protocol == "file":
            os.stat(address)
        elif protocol == "raw":
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
        elif protocol == "packet":
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
        else:
            socket.create_connection((address, port), timeout=3).close()
    except TimeoutError:
        return "silent"
    except OSError:
        return "refused"
    return "open"

with concurrent.futures.ThreadPoolExecutor(32) as pool:
    found = []
    for door in json.loads(sys.argv[1]):
        found.append(pool.submit(seen, *door))
        time.sleep(0.1)
print(json.dumps([one.result() for one in found]), flush=True)
time.sleep(600)
"""
LISTEN = """
import socket, sys
server = socket.create_server(("", int(sys.argv[1])))
print("[]", flush=True)
while True:
    server.accept()[0].close()
"""


class Probe:
    """Makes containers as sessions are made; `docker` has to answer as the policy wants."""

    def __init__(self, policy: Policy, seccomp: str, docker: Docker) -> None:
        self._policy, self._seccomp, self._docker = policy, seccomp, docker

    async def results(self, port: int, doors: list[Any]) -> list[Any]:
        """What is seen at each door. Raises Refused, TimeoutError."""
        async with (
            asyncio.timeout(SECONDS),
            self._running(1, LISTEN, str(port)) as neighbour,
        ):
            await self._said(neighbour)
            own = await self._address(neighbour)
            placed = [[kind, own if at == NEIGHBOUR else at, port] for kind, at, port in doors]
            async with self._running(0, KNOCK, json.dumps(placed)) as knocker:
                return await self._said(knocker)

    @asynccontextmanager
    async def _running(self, number: int, code: str, argument: str) -> AsyncIterator[str]:
        """The name of a container that runs this code, and is removed afterwards."""
        name = f"integrable-jupyterhub-probe-{number}"
        image = self._policy.images[0]
        told = await self._done("GET", f"/images/{quote(image)}/json")
        volumes = (told["Config"] or {}).get("Volumes") or {}
        # Above the uids of sessions.
        uid = FIRST_UID + self._policy.max_sessions + number
        body = compose(Create(name, image, ()), uid, volumes, self._policy, self._seccomp)
        body |= {
            "Labels": {ROLE_LABEL: PROBE},
            "Entrypoint": ["python3", "-I", "-c", code],
            "Cmd": [argument],
        }
        try:
            await self._start(name, body)
            yield name
        finally:
            await self._remove(name)

    async def _start(self, name: str, body: object) -> None:
        """Under load runc now and then loses the process it has just made: then another."""
        for again in (True, True, False):
            await self._remove(name)  # also one that was killed with us
            try:
                await self._done("POST", f"/containers/create?name={name}", body)
                await self._done("POST", f"/containers/{name}/start")
            except Refused:
                if not again:
                    raise
            else:
                return

    async def _remove(self, name: str) -> None:
        await self._docker.ask("DELETE", f"/containers/{name}?v=1&force=1")

    async def _address(self, name: str) -> str:
        told = await self._done("GET", f"/containers/{name}/json")
        return str(told["NetworkSettings"]["Networks"][self._policy.network]["IPAddress"])

    async def _said(self, name: str) -> list[Any]:
        """The first line that it prints, which is JSON."""
        while True:
            answer = await self._docker.ask("GET", f"/containers/{name}/logs?stdout=1&stderr=1")
            if answer.status != HTTPStatus.OK:
                raise Refused(f"{name}: {answer.body.decode(errors='replace').strip()}")
            # Each piece has a head of 8 bytes; nothing in it but its length looks like a line.
            line, end, _ = answer.body[8:].partition(b"\n")
            if end:
                try:
                    return list(json.loads(line))
                except ValueError:
                    raise Refused(f"{name}: {line.decode(errors='replace')}") from None
            await asyncio.sleep(LOOK_SECONDS)

    async def _done(self, method: str, path: str, body: object = None) -> Any:
        answer = await self._docker.ask(method, path, body)
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise Refused(f"Docker says: {answer.body.decode(errors='replace').strip()}")
        return answer.json() if answer.body else None


async def run(policy: Policy, seccomp: str, port: int, doors: list[Any]) -> list[Any]:
    """Ask with a connection of its own."""
    docker = Docker(DOCKER_SOCKET)
    try:
        return await Probe(policy, seccomp, docker).results(port, doors)
    finally:
        await docker.close()


def main() -> int:
    """Returns 1, with one line, when it can't be told."""
    try:
        wanted = json.load(sys.stdin)
        found = asyncio.run(run(Policy.load(), load_seccomp(), wanted["port"], wanted["doors"]))
    except (ConfigError, Refused) as error:
        print(f"probe: {error}", file=sys.stderr)
        return 1
    except TimeoutError:
        print(f"probe: nothing came of it within {SECONDS:g} s", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0
