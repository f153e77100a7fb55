"""What else happens to a host: reboots, other firewalls, broken rules. On a host of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.deployment import Deployment, Run, give_images
from tests.doors import ECHO
from tests.isolation import HUB_IMAGE, NETWORK, World, leaks, problems, world
from tests.lab import Host, engine, lab, restart
from tests.lab.demo import hub_of
from tests.lab.outside import ROOT, Outside, install, remove, wait
from tests.lab.outside.world import SERVER

GUARD = "/etc/integrable-jupyterhub/firewall/guard.nft"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
HEALTH = """
set -e
docker exec jupyterhub_hub python3 -m integrable_jupyterhub health
[ -z "$(docker ps -q --filter health=unhealthy --filter label=integrable-jupyterhub.role=service)" ]
"""
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
CALM = "docker rm -f restless unconfined; docker network rm unconfined"


@dataclass(frozen=True)
class Boot:
    """A lab host that was rebooted while containers tried to get out."""

    host: Host
    outside: Outside
    mark: int
    """In the outside's log: from before the reboot."""
    kernel: str
    """The boot id of before."""


@pytest.fixture(scope="module")
def lonely(host: Host, first_run: Run) -> Iterator[str]:
    """The name of a deployed lab that these tests have for themselves: its ports change.

    A virtual machine's do not.
    """
    if host.driver == "vm":
        yield host.name
        return
    with lab() as made:
        give_images(host, made)
        Deployment(made).run()
        yield made.name


@pytest.fixture(scope="module")
def boot(lonely: str) -> Iterator[Boot]:
    made = Host.read(lonely)
    hub = hub_of(made)[1]
    hub.create_user("u1")
    hub.start_server("u1")
    install(made)
    made.sh(RESTLESS)
    outside = Outside(made)
    # Stopped, or their attempts of before the reboot would count.
    made.sh("systemctl stop docker.socket docker; systemctl stop containerd")
    mark, kernel = outside.mark(), made.sh(f"cat {BOOT_ID}")
    rebooted = restart(lonely)
    yield Boot(rebooted, Outside(rebooted), mark, kernel)
    Host.read(lonely).sh(f"{CALM}; :")
    remove(Host.read(lonely))


def attempts(host: Host, container: str) -> int:
    """How many since the container was started last."""
    started = f"$(docker inspect -f '{{{{.State.StartedAt}}}}' {container})"
    return int(host.sh(f"docker logs --since {started} --tail 1 {container}") or 0)


def drift(host: Host) -> list[str]:
    """What a deployment repairs; the hub's configuration has the lab's public port, a new one."""
    changed = Deployment(host).run().changed
    return [name for name in changed if not name.startswith(("Hub", "Release"))]


def healthy(host: Host) -> bool:
    return host.run("sh", "-c", HEALTH, check=False).returncode == 0


def test_after_the_boot_the_kernel_is_another(boot: Boot) -> None:
    if boot.host.driver != "vm":
        pytest.skip("a container has this machine's kernel; make test-vm boots one")
    booted = boot.host.sh(f"cat {BOOT_ID}")
    print(f"\nboot id {boot.kernel}, then {booted}")
    assert booted != boot.kernel


def test_nothing_gets_out_while_the_host_boots(boot: Boot) -> None:
    wait(boot.host)
    enough = 60 * boot.host.patience
    assert engine.until(lambda: attempts(boot.host, "restless") > 1000, enough)
    assert engine.until(lambda: boot.outside.count(boot.mark, 9002) > 1000, enough)
    free, caught = boot.outside.count(boot.mark, 9002), boot.outside.count(boot.mark, 9001)
    print(f"\n{attempts(boot.host, 'restless')} attempts, {caught} got out; unconfined: {free}")
    assert caught == 0
    boot.host.sh(CALM)  # they leave others little


def test_services_come_back_and_sessions_are_gone(boot: Boot) -> None:
    assert engine.until(lambda: healthy(boot.host), 90 * boot.host.patience)
    assert boot.host.sh("docker ps -q --filter label=integrable-jupyterhub.role=session") == ""
    assert drift(boot.host) == []


def test_everybody_reaches_what_they_need_and_nothing_else_after_the_boot(boot: Boot) -> None:
    with world(boot.host) as isolated:
        assert problems(isolated.matrix()) == []


# --- Other firewalls; what an admin has to do: docs/operations.md ------------------------------
APT = "DEBIAN_FRONTEND=noninteractive apt-get -qq"
INSTALL = f"set -e; {APT} install -y --no-install-recommends"
# ECHO, for the positive control: the host's own ports are open to others.
UFW = f"""
{INSTALL} ufw >/dev/null
ufw allow 22/tcp
ufw allow {ECHO}
ufw --force enable
"""
FIREWALLD = f"""
{INSTALL} firewalld >/dev/null
firewall-cmd --permanent --add-port={ECHO}/tcp --add-port={ECHO}/udp
firewall-cmd --reload
systemctl restart docker
"""
FIREWALLS = {
    "ufw": (UFW, "ufw reload", f"ufw --force disable; {APT} purge -y ufw"),
    "firewalld": (
        FIREWALLD,
        "firewall-cmd --reload",
        f"{APT} purge -y firewalld; systemctl restart docker",
    ),
}


def safe_and_settled(isolated: World) -> bool:
    """Docker puts its rules back a moment after firewalld's reload: until then more may be shut
    than should be, but nothing open."""
    seen = isolated.matrix()
    assert leaks(seen) == []
    return problems(seen) == []


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_beside_another_firewall_nothing_is_different(lonely: str, firewall: str) -> None:
    """Sessions start, the public port is reached, and everybody is as confined as without it."""
    host = Host.read(lonely)
    install_it, reload_it, remove_it = FIREWALLS[firewall]
    remove(host)  # packages come from the real outside
    host.sh(install_it, timeout=300)
    try:
        with world(host) as isolated:
            assert problems(isolated.matrix()) == []
            host.sh(reload_it)
            assert engine.until(lambda: safe_and_settled(isolated), 60), problems(isolated.matrix())
        # When firewalld reloads, Docker puts its rules above ours: until it starts again, or a
        # deployment, the guard alone holds.
        assert set(drift(host)) <= {"Firewall | Apply the rules"}
        assert drift(host) == []
    finally:
        host.sh(remove_it, timeout=300)


# --- Broken rules; last, for it breaks the host -------------------------------------------------
def test_without_its_rules_docker_does_not_start_and_with_them_mended_it_does(lonely: str) -> None:
    Host.read(lonely).sh(f"cp {GUARD} /root/guard.nft; echo 'no rule' >> {GUARD}")
    rebooted = restart(lonely)
    assert rebooted.run("systemctl", "is-active", "docker", check=False).returncode
    # Not even for somebody who asks: docker.socket starts it on demand.
    assert rebooted.run("docker", "ps", check=False, timeout=60).returncode
    said = rebooted.sh("journalctl -b -u integrable-jupyterhub-firewall --no-pager")
    assert "no rule" in said
    rebooted.sh(f"cp /root/guard.nft {GUARD}; systemctl reset-failed; systemctl start docker")
    assert engine.until(lambda: healthy(rebooted), 90)
    assert drift(rebooted) == []
