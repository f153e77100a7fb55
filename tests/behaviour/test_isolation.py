"""Who reaches whom, tried with packets, from really started sessions; the claims: tests/doors.py.

The internet is the lab's own: no packet leaves the machine, even where the rule under test fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.deployment import Deployment, Run
from tests.doors import DOCKER_DNS, Seen, Who
from tests.isolation import (
    CONTAINERS,
    NETWORK,
    World,
    leaks,
    problems,
    session_of,
    shut_out,
    world,
)
from tests.lab import Host, engine
from tests.lab.client import Session
from tests.lab.outside.world import SERVER
from tests.sessions import name_of

FIREWALL = "integrable-jupyterhub-firewall"
OPEN = Seen.OPEN
HUB_HEALTH = f"docker exec {CONTAINERS[Who.HUB]} python3 -m integrable_jupyterhub health"

# systemd allows Docker three starts a minute, tests do more.
RESTART_DOCKER = "systemctl reset-failed docker; systemctl restart docker"


@pytest.fixture(scope="module")
def isolated(host: Host, first_run: Run) -> Iterator[World]:
    with world(host) as made:
        yield made


def test_everybody_reaches_what_they_need_and_nothing_else(isolated: World) -> None:
    assert problems(isolated.matrix()) == []


# --- Whatever happens to the rules of others --------------------------------------------------
DAMAGES = {
    "bridge frames bypass iptables": "sysctl -qw net.bridge.bridge-nf-call-iptables=0",
    "somebody accepts all": "iptables -I DOCKER-USER 1 -j ACCEPT; iptables -I INPUT 1 -j ACCEPT",
    "iptables is flushed": "iptables -F; iptables -P FORWARD ACCEPT",
}
# With Docker's start the rules are in front again, by themselves.
MENDED = {
    "iptables is flushed, then docker restarts": f"iptables -F; {RESTART_DOCKER}",
    "docker restarts": RESTART_DOCKER,
    "nftables restarts": "systemctl reset-failed docker; systemctl restart nftables",
    "a network comes and goes": "docker network create other; docker network rm other",
}
# What one unit's restart entails for others, systemctl does not wait for.
SETTLED = (
    'timeout 60 sh -c \'until [ -z "$(systemctl list-jobs --no-legend | grep -v -e -daily)" ];'
    " do sleep 0.1; done'"
)


@pytest.fixture
def mended(deployment: Deployment, host: Host) -> Iterator[None]:
    """Afterwards the rules are as deployed, Docker's own too, which only its restart restores."""
    yield
    host.sh(f"sysctl -qw net.bridge.bridge-nf-call-iptables=1; {RESTART_DOCKER}")
    deployment.run()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_sessions_stay_confined_whatever_happens_to_the_rules(
    host: Host, isolated: World, mended: None, damage: str
) -> None:
    host.sh(damage)
    results = isolated.matrix()
    assert leaks(results) == []
    assert shut_out(results) == []


@pytest.mark.parametrize("event", MENDED.values(), ids=MENDED.keys())
def test_all_is_as_deployed_after(
    host: Host, isolated: World, deployment: Deployment, event: str
) -> None:
    host.sh(f"{event}; {SETTLED}")
    assert problems(isolated.matrix()) == []
    assert deployment.run().changed == []


REPEATED = {
    "the rules are applied again": f"systemctl reload {FIREWALL}",
    "networks come and go": "docker network create storm && docker network rm storm",
}


@pytest.mark.parametrize("repeated", REPEATED.values(), ids=REPEATED.keys())
def test_nothing_gets_out_at_any_moment_while(host: Host, isolated: World, repeated: str) -> None:
    """Tried by a session, and by a container that no limit of new connections slows down."""
    before = isolated.outside.mark()
    with isolated.storm(Who.SESSION, 9001) as of_session, isolated.storm(Who.STRANGER, 9001) as of:
        attempts = 0
        while attempts <= 1000:
            host.sh(f"set -e; for i in $(seq 100); do {repeated} >/dev/null; done", timeout=300)
            attempts = of_session.attempts + of.attempts
    assert isolated.try_from(Who.HOST, [("tcp", SERVER, 9002)]) == [OPEN]
    print(f"\n{attempts} times TCP and UDP tried; {isolated.outside.count(before, 9001)} got out")
    assert engine.until(lambda: isolated.outside.count(before, 9002) == 1, 30)  # what comes last
    assert isolated.outside.count(before, 9001) == 0


# --- Names ------------------------------------------------------------------------------------
@pytest.mark.parametrize("resolver", ["loopback", "lan"])
def test_no_name_leaves_a_session_whatever_the_hosts_resolver(
    host: Host, isolated: World, open_session: Callable[[], Session], resolver: str
) -> None:
    """Docker asks the host's resolver for its containers: the DNS server's log shows whether."""
    outside = isolated.outside
    outside.resolver(resolver)  # type: ignore[arg-type]
    try:
        session = session_of(host, name_of(open_session()))
        before = outside.mark()
        by_docker = ("dns", DOCKER_DNS, 53)
        ways = [by_docker, ("dns", "172.27.0.1", 53), ("dns", SERVER, 53)]
        seen = isolated.try_from(session, [*ways, ("name", "tunnel.outside.test", 0)])
        assert OPEN not in seen
        assert outside.names(before) == []
        hub_and_proxy = [("name", "jupyterhub_hub", 0), ("name", "jupyterhub_proxy", 0)]
        assert isolated.try_from(session, hub_and_proxy) == [OPEN, OPEN]
        # The positive control: what another container asks for does get there.
        host.sh(f"docker restart -t 0 {CONTAINERS[Who.ELSEWHERE]}")
        assert isolated.try_from(Who.ELSEWHERE, [by_docker]) == [OPEN]
        assert len(set(outside.names(before))) == 1
    finally:
        outside.resolver("loopback")


# --- Addresses --------------------------------------------------------------------------------
def test_with_the_hub_stopped_nobody_is_given_a_services_address(
    host: Host, isolated: World
) -> None:
    host.sh(f"docker stop {CONTAINERS[Who.HUB]}")
    try:
        image = "integrable-jupyterhub-hub:latest"
        one = f"docker run --rm --network {NETWORK} --entrypoint hostname {image} -i"
        addresses = host.sh(f"for i in 1 2 3 4; do {one}; done").split()
    finally:
        host.sh(f"docker start {CONTAINERS[Who.HUB]}")
        host.sh(f"timeout 60 sh -c 'until {HUB_HEALTH}; do :; done'")
    assert len(addresses) == 4
    assert all(address.startswith("172.27.128.") for address in addresses), addresses
