"""Who reaches whom, tried with connections; each refusal beside a proof that the door exists."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import docker
import pytest

from tests.deployment import Deployment
from tests.lab import Host
from tests.lab.client import Session
from tests.sessions import address_of, name_of, session_containers

HUB, DATABASE, PROXY, GATEWAY = "172.27.0.2", "172.27.0.3", "172.27.0.4", "172.27.0.1"
OPEN, REFUSED = "open", "ConnectionRefusedError"

CONNECT = """
import socket
def reach(address, port):
    try:
        socket.create_connection((address, port), timeout=3).close()
        return "open"
    except OSError as error:
        return type(error).__name__
[reach(*target) for target in {targets}]
"""


def reach(session: Session, *targets: tuple[str, int]) -> list[str]:
    """What a session meets at each address and port."""
    value = session.run(CONNECT.format(targets=list(targets))).value
    assert value
    return list(json.loads(value.replace("'", '"')))


def service_reaches(containers: docker.DockerClient, service: str, address: str, port: int) -> bool:
    """Whether a connection from inside a service's container comes about."""
    probe = ["timeout", "3", "bash", "-c", f": > /dev/tcp/{address}/{port}"]
    return bool(containers.containers.get(service).exec_run(probe).exit_code == 0)


@pytest.fixture
def neighbour(open_session: Callable[[], Session], containers: docker.DockerClient) -> str:
    """The address of somebody else's session, which serves."""
    address = address_of(open_session(), containers)
    assert service_reaches(containers, "jupyterhub_hub", address, 8888)
    return address


@pytest.fixture
def listener(host: Host) -> Iterator[int]:
    """A port on all addresses of the host, behind which a program listens."""
    host.sh(
        "systemd-run --quiet --unit listener --collect"
        " systemd-socket-activate --accept --inetd -l 9555 cat"
    )
    host.sh("timeout 10 sh -c 'until bash -c \": > /dev/tcp/127.0.0.1/9555\"; do :; done'")
    yield 9555
    host.sh("systemctl stop listener")


def closed_doors(neighbour: str, listener: int) -> list[tuple[str, int]]:
    return [
        (HUB, 22),
        (DATABASE, 5432),
        (PROXY, 8001),
        (neighbour, 8888),
        (GATEWAY, 22),
        (GATEWAY, listener),
        (GATEWAY, 8000),  # the published port, by an address of the host
    ]


def test_a_session_reaches_hub_and_proxy_and_nothing_else(
    session: Session, neighbour: str, listener: int, containers: docker.DockerClient
) -> None:
    assert reach(session, (HUB, 8081), (PROXY, 8000)) == [OPEN, OPEN]
    assert set(reach(session, *closed_doors(neighbour, listener))) == {REFUSED}
    # The positive controls: these doors exist, for those who may pass.
    for address, port in [(DATABASE, 5432), (PROXY, 8001), (neighbour, 8888)]:
        assert service_reaches(containers, "jupyterhub_hub", address, port)


DAMAGES = {
    "bridge frames bypass iptables": "sysctl -qw net.bridge.bridge-nf-call-iptables=0",
    "iptables is flushed": "iptables -F; iptables -P FORWARD ACCEPT",
    "somebody accepts all": "iptables -I DOCKER-USER 1 -j ACCEPT; iptables -I INPUT 1 -j ACCEPT",
    "docker restarts": "systemctl restart docker",
    "nftables restarts": "systemctl restart nftables",
    "a network comes and goes": "docker network create other; docker network rm other",
}


@pytest.fixture
def mended(deployment: Deployment, host: Host) -> Iterator[None]:
    """Afterwards the rules are as deployed, Docker's own too, which only its restart restores."""
    yield
    host.sh(
        "sysctl -qw net.bridge.bridge-nf-call-iptables=1; iptables -F; systemctl restart docker"
    )
    deployment.run()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_session_stays_confined_whatever_happens_to_the_rules_of_others(
    host: Host,
    session: Session,
    neighbour: str,
    listener: int,
    containers: docker.DockerClient,
    mended: None,
    damage: str,
) -> None:
    inside = session_containers(containers)[name_of(session)]
    code = CONNECT.format(targets=closed_doors(neighbour, listener))
    code = code.rstrip().rpartition("\n")[0] + "\nprint(" + code.rstrip().rpartition("\n")[2] + ")"
    host.sh(damage)
    # By `docker exec`, for with damaged rules the way to the kernel may be closed too.
    told = inside.exec_run(["python3", "-c", code])
    assert told.exit_code == 0, told.output
    assert OPEN not in str(told.output)


SERVICES_DOORS = [
    ("jupyterhub_hub", DATABASE, 5432, True),
    ("jupyterhub_hub", PROXY, 8001, True),
    ("jupyterhub_hub", PROXY, 8000, False),
    ("jupyterhub_hub", GATEWAY, 22, False),
    ("jupyterhub_hub", GATEWAY, 9555, False),
    ("jupyterhub_proxy", HUB, 8081, True),
    ("jupyterhub_proxy", DATABASE, 5432, False),
    ("jupyterhub_proxy", GATEWAY, 9555, False),
    ("jupyterhub_db", HUB, 8081, False),
    ("jupyterhub_db", PROXY, 8000, False),
    ("jupyterhub_db", PROXY, 8001, False),
    ("jupyterhub_db", GATEWAY, 9555, False),
]


@pytest.mark.parametrize(("service", "address", "port", "allowed"), SERVICES_DOORS)
def test_a_service_reaches_what_it_needs_and_nothing_else(
    containers: docker.DockerClient,
    listener: int,
    service: str,
    address: str,
    port: int,
    allowed: bool,
) -> None:
    assert service_reaches(containers, service, address, port) is allowed


def test_a_forwarded_connection_to_elsewhere_is_refused(
    host: Host, session: Session, containers: docker.DockerClient
) -> None:
    """The "internet" is an address of the lab's own, behind a bridge that the test makes."""
    host.sh("""
ip netns add outside
ip link add outside0 type veth peer name eth0 netns outside
ip address add 198.51.100.1/24 dev outside0; ip link set outside0 up
ip -n outside address add 198.51.100.7/24 dev eth0; ip -n outside link set eth0 up
ip -n outside route add default via 198.51.100.1
systemd-run --quiet --unit outside --collect \\
  ip netns exec outside systemd-socket-activate --accept --inetd -l 80 cat
timeout 10 bash -c 'until : > /dev/tcp/198.51.100.7/80; do :; done'
""")
    try:
        assert reach(session, ("198.51.100.7", 80)) == [REFUSED]
        for service in ("jupyterhub_hub", "jupyterhub_proxy", "jupyterhub_db"):
            assert not service_reaches(containers, service, "198.51.100.7", 80)
    finally:
        host.sh("systemctl stop outside; ip netns delete outside; ip link delete outside0 || true")
