"""What may talk to what on the hub's network: the policy, and its rendering for iptables."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from hubhost.settings import Settings

HUB_PORT = 8081
PROXY_PORT = 8000
PROXY_API_PORT = 8001
DATABASE_PORT = 5432

JUMPS = (("DOCKER-USER", "JHUB-FORWARD"), ("INPUT", "JHUB-INPUT"))
"""(chain, chain of ours): the first rule of `chain` jumps to ours, or others' rules come first."""


@dataclass(frozen=True)
class Policy:
    """Who is who on the network.

    `services` may talk freely; everything else on the subnet is a session, which reaches
    `session_doors` and nothing else. From outside only `public` is reached.
    """

    bridge: str
    subnet: IPv4Network
    services: tuple[IPv4Address, ...]
    session_doors: tuple[tuple[IPv4Address, int], ...]
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
        return cls(
            bridge=settings.network_bridge,
            subnet=settings.network_subnet,
            services=(settings.hub_ip, settings.database_ip, settings.proxy_ip),
            session_doors=((settings.hub_ip, HUB_PORT), (settings.proxy_ip, PROXY_PORT)),
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

    Replies pass; forged states are dropped; services talk freely; a session reaches its doors and
    nothing else, not even by another address of the host; from outside only the public ports are
    reached. DOCKER-USER never sees traffic to the host itself: that is what JHUB-INPUT is for.
    The reference configuration's recipe, placed and ordered so that it holds:
    docs/decisions/0003-firewall.md.
    """
    net = policy.subnet
    return {
        "JHUB-FORWARD": [
            f"-i {policy.bridge} -j JHUB-USER",
            f"-o {policy.bridge} -j JHUB-INBOUND",
        ],
        "JHUB-USER": [
            REPLIES,
            "-m conntrack --ctstate INVALID -j DROP",
            *(f"-s {service}/32 -j ACCEPT" for service in policy.services),
            *(
                f"-s {net} -d {address}/32 -p tcp -m tcp --dport {port} -j ACCEPT"
                for address, port in policy.session_doors
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
        "JHUB-INPUT": [
            f"! -i {policy.bridge} -j RETURN",
            REPLIES,
            *(f"-s {service}/32 -j RETURN" for service in policy.services),
            *REJECT,
        ],
    }


def listing(policy: Policy) -> list[str]:
    """What `iptables -S` prints for each of our chains, in order, and nothing else."""
    lines = []
    for chain, rules in chains(policy).items():
        lines += [f"-N {chain}", *(f"-A {chain} {rule}" for rule in rules)]
    return lines


def iptables_restore(policy: Policy) -> str:
    """Input of `iptables-restore --noflush`: replaces our chains in one commit, and no others."""
    declared = [f":{chain} - [0:0]" for chain in chains(policy)]
    rules = [line for line in listing(policy) if line.startswith("-A")]
    return "\n".join(["*filter", *declared, *rules, "COMMIT", ""])
