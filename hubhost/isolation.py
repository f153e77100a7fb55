"""What may talk to what on the hub's network: the policy, and its rendering for iptables."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from hubhost.settings import Settings
from hubhost.templates import render

HUB_PORT = 8081
PROXY_PORT = 8000
PROXY_API_PORT = 8001
DATABASE_PORT = 5432

SESSION_PORT = 8888

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
    """What may pass on the bridge: `flows`, and from outside `public`. All else is refused.

    The hub talks to the database, the proxy's API and the sessions; the proxy to the hub and the
    sessions; a session to the hub and the proxy; the database to nobody; nobody to the host or the
    internet.
    """

    bridge: str
    subnet: IPv4Network
    flows: tuple[Flow, ...]
    public: tuple[tuple[IPv4Address, int], ...]

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        published = [(settings.proxy_ip, PROXY_PORT)]
        if settings.publish_hub:
            published.append((settings.hub_ip, HUB_PORT))
        if settings.publish_proxy_api:
            published.append((settings.proxy_ip, PROXY_API_PORT))
        if settings.publish_database:
            published.append((settings.database_ip, DATABASE_PORT))
        hub, proxy, sessions = settings.hub_ip, settings.proxy_ip, settings.session_range
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
            ),
            public=tuple(published),
        )


REPLIES = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
# A plain REJECT often turns into a time-out, for ICMP errors are rate-limited.
REJECT = (
    "-p tcp -j REJECT --reject-with tcp-reset",
    "-j REJECT --reject-with icmp-admin-prohibited",
)


def chains(policy: Policy) -> dict[str, list[str]]:
    """Our chains in the filter table, first match wins, written as `iptables -S` prints them.

    Replies pass; forged states are dropped; the policy's flows pass, and nothing else, not even by
    another address of the host; from outside only the public ports are reached. DOCKER-USER never
    sees traffic to the host itself: that is what JHUB-INPUT is for. The reference configuration's
    recipe, placed and ordered so that it holds: docs/decisions/0003-firewall.md.
    """
    return {
        "JHUB-FORWARD": [
            f"-i {policy.bridge} -j JHUB-USER",
            f"-o {policy.bridge} -j JHUB-INBOUND",
        ],
        "JHUB-USER": [
            REPLIES,
            "-m conntrack --ctstate INVALID -j DROP",
            *(
                f"-s {f.source} -d {f.destination} -p tcp -m tcp --dport {f.port} -j ACCEPT"
                for f in policy.flows
            ),
            *REJECT,
        ],
        "JHUB-INBOUND": [
            REPLIES,
            *(
                f"-d {address}/32 -p tcp -m tcp --dport {port} -j RETURN"
                for address, port in policy.public
            ),
            "-j DROP",
        ],
        "JHUB-INPUT": [f"! -i {policy.bridge} -j RETURN", REPLIES, *REJECT],
    }


def chains6(policy: Policy) -> dict[str, list[str]]:
    """The same for IPv6, of which the network has none: nothing passes."""
    return {"JHUB-DENY6": [f"-i {policy.bridge} -j DROP", f"-o {policy.bridge} -j DROP"]}


def listing(chains: dict[str, list[str]]) -> list[str]:
    """What `iptables -S CHAIN` prints for each of these chains, in order."""
    lines = []
    for chain, rules in chains.items():
        lines += [f"-N {chain}", *(f"-A {chain} {rule}" for rule in rules)]
    return lines


def restore(chains: dict[str, list[str]]) -> str:
    """Input of `iptables-restore --noflush`: replaces these chains in one commit, and no others."""
    declared = [f":{chain} - [0:0]" for chain in chains]
    rules = [line for line in listing(chains) if line.startswith("-A")]
    return "\n".join(["*filter", *declared, *rules, "COMMIT", ""])


def guard(policy: Policy) -> str:
    """Input of `nft -f`: the same policy in base chains of our own, replaced in one transaction.

    A drop here is final whatever Docker, ufw or firewalld do to the chains above: Docker opens its
    own for a moment at every `network create`, and `iptables -F` empties them.
    """
    return render(
        "firewall/guard.nft",
        bridge=policy.bridge,
        flows=[f"{_pair(f.source, f.destination)} tcp dport {f.port}" for f in policy.flows],
        public=[f"ip daddr {address} tcp dport {port}" for address, port in policy.public],
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
        flows=[f"{_pair(f.source, f.destination)} tcp dport {f.port}" for f in policy.flows],
        replies=[f"{_pair(f.destination, f.source)} tcp sport {f.port}" for f in policy.flows],
    )


def _pair(source: IPv4Network, destination: IPv4Network) -> str:
    return f"ip saddr {source} ip daddr {destination}"
