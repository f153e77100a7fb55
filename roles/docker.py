"""The container engine: Debian's, or the one that is there."""

from pyinfra.operations import systemd

from hubhost.operations import engine, engine_configuration, fresh_engine, held_engine, packages
from hubhost.settings import Settings
from roles import deploy

TOOLS = ("ca-certificates", "iptables", "mmdebstrap", "nftables", "openssl", "zstd")


@deploy("Docker")
def docker(settings: Settings) -> None:
    """Configured before it is installed, so that its first start is already the right one."""
    engine_configuration(name="Configure Docker", subnet=settings.network_subnet)
    # Where the kernel has it and its parser is missing, Docker 20.10 starts nothing, and later ones
    # confine nobody.
    packages(name="Install AppArmor, by which Docker confines", packages=("apparmor",))
    engine(
        name="Install Docker and the tools that build images",
        tools=TOOLS,
    )
    held_engine(name="Hold the engine's packages, which make patch moves")
    systemd.service(name="Start Docker", service="docker", running=True, enabled=True)
    fresh_engine(name="Restart Docker if its configuration changed")
