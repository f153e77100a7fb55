"""The matrix of isolation, tried with packets: from sessions, services, the host, and outside."""

from __future__ import annotations

import json
import secrets
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from tests.doors import ECHO, PUBLISHED, Addresses, Door, Probe, Seen, Who, doors, probes
from tests.lab import Host, engine
from tests.lab.client import Hub
from tests.lab.demo import hub_of
from tests.lab.outside import HERE, ROOT, Outside, outside
from tests.lab.outside.world import SERVER

HUB_IMAGE = "integrable-jupyterhub-hub:latest"
NETWORK = "jupyterhub_network"
STRANGER, ELSEWHERE = "stranger", "elsewhere"
STRANGER_IP = "172.27.0.99"  # outside the sessions' range: in it, a container counts as a session
CONTAINERS = {
    Who.HUB: "jupyterhub_hub",
    Who.PROXY: "jupyterhub_proxy",
    Who.DATABASE: "jupyterhub_db",
    Who.STRANGER: STRANGER,
    Who.ELSEWHERE: ELSEWHERE,
}
SERVICES = (Who.HUB, Who.PROXY, Who.DATABASE)

PYTHON = f"chroot {ROOT} python3"
WORLD = (HERE / "world.py").read_text()
PROBE = (HERE / "probe.py").read_text()

# Containers of others, one on the hub's network and one on a network of its own.
OTHERS = f"""
set -e
docker rm -f {STRANGER} {ELSEWHERE} >/dev/null 2>&1 || true
docker network inspect {ELSEWHERE} >/dev/null 2>&1 || docker network create {ELSEWHERE} >/dev/null
run="docker run --detach --volume {ROOT}/world.py:/world.py:ro --entrypoint python3"
program="{HUB_IMAGE} /world.py echo {ECHO}"
$run --name {STRANGER} --network {NETWORK} --ip {STRANGER_IP} $program >/dev/null
$run --name {ELSEWHERE} --network {ELSEWHERE} --publish {PUBLISHED}:{ECHO} $program >/dev/null
"""


@dataclass(frozen=True)
class Container:
    """A container on the hub's network."""

    id: str
    address: str


@dataclass(frozen=True)
class Result:
    """What a probe saw, and what its positive control saw in the same run."""

    probe: Probe
    seen: Seen
    control: Seen | None

    @property
    def problem(self) -> str | None:
        """One line, or None where all is as it should be, and proven."""
        if self.seen not in self.probe.expected:
            expected = " or ".join(sorted(self.probe.expected))
            return f"{self.probe}: {self.seen}, expected {expected}"
        if self.control not in (None, Seen.OPEN):
            return f"{self.probe}: proves nothing, for {self.probe.control} is {self.control}"
        return None

    @property
    def leak(self) -> bool:
        return self.seen is Seen.OPEN and self.seen not in self.probe.expected


@dataclass(frozen=True)
class Storm:
    """Attempts without pause. `count` is the file on the host that says how many so far."""

    host: Host
    count: str

    @property
    def attempts(self) -> int:
        return int(self.host.sh(f"tail -n 1 {self.count} 2>/dev/null || :") or 0)

    def wait(self, attempts: int) -> None:
        """Until there were so many more."""
        enough = self.attempts + attempts
        assert engine.until(lambda: self.attempts >= enough, 60 * self.host.patience), (
            "the storm has ended"
        )


@dataclass(frozen=True)
class World:
    """A deployed host with two sessions, others' containers, listeners, and an outside."""

    host: Host
    outside: Outside
    session: Container
    neighbour: Container
    addresses: Addresses
    user: str
    """Whose the session is."""

    @property
    def doors(self) -> tuple[Door, ...]:
        return doors(self.addresses)

    def matrix(self) -> list[Result]:
        """Everybody at every door."""
        return self.results(probes(self.doors))

    def results(self, tried: Iterable[Probe]) -> list[Result]:
        """Try these, all places at once."""
        tried = list(tried)
        seen = self._seen(tried)
        for _ in range(2):  # who answers datagrams may have been busy; a TCP door opens by itself
            seen |= self._seen(
                probe
                for probe in tried
                if seen[probe] is Seen.SILENT
                and Seen.SILENT not in probe.expected
                and probe.door.protocol != "tcp"
            )
        return [
            Result(probe, seen[probe], seen.get(probe.control) if probe.control else None)
            for probe in tried
        ]

    def _seen(self, tried: Iterable[Probe]) -> dict[Probe, Seen]:
        by_place: dict[Who, list[Probe]] = defaultdict(list)
        for probe in tried:
            by_place[probe.who].append(probe)
        seen: dict[Probe, Seen] = {}
        with ThreadPoolExecutor(len(Who)) as pool:
            for found in pool.map(self._try, by_place.keys(), by_place.values()):
                seen.update(found)
        return seen

    def _try(self, who: Who, tried: list[Probe]) -> dict[Probe, Seen]:
        targets = [(p.door.protocol, p.door.address, p.door.port) for p in tried]
        return dict(zip(tried, self.try_from(who, targets), strict=True))

    def try_from(
        self, who: Who | Container, targets: Iterable[tuple[str, str, int]], *, source: str = ""
    ) -> list[Seen]:
        """What somebody (or a session) sees at (protocol, address, port)."""
        wire = json.dumps([(*target, source) for target in targets]).encode()
        told = self.host.run(
            "sh", "-c", self.command(who), stdin=wire, timeout=60 * self.host.patience
        )
        return [Seen(word) for word in json.loads(told.stdout)]

    def command(self, who: Who | Container) -> str:
        """The shell command that runs the probe there, with its doors on standard input."""
        match who:
            case Who.HOST:
                return f"{PYTHON} /probe.py"
            case Who.OUTSIDE:
                return f"ip netns exec outside {PYTHON} /probe.py"
            case Who.SESSION:
                return self.command(self.session)
            case Container():  # as its user, in all of its confinement
                return f"docker exec -i {who.id} python3 -c {shlex.quote(PROBE)}"
        return f"{_in_network_of(CONTAINERS[who])} {PYTHON} /probe.py"

    @contextmanager
    def storm(self, who: Who, port: int) -> Iterator[Storm]:
        """They try the outside's port without pause, for the length of a `with` block."""
        container = self.session.id if who is Who.SESSION else CONTAINERS[who]
        run = f"docker exec {container} python3 -c {shlex.quote(PROBE)} storm {SERVER} {port}"
        unit = f"storm-{who.name.lower()}"
        storm = Storm(self.host, f"/run/{unit}")
        output = f"StandardOutput=truncate:{storm.count}"
        self.host.sh(
            f"rm -f {storm.count}; systemd-run --quiet --collect --unit {unit} -p {output} {run}"
        )
        try:
            storm.wait(10)
            yield storm
        finally:
            # The end of `docker exec` is not that of what it started.
            self.host.sh(f"systemctl stop {unit}; pkill -f 'storm {SERVER} {port}$'; :")

    def listen(self) -> None:
        """Listeners at ECHO in the services, on the host and in the neighbour, that answer."""
        places = {"host": "", **{name: _in_network_of(name) for name in service_names()}}
        for name, place in places.items():
            unit = f"probe-{name}"
            self.host.sh(
                f"systemctl stop {unit} 2>/dev/null; systemd-run --quiet --collect --unit {unit}"
                f" {place} {PYTHON} /world.py echo {ECHO}"
            )
        code = shlex.quote(WORLD)
        self.host.sh(f"docker exec -d {self.neighbour.id} python3 -c {code} echo {ECHO}")
        own = [probe for probe in probes(self.doors) if probe.who is Who.HOST]
        engine.until(lambda: not shut_out(self.results(own)), 60)  # if not, the matrix tells


def service_names() -> list[str]:
    return [CONTAINERS[service] for service in SERVICES]


def _in_network_of(container: str) -> str:
    return f"nsenter -t $(docker inspect -f '{{{{.State.Pid}}}}' {container}) -n"


@contextmanager
def world(host: Host) -> Iterator[World]:
    """Put all of it up on a deployed lab host, and away again."""
    hub = hub_of(host)[1]
    users = [f"probe{secrets.randbelow(10**9)}" for _ in range(2)]
    with outside(host) as beyond:
        try:
            yield _made(host, beyond, hub, users)
        finally:
            for user in users:
                hub.delete_user(user)
            units = " ".join(f"probe-{name}" for name in ("host", *service_names()))
            host.sh(f"systemctl stop {units}; docker rm -f {STRANGER} {ELSEWHERE}; :")
            host.sh(f"docker network rm {ELSEWHERE}; :")


def _made(host: Host, beyond: Outside, hub: Hub, users: list[str]) -> World:
    for user in users:
        hub.create_user(user)
        hub.start_server(user)
    host.sh(OTHERS)
    session, neighbour = (session_of(host, user) for user in users)
    own = host.sh("ip -4 -o address show dev eth0 | awk '{ split($4, a, \"/\"); print a[1] }'")
    made = World(
        host,
        beyond,
        session,
        neighbour,
        Addresses(
            hub="172.27.0.2",
            database="172.27.0.3",
            proxy="172.27.0.4",
            gateway="172.27.0.1",
            host=own,
            neighbour=neighbour.address,
            elsewhere=address_of(host, ELSEWHERE, ELSEWHERE),
        ),
        users[0],
    )
    made.listen()
    return made


def session_of(host: Host, user: str) -> Container:
    """The container of this user's session."""
    environment = shlex.quote(f'"JUPYTERHUB_USER={user}"')
    found = host.sh(
        "docker ps --quiet --no-trunc --filter label=integrable-jupyterhub.role=session"
        " | xargs -r docker inspect --format '{{.Id}} {{json .Config.Env}}'"
        f" | grep -F {environment}"
    )
    container = found.partition(" ")[0]
    return Container(container, address_of(host, container, NETWORK))


def address_of(host: Host, container: str, network: str) -> str:
    template = f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}'
    return host.sh(f"docker inspect -f {shlex.quote(template)} {container}")


def problems(results: Iterable[Result]) -> list[str]:
    """One line for each result that is not as it should be."""
    return [result.problem for result in results if result.problem]


def shut_out(results: Iterable[Result]) -> list[str]:
    """The doors that were shut to those who may pass, and so prove nothing."""
    return [str(r.probe) for r in results if Seen.OPEN in r.probe.expected and r.seen != Seen.OPEN]


def leaks(results: Iterable[Result]) -> list[str]:
    """The doors that stood open to those who must not pass."""
    return [str(result.probe) for result in results if result.leak]
