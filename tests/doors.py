"""Who reaches what on a deployed host, as data: the claims that isolation makes.

A door is a target and those to whom it is open. To everybody else who is asked it is shut, and the
proof that it exists is that it opens for one of the others: the positive control.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from hubhost.isolation import DATABASE_PORT, HUB_PORT, PROXY_API_PORT, PROXY_PORT, SESSION_PORT
from tests.lab.outside import METADATA, SERVER6
from tests.lab.outside.world import DNS_PORT, SERVER

ECHO = 9555
"""A port that something listens on, TCP and UDP, in every service, session and on the host."""

PUBLISHED = 9600
"""The host's port by which another network's container publishes its ECHO."""

DOCKER_DNS = "127.0.0.11"


class Who(StrEnum):
    """From where a door is tried."""

    SESSION = "session"
    HUB = "hub"
    PROXY = "proxy"
    DATABASE = "database"
    STRANGER = "a container on the hub's network that is on no list"
    ELSEWHERE = "a container on another network"
    OUTSIDE = "outside"
    HOST = "host"


ON_THE_NETWORK = frozenset({Who.SESSION, Who.HUB, Who.PROXY, Who.DATABASE, Who.STRANGER})


class Seen(StrEnum):
    """What came of a try. A refusal is quick; in silence a client waits."""

    OPEN = "open"
    REFUSED = "refused"
    SILENT = "silent"


SHUT = frozenset({Seen.REFUSED, Seen.SILENT})


@dataclass(frozen=True)
class Door:
    """A target. `unasked`: for whom it says nothing of ours, such as itself.

    `docker_drops`: Docker 28 drops packets to it before any rule of ours can refuse them. `group`
    is a heading.
    """

    name: str
    protocol: str
    address: str
    port: int
    open_to: tuple[Who, ...]
    unasked: tuple[Who, ...] = ()
    docker_drops: bool = False
    group: str = ""

    @property
    def control(self) -> Who:
        """Who shows that the door exists."""
        return self.open_to[0]


@dataclass(frozen=True)
class Probe:
    """One try of one door by somebody."""

    who: Who
    door: Door

    @property
    def expected(self) -> frozenset[Seen]:
        """What may be seen. On the network, a TCP connection is refused rather than left waiting.

        ICMP's refusals are rate-limited by the kernel, so other protocols may meet silence.
        """
        if self.who in self.door.open_to:
            return frozenset({Seen.OPEN})
        refused = self.who in ON_THE_NETWORK and not self.door.docker_drops
        return frozenset({Seen.REFUSED}) if refused and self.door.protocol == "tcp" else SHUT

    @property
    def control(self) -> Probe | None:
        """The probe without which this one proves nothing."""
        return None if Seen.OPEN in self.expected else Probe(self.door.control, self.door)

    def __str__(self) -> str:
        return f"{self.who.value} → {self.door.name}"


@dataclass(frozen=True)
class Addresses:
    """Those that a deployment chooses; the services' are settings."""

    hub: str
    database: str
    proxy: str
    gateway: str
    host: str
    """The host's own address towards the lab."""
    neighbour: str
    """Another session's."""
    elsewhere: str
    """The container's on another network."""


def doors(at: Addresses) -> tuple[Door, ...]:
    """All doors of the matrix."""
    return tuple(
        replace(door, group=group) for group, found in _groups(at).items() for door in found
    )


def _groups(at: Addresses) -> dict[str, tuple[Door, ...]]:
    """By heading. The numbers are those of the claims in the issue."""
    session, hub, proxy, database = Who.SESSION, Who.HUB, Who.PROXY, Who.DATABASE
    elsewhere, outside, host = Who.ELSEWHERE, Who.OUTSIDE, Who.HOST
    # Docker's own rules decide, by version: packets sent to a container's address from outside,
    # and to published ports from another network.
    docker_decides = (elsewhere, outside)
    own_places = (
        ("hub", at.hub, (hub,)),
        ("proxy", at.proxy, (proxy,)),
        ("database", at.database, (database,)),
        ("a session", at.neighbour, ()),
    )
    return {
        # 1, 8: from a session, only hub:8081 and proxy:8000; services reach what they need.
        "What somebody needs": (
            Door("hub:8081", "tcp", at.hub, HUB_PORT, (host, session, proxy), (hub,)),
            Door(
                "proxy:8000", "tcp", at.proxy, PROXY_PORT, (host, session), (proxy, *docker_decides)
            ),
            Door("proxy:8001, its API", "tcp", at.proxy, PROXY_API_PORT, (hub, host), (proxy,)),
            Door("database:5432", "tcp", at.database, DATABASE_PORT, (hub, host), (database,)),
            Door("a session:8888", "tcp", at.neighbour, SESSION_PORT, (hub, proxy, host)),
        ),
        # 2: all else of services and neighbours.
        "Services and sessions otherwise": tuple(
            door
            for name, address, itself in own_places
            for door in _all_of(name, address, (host,), itself)
        ),
        # 3, 9: the host, by each of its addresses, and what it publishes.
        **{
            f"The host, by its {which} address": (
                *_all_of(f"host ({which})", address, (outside, host), (elsewhere,)),
                *(
                    Door(f"{what} ({which})", "tcp", address, port, (outside, host), (elsewhere,))
                    for what, port in (
                        ("SSH", 22),
                        ("public port", 8000),
                        ("another network's port", PUBLISHED),
                    )
                ),
            )
            for which, address in (("bridge", at.gateway), ("own", at.host))
        },
        "Another Docker network": tuple(
            replace(door, docker_drops=True)
            for door in _all_of("its container", at.elsewhere, (host,), docker_decides)
        ),
        # 4, 13: the internet, by IPv6 too, and the cloud's metadata.
        "The internet": (
            *(
                Door(f"internet, {what}", protocol, SERVER, port, (host, elsewhere), (outside,))
                for what, protocol, port in (
                    ("HTTP", "tcp", 80),
                    ("HTTPS", "tcp", 443),
                    ("UDP", "udp", 7),
                    ("ping", "ping", 0),
                    ("DNS", "dns", DNS_PORT),
                )
            ),
            Door("internet, IPv6", "tcp", SERVER6, 80, (host,), (outside, elsewhere)),
            Door("metadata of a cloud", "tcp", METADATA, 80, (host, elsewhere), (outside,)),
        ),
        # 5: names. A stranger's resolver is Docker's affair, and its own.
        "Names": (
            Door(
                "names of the internet, by Docker's DNS", "dns", DOCKER_DNS, DNS_PORT,
                (elsewhere,), (Who.STRANGER, host, outside),
            ),
            Door(
                "Docker's DNS itself", "resolver", DOCKER_DNS, DNS_PORT,
                (elsewhere,), (Who.STRANGER, hub, proxy, database, host, outside),
            ),
            *(
                Door(f"the name {name}", "name", name, 0, (session,), _all_but(session))
                for name in ("jupyterhub_hub", "jupyterhub_proxy")
            ),
        ),
        # 6: by which a session could speak as somebody else.
        "Sockets": tuple(
            Door(name, protocol, "", 0, (host,), _all_but(session, host))
            for name, protocol in (("a raw socket", "raw"), ("a packet socket", "packet"))
        ),
    }  # fmt: skip


def _all_but(*asked: Who) -> tuple[Who, ...]:
    return tuple(who for who in Who if who not in asked)


def _all_of(
    name: str, address: str, open_to: tuple[Who, ...], unasked: tuple[Who, ...]
) -> tuple[Door, ...]:
    return (
        Door(f"{name}, another TCP port", "tcp", address, ECHO, open_to, unasked),
        Door(f"{name}, UDP", "udp", address, ECHO, open_to, unasked),
        Door(f"{name}, ping", "ping", address, 0, open_to, unasked),
    )


def probes(of: Iterable[Door]) -> Iterator[Probe]:
    """Everybody at every door."""
    return (Probe(who, door) for door in of for who in Who if who not in door.unasked)
