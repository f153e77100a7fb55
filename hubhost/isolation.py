"""What may talk to what on the hub's network: the policy, and its rendering for iptables and nft.

One policy, rendered twice: as chains of iptables in DOCKER-USER and INPUT, and as tables of nft
under them that hold whatever Docker, ufw or an `iptables -F` do to the chains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, collapse_addresses
from typing import Any

from hubhost.settings import Settings
from hubhost.templates import render

HUB_PORT = 8081
PROXY_PORT = 8000
PROXY_API_PORT = 8001
DATABASE_PORT = 5432
SESSION_PORT = 8888

LINK_LOCAL = IPv4Network("169.254.0.0/16")
"""Refused to everybody: clouds give out their machines' credentials at 169.254.169.254."""

JUMPS = (
    ("FORWARD", "DOCKER-USER"),
    ("DOCKER-USER", "JHUB-FORWARD"),
    ("INPUT", "JHUB-INPUT"),
)
"""(chain, target): the first rule of `chain` jumps to `target`, or others' rules come first.

The first is Docker's own; after a flush Docker 26 does not restore it when it restarts.
"""

JUMPS6 = (("FORWARD", "JHUB-DENY6"), ("INPUT", "JHUB-DENY6"))
"""The same for IPv6."""

Chains = dict[str, list[str]]
"""Rules by chain, first match wins, each written as `iptables -S` prints it."""


@dataclass(frozen=True)
class Flow:
    """Who may open a TCP connection to which port of whom."""

    source: IPv4Network
    destination: IPv4Network
    port: int

    @classmethod
    def of(
        cls, source: IPv4Address | IPv4Network, destination: IPv4Address | IPv4Network, port: int
    ) -> Flow:
        return cls(IPv4Network(source), IPv4Network(destination), port)


@dataclass(frozen=True)
class Policy:
    """What may pass on the bridge; all else is refused.

    The hub talks to the database, the proxy's API and the sessions; the proxy to the hub and the
    sessions; a session to the hub and the proxy; a listed backend to hub, proxy and sessions; the
    database to nobody; nobody to the host. `unbound` services may also reach what is not on the
    bridge, and sessions the destinations of the settings. From outside `public_sources` (none
    named: everybody) reach `public`, which the host publishes as `host_ports`.
    """

    bridge: str
    subnet: IPv4Network
    flows: tuple[Flow, ...]
    unbound: tuple[IPv4Address, ...]
    public: tuple[tuple[IPv4Address, int], ...]
    host_ports: tuple[int, ...]
    public_sources: tuple[IPv4Network | IPv6Network, ...]

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        published = [(settings.proxy_ip, PROXY_PORT, settings.public_port)]
        if settings.publish_hub:
            published.append((settings.hub_ip, HUB_PORT, HUB_PORT))
        if settings.publish_proxy_api:
            published.append((settings.proxy_ip, PROXY_API_PORT, PROXY_API_PORT))
        if settings.publish_database:
            published.append((settings.database_ip, DATABASE_PORT, DATABASE_PORT))
        hub, proxy, sessions = settings.hub_ip, settings.proxy_ip, settings.session_range
        addresses = {"hub": hub, "proxy": proxy, "database": settings.database_ip}
        return cls(
            bridge=settings.network_bridge,
            subnet=settings.network_subnet,
            flows=(
                Flow.of(hub, settings.database_ip, DATABASE_PORT),
                Flow.of(hub, proxy, PROXY_API_PORT),
                Flow.of(hub, sessions, SESSION_PORT),
                Flow.of(proxy, hub, HUB_PORT),
                Flow.of(proxy, sessions, SESSION_PORT),
                Flow.of(sessions, hub, HUB_PORT),
                Flow.of(sessions, proxy, PROXY_PORT),
                *(
                    Flow.of(backend, destination, port)
                    for backend in settings.backends
                    for destination, port in (
                        (hub, HUB_PORT),
                        (proxy, PROXY_PORT),
                        (sessions, SESSION_PORT),
                    )
                ),
                *(
                    Flow.of(sessions, destination.network, port)
                    for destination in settings.outbound
                    for port in destination.ports
                ),
            ),
            unbound=tuple(addresses[name] for name in settings.service_outbound),
            public=tuple((address, port) for address, port, _ in published),
            host_ports=tuple(port for _, _, port in published),
            public_sources=settings.public_sources,
        )

    @property
    def inside(self) -> tuple[Flow, ...]:
        """The flows from one port of the bridge to another."""
        return tuple(flow for flow in self.flows if flow.destination.subnet_of(self.subnet))

    def lets(self, source: IPv4Network, destination: IPv4Network, port: int) -> bool:
        """Whether a flow lets these speak to those."""
        return any(
            port == flow.port
            and source.subnet_of(flow.source)
            and destination.subnet_of(flow.destination)
            for flow in self.flows
        )

    def sources(self, version: int) -> tuple[str, ...]:
        """The public sources of one IP version, none inside another (nft takes no such set)."""
        nets: list[Any] = [net for net in self.public_sources if net.version == version]
        return tuple(map(str, collapse_addresses(nets)))


REPLIES = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"


def chains(policy: Policy) -> Chains:
    """Our chains in the filter table.

    Replies pass; forged states are dropped; the policy's flows pass, and nothing else, not even by
    another address of the host; from outside only the public ports are reached. DOCKER-USER never
    sees traffic to the host itself: that is what JHUB-INPUT is for. The reference configuration's
    recipe, placed and ordered so that it holds: docs/decisions/0003-firewall.md.
    """
    sources = [f"-s {net} " for net in policy.sources(4)] if policy.public_sources else [""]
    return {
        "JHUB-FORWARD": [
            f"-i {policy.bridge} -j JHUB-USER",
            f"-o {policy.bridge} -j JHUB-INBOUND",
        ],
        "JHUB-USER": [
            REPLIES,
            "-m conntrack --ctstate INVALID -j DROP",
            f"-d {LINK_LOCAL} -j JHUB-REFUSE",
            *(
                f"-s {f.source} -d {f.destination} -p tcp -m tcp --dport {f.port} -j ACCEPT"
                for f in policy.flows
            ),
            *(f"-s {address}/32 ! -o {policy.bridge} -j ACCEPT" for address in policy.unbound),
            "-j JHUB-REFUSE",
        ],
        "JHUB-INBOUND": [
            REPLIES,
            *(
                f"{source}-d {address}/32 -p tcp -m tcp --dport {port} -j RETURN"
                for address, port in policy.public
                for source in sources
            ),
            "-j DROP",
        ],
        "JHUB-INPUT": [f"! -i {policy.bridge} -j RETURN", REPLIES, "-j JHUB-REFUSE"],
        # A plain REJECT often turns into a time-out, for ICMP errors are rate-limited.
        "JHUB-REFUSE": [
            "-p tcp -j REJECT --reject-with tcp-reset",
            "-j REJECT --reject-with icmp-admin-prohibited",
        ],
    }


def chains6(policy: Policy) -> Chains:
    """The same for IPv6, of which the network has none: nothing passes."""
    return {"JHUB-DENY6": [f"-i {policy.bridge} -j DROP", f"-o {policy.bridge} -j DROP"]}


def listing(chains: Mapping[str, list[str]]) -> list[str]:
    """What `iptables -S CHAIN` prints for each of these chains, in order."""
    lines = []
    for chain, rules in chains.items():
        lines += [f"-N {chain}", *(f"-A {chain} {rule}" for rule in rules)]
    return lines


def restore(chains: Mapping[str, list[str]]) -> str:
    """Input of `iptables-restore --noflush`: replaces these chains in one commit, and no others."""
    declared = [f":{chain} - [0:0]" for chain in chains]
    rules = [line for line in listing(chains) if line.startswith("-A")]
    return "\n".join(["*filter", *declared, *rules, "COMMIT", ""])


def guard(policy: Policy) -> str:
    """Input of `nft -f`: the same policy in base chains of our own, replaced in one transaction.

    A drop here is final whatever Docker, ufw or firewalld do to the chains above: Docker opens its
    own for a moment at every `network create`, and `iptables -F` empties them.

    Published ports are relayed by a process of Docker's on the host where the kernel does not
    translate addresses (IPv6, or a flushed table): `public_sources` is asked there too.
    """
    public = [f"ip daddr {address} tcp dport {port}" for address, port in policy.public]
    strangers = []
    if policy.public_sources:
        relayed = f"tcp dport {_set(map(str, policy.host_ports))}"
        allowed, allowed6 = policy.sources(4), policy.sources(6)
        public = [f"ip saddr {_set(allowed)} {port}" for port in public if allowed]
        strangers = [
            f"{f'ip saddr != {_set(allowed)}' if allowed else 'meta nfproto ipv4'} {relayed}",
            f"{f'ip6 saddr != {_set(allowed6)}' if allowed6 else 'meta nfproto ipv6'} {relayed}",
        ]
    return render(
        "firewall/guard.nft",
        bridge=policy.bridge,
        link_local=LINK_LOCAL,
        flows=[f"{_pair(f.source, f.destination)} tcp dport {f.port}" for f in policy.flows],
        unbound=policy.unbound,
        public=public,
        strangers=strangers,
    )


def bridge_guard(policy: Policy, *, by_name: bool) -> str:
    """Input of `nft -f` for frames from one port of the bridge to another.

    It needs neither br_netfilter nor its sysctl. It keeps no state: replies are told by their
    flags. Where the kernel can't name a frame's bridge, ours is told by its addresses, and frames
    that are not IPv4 are left to the chains above.
    """
    net = policy.subnet
    by_address = ["ether type != { arp, ip }", f"ip saddr != {net} ip daddr != {net}"]
    return render(
        "firewall/bridge.nft",
        others=[f'meta ibrname != "{policy.bridge}"'] if by_name else by_address,
        flows=[f"{_pair(f.source, f.destination)} tcp dport {f.port}" for f in policy.inside],
        replies=[f"{_pair(f.destination, f.source)} tcp sport {f.port}" for f in policy.inside],
    )


def _pair(source: IPv4Network, destination: IPv4Network) -> str:
    return f"ip saddr {source} ip daddr {destination}"


def _set(values: Iterable[str]) -> str:
    return f"{{ {', '.join(values)} }}"
