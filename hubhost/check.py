"""The isolation check: which doors a session is tried at, what has to be seen, and the verdict.

What is open follows from the policy alone (hubhost.isolation). No probe leaves the machine: it goes
to the hub's network and to the host's own addresses, and to others only where a person names them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from hubhost.errors import Problem, Problems
from hubhost.isolation import (
    DATABASE_PORT,
    HUB_PORT,
    PROXY_API_PORT,
    PROXY_PORT,
    SESSION_PORT,
    Policy,
)
from hubhost.preflight import Listener
from hubhost.settings import Settings

NEIGHBOUR = "neighbour"
"""As an address: the other session's, as images/filter/docker_filter/probe.py has it."""

OPEN = "open"
SOCKETS = ("/var/run/docker.sock", "/run/docker-filter/docker.sock")
DOCKER_DNS = "127.0.0.11"
SECONDS = 3
"""For each door; with the time that probe.py takes."""


@dataclass(frozen=True)
class Door:
    """What is tried from a session: `protocol` as probe.py has them.

    `control` says who has to find it open, or the session's refusal proves nothing: the hub, the
    host, or nobody, where it is known otherwise that the door is there.
    """

    name: str
    protocol: str
    address: str = ""
    port: int = 0
    open: bool = False
    control: str | None = None

    @property
    def target(self) -> tuple[str, str, int]:
        return self.protocol, self.address, self.port


@dataclass(frozen=True)
class Verdict:
    """What came of a door. `leak`: open to a session, and must not be."""

    door: Door
    seen: str
    control: str | None

    @property
    def leak(self) -> bool:
        return self.seen == OPEN and not self.door.open

    @property
    def problem(self) -> str | None:
        """In a few words, or None."""
        if self.leak:
            return "is open to sessions"
        if self.door.open and self.seen != OPEN:
            return f"is {self.seen} to sessions, which need it"
        if self.door.control and self.control != OPEN:
            return f"proves nothing: to the {self.door.control} it is {self.control} too"
        return None

    def __str__(self) -> str:
        word = "LEAK " if self.leak else "wrong" if self.problem else "ok   "
        return f"{word} {self.door.name} {self.problem or f'is {self.seen}'}"


@dataclass(frozen=True)
class Listening:
    """What listens on a host: TCP sockets, and the host's own IPv4 addresses."""

    listeners: tuple[Listener, ...] = ()
    addresses: tuple[str, ...] = ()

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Listening:
        """Of lines ``listen ADDRESS:PORT PROGRAM`` and ``address ADDRESS``."""
        listeners, addresses = set(), set()
        for line in lines:
            kind, _, rest = line.partition(" ")
            if kind == "address":
                addresses.add(rest)
                continue
            place, _, program = rest.partition(" ")
            at, _, port = place.rpartition(":")
            listeners.add((at.partition("%")[0].strip("[]"), int(port), program))
        return cls(tuple(Listener(*found) for found in sorted(listeners)), tuple(sorted(addresses)))

    def ports(self) -> Iterator[tuple[str, int, str]]:
        """(address, port, program): all that may be asked at an address other than loopback."""
        anywhere = ("0.0.0.0", "*", "::")  # noqa: S104  (compared, not bound)
        seen = set()
        for listener in self.listeners:
            for address in self.addresses:
                here = listener.address in (*anywhere, address)
                if here and (address, listener.port) not in seen:
                    seen.add((address, listener.port))
                    yield address, listener.port, listener.program


def doors(
    settings: Settings, listening: Listening, also: Iterable[tuple[str, int]] = ()
) -> tuple[Door, ...]:
    """All doors; `also` are those that a person names."""
    policy, sessions = Policy.of(settings), settings.session_range
    hub, proxy, database = settings.hub_ip, settings.proxy_ip, settings.database_ip

    def at(name: str, address: IPv4Address, port: int, control: str | None = None) -> Door:
        allowed = policy.lets(sessions, IPv4Network(address), port)
        return Door(name, "tcp", str(address), port, allowed, None if allowed else control)

    return (
        at("hub:8081", hub, HUB_PORT),
        at("proxy:8000", proxy, PROXY_PORT),
        at("proxy:8001, its API", proxy, PROXY_API_PORT, "hub"),
        at("database:5432", database, DATABASE_PORT, "hub"),
        Door(
            "another session:8888",
            "tcp",
            NEIGHBOUR,
            SESSION_PORT,
            policy.lets(sessions, sessions, SESSION_PORT),
        ),
        *(
            Door(f"the host, {address}:{port} ({program})", "tcp", address, port)
            for address, port, program in listening.ports()
        ),
        Door("Docker's DNS", "tcp", DOCKER_DNS, 53),
        *(Door(f"the socket {path}", "file", path) for path in SOCKETS),
        Door("a raw socket", "raw"),
        Door("a packet socket", "packet"),
        *(at(f"{address}:{port}", IPv4Address(address), port, "host") for address, port in also),
    )


def others(text: str) -> tuple[tuple[str, int], ...]:
    """The parameter ALSO: addresses and ports, with commas between them.

    Raises:
        Problems: it is something else.
    """
    found = []
    for word in filter(None, text.split(",")):
        address, _, port = word.partition(":")
        try:
            if not (port.isdecimal() and 0 < int(port) < 2**16):
                raise ValueError
            found.append((str(IPv4Address(address)), int(port)))
        except ValueError:
            remedy = "name IPv4 addresses and ports: make check ALSO=198.51.100.7:443"
            message = f"{word!r} is no address with a port"
            raise Problems([Problem("ALSO", message, remedy)]) from None
    return tuple(found)


def wire(doors: Sequence[Door]) -> str:
    """What probe.py reads."""
    return json.dumps({"port": SESSION_PORT, "doors": [door.target for door in doors]})


def knock(doors: Sequence[Door]) -> str:
    """Shell, for the host: a word for each of these doors."""
    return "\n".join(
        f"timeout {SECONDS} bash -c ': </dev/tcp/{door.address}/{door.port}' 2>/dev/null"
        " && echo open || echo shut"
        for door in doors
    )


KNOCK = f"""
import json, socket, sys
for _, address, port in json.load(sys.stdin):
    try:
        socket.create_connection((address, port), timeout={SECONDS}).close()
        print("open")
    except OSError:
        print("shut")
"""
"""The same, for a container with Python."""


def verdicts(
    doors: Sequence[Door], seen: Sequence[str], controls: dict[str, Sequence[str]]
) -> tuple[Verdict, ...]:
    """`controls`: what the hub and the host saw at their doors, in order."""
    told = {who: iter(words) for who, words in controls.items()}
    return tuple(
        Verdict(door, word, next(told[door.control], "unknown") if door.control else None)
        for door, word in zip(doors, seen, strict=True)
    )


@dataclass(frozen=True)
class Checked:
    """The last check, as the host keeps it: `at` in seconds since 1970; names of doors."""

    at: int = 0
    tried: int = 0
    wrong: tuple[str, ...] = ()

    @classmethod
    def of(cls, at: int, verdicts: Sequence[Verdict]) -> Checked:
        wrong = tuple(f"{v.door.name} {v.problem}" for v in verdicts if v.problem)
        return cls(at, len(verdicts), wrong)

    @classmethod
    def parse(cls, text: str) -> Checked:
        """Of the file; nothing, where there is none or nobody understands it."""
        try:
            found = json.loads(text)
            return cls(int(found["at"]), int(found["tried"]), tuple(found["wrong"]))
        except (ValueError, KeyError, TypeError):
            return cls()

    @property
    def json(self) -> str:
        return json.dumps({"at": self.at, "tried": self.tried, "wrong": self.wrong}) + "\n"
