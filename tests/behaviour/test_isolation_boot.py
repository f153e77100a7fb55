"""A reboot: nothing gets out before the rules stand, and without rules Docker does not start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.deployment import Deployment, Run, give_images
from tests.isolation import HUB_IMAGE, NETWORK, problems, world
from tests.lab import Host, engine, lab, restart
from tests.lab.demo import hub_of
from tests.lab.outside import ROOT, Outside, install, wait
from tests.lab.outside.world import SERVER

GUARD = "/etc/integrable-jupyterhub/firewall/guard.nft"
HUB_HEALTH = "docker exec jupyterhub_hub python3 -m integrable_jupyterhub health"
# A container of somebody's, on the hub's network, that Docker starts with the host and that tries
# to get out from its first moment; and one on a network of its own, which may.
RESTLESS = f"""
set -e
docker network create unconfined
run="docker run --detach --restart always --volume {ROOT}/probe.py:/probe.py:ro"
program="--entrypoint python3 {HUB_IMAGE} /probe.py storm {SERVER}"
$run --name restless --network {NETWORK} $program 9001
$run --name unconfined --network unconfined $program 9002
"""


@dataclass(frozen=True)
class Boot:
    """A lab host that was rebooted while containers tried to get out."""

    host: Host
    outside: Outside
    mark: int
    """In the outside's log: from before the reboot."""


@pytest.fixture(scope="module")
def boot(host: Host, first_run: Run) -> Iterator[Boot]:
    with lab() as made:
        give_images(host, made)
        Deployment(made).run()
        hub = hub_of(made)[1]
        hub.create_user("u1")
        hub.start_server("u1")
        install(made)
        made.sh(RESTLESS)
        outside = Outside(made)
        # Stopped, or their attempts of before the reboot would count.
        made.sh("systemctl stop docker.socket docker; systemctl stop containerd")
        mark = outside.mark()
        rebooted = restart(made.name)
        yield Boot(rebooted, Outside(rebooted), mark)


def attempts(host: Host, container: str) -> int:
    """How many since the container was started last."""
    started = f"$(docker inspect -f '{{{{.State.StartedAt}}}}' {container})"
    return int(host.sh(f"docker logs --since {started} --tail 1 {container}") or 0)


def drift(host: Host) -> list[str]:
    """What a deployment repairs; the hub's configuration has the lab's public port, a new one."""
    changed = Deployment(host).run().changed
    return [name for name in changed if not name.startswith("Hub")]


def healthy(host: Host) -> bool:
    return host.run("sh", "-c", HUB_HEALTH, check=False).returncode == 0


def test_nothing_gets_out_while_the_host_boots(boot: Boot) -> None:
    wait(boot.host)
    assert engine.until(lambda: attempts(boot.host, "restless") > 1000, 60)
    free, caught = boot.outside.count(boot.mark, 9002), boot.outside.count(boot.mark, 9001)
    print(f"\n{attempts(boot.host, 'restless')} attempts, {caught} got out; unconfined: {free}")
    assert caught == 0
    assert free > 1000


def test_services_come_back_and_sessions_are_gone(boot: Boot) -> None:
    assert engine.until(lambda: healthy(boot.host), 90)
    assert boot.host.sh("docker ps -q --filter label=integrable-jupyterhub.role=session") == ""
    assert drift(boot.host) == []


def test_everybody_reaches_what_they_need_and_nothing_else_after_the_boot(boot: Boot) -> None:
    boot.host.sh("docker rm -f restless unconfined")
    with world(boot.host) as isolated:
        assert problems(isolated.matrix()) == []


def test_without_its_rules_docker_does_not_start_and_with_them_mended_it_does(boot: Boot) -> None:
    boot.host.sh(f"cp {GUARD} /root/guard.nft; echo 'no rule' >> {GUARD}")
    rebooted = restart(boot.host.name)
    assert rebooted.run("systemctl", "is-active", "docker", check=False).returncode
    # Not even for somebody who asks: docker.socket starts it on demand.
    assert rebooted.run("docker", "ps", check=False, timeout=60).returncode
    said = rebooted.sh("journalctl -b -u integrable-jupyterhub-firewall --no-pager")
    assert "no rule" in said
    rebooted.sh(f"cp /root/guard.nft {GUARD}; systemctl reset-failed; systemctl start docker")
    assert engine.until(lambda: healthy(rebooted), 90)
    assert drift(rebooted) == []
