"""The isolation of sessions: rules that stand before Docker starts."""

from hubhost import operations
from hubhost.facts import GUARD_STATE
from hubhost.hostfile import HostFile
from hubhost.isolation import JUMPS, JUMPS6, Policy, bridge_guard, chains, chains6, guard, restore
from hubhost.paths import (
    DOCKER_DROP_IN,
    FIREWALL,
    FIREWALL_UNIT,
    GUARD_DIGEST,
    MODULE,
    SYSCTL,
    UNITS,
)
from hubhost.settings import Settings
from hubhost.templates import render
from roles import deploy


@deploy("Firewall")
def firewall(settings: Settings) -> None:
    """Sessions reach the hub and the proxy, and nothing else."""
    policy = Policy.of(settings)
    apply = render(
        "firewall/apply.sh",
        jumps=JUMPS,
        jumps6=JUMPS6,
        guard_state=GUARD_STATE,
        guard_digest=GUARD_DIGEST,
    )
    operations.file_tree(
        name="Write the rules",
        files=(
            HostFile(FIREWALL / "v4.rules", restore(chains(policy))),
            HostFile(FIREWALL / "v6.rules", restore(chains6(policy))),
            HostFile(FIREWALL / "guard.nft", guard(policy)),
            HostFile(FIREWALL / "bridge.nft", bridge_guard(policy, by_name=True)),
            HostFile(FIREWALL / "bridge-by-address.nft", bridge_guard(policy, by_name=False)),
            HostFile(FIREWALL / "apply.sh", apply, 0o755),
            HostFile(MODULE, "br_netfilter\n"),
            HostFile(SYSCTL, "net.bridge.bridge-nf-call-iptables = 1\n"),
            HostFile(UNITS / FIREWALL_UNIT, render(f"firewall/{FIREWALL_UNIT}", firewall=FIREWALL)),
            HostFile(DOCKER_DROP_IN, render("firewall/docker.conf", firewall=FIREWALL)),
        ),
    )
    operations.firewall(name="Apply the rules", policy=policy)
