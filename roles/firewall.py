"""The isolation of sessions: rules that stand before Docker starts."""

from pathlib import PurePosixPath

from hubhost import operations
from hubhost.hostfile import HostFile
from hubhost.isolation import JUMPS, Policy, iptables_restore
from hubhost.paths import FIREWALL
from hubhost.settings import Settings
from hubhost.templates import render
from roles import deploy

UNIT = "integrable-jupyterhub-firewall.service"


@deploy("Firewall")
def firewall(settings: Settings) -> None:
    """Sessions reach the hub and the proxy, and nothing else."""
    policy = Policy.of(settings)
    operations.file_tree(
        name="Write the rules",
        files=(
            HostFile(FIREWALL / "v4.rules", iptables_restore(policy)),
            HostFile(FIREWALL / "apply.sh", render("firewall/apply.sh", jumps=JUMPS), 0o755),
            HostFile(
                PurePosixPath("/etc/systemd/system") / UNIT,
                render(f"firewall/{UNIT}", firewall=FIREWALL),
            ),
        ),
    )
    operations.firewall(name="Apply the rules", policy=policy)
