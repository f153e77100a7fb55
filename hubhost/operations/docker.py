"""Operations on Docker, its network and its volumes."""

from __future__ import annotations

import shlex
from ipaddress import IPv4Network

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from hubhost import facts
from hubhost.engine import daemon_configuration, engine_packages
from hubhost.hostfile import HostFile
from hubhost.network import Network, rebuild
from hubhost.operations.base import Commands, script
from hubhost.operations.debian import packages
from hubhost.operations.files import write
from hubhost.paths import DAEMON_JSON
from hubhost.services import FORMER_VOLUME

FORMER_CLUSTER_DAYS = 7


@operation()
def engine(tools: tuple[str, ...]) -> Commands:
    """Install Debian's engine, unless another is there, and `tools`."""
    package, version = host.get_fact(facts.Engine)
    yield from packages._inner((*engine_packages(package, version), *tools))


@operation()
def engine_configuration(subnet: IPv4Network) -> Commands:
    """Merge what this project needs into daemon.json."""
    current = host.get_fact(facts.Content, path=str(DAEMON_JSON))
    wanted = HostFile(DAEMON_JSON, daemon_configuration(current, subnet))
    if wanted.content != current:
        yield write(wanted)


@operation()
def fresh_engine() -> Commands:
    """Restart the engine if its configuration is newer than it is; containers keep running."""
    if host.get_fact(facts.EngineIsStale):
        # live-restore is one of the keys that a reload takes up: so the restart ends no container.
        # The reload is a signal, and nobody tells when it has been heard.
        yield script(
            "systemctl reload docker",
            "for _ in $(seq 50); do",
            "  [ \"$(docker info -f '{{.LiveRestoreEnabled}}')\" != true ] || break; sleep 0.1",
            "done",
            "systemctl restart docker",
        )


@operation()
def docker_network(network: Network) -> Commands:
    """Make the network, or make it anew when it is wrong and only ours are attached."""
    state = host.get_fact(facts.DockerNetwork, network=network.name)
    wrong = network.differences(state) if state else []
    if state is None or wrong:
        if state:
            yield script(*rebuild(state, wrong))
        yield StringCommand("docker network create", shlex.join(network.create_options()))


@operation()
def forgotten_cluster() -> Commands:
    """Delete the cluster of the PostgreSQL that was there before another major, after a week."""
    age = host.get_fact(facts.VolumeAge, volume=FORMER_VOLUME)
    if age is not None and age >= FORMER_CLUSTER_DAYS:
        yield StringCommand(f"docker volume rm {FORMER_VOLUME}")
