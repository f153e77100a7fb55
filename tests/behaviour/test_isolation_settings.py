"""What settings open, and no more than that; tried with packets and requests."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment import Deployment, Run
from tests.doors import DOCKER_DNS, ECHO, Seen, Who
from tests.isolation import HUB_IMAGE, PYTHON, Container, World, world
from tests.lab import Host, engine
from tests.lab.demo import hub_of
from tests.lab.host import ROOT
from tests.lab.outside import HOST, HOST6, METADATA
from tests.lab.outside.world import SERVER

OPEN, REFUSED = Seen.OPEN, Seen.REFUSED
BACKEND = "172.27.0.50"
INTEGRATOR, READER, FOREIGNER = "198.51.100.8", "198.51.100.9", "198.51.100.200"
READER6, FOREIGNER6 = "2001:db8:a::1", "2001:db8:b::1"
GET = """
import http.client, json, ssl, sys
host, source, path, headers = json.load(sys.stdin)
hub = http.client.HTTPSConnection(
    host, 8000, timeout=10, context=ssl._create_unverified_context(), source_address=(source, 0)
)
hub.request("GET", path, headers=headers)
print(hub.getresponse().status)
"""


@pytest.fixture(scope="module")
def isolated(host: Host, deployment: Deployment, first_run: Run) -> Iterator[World]:
    # While it still reaches Debian's archive.
    host.sh("apt-get -qq update; apt-get -qq install -y --no-install-recommends docker-compose")
    tests = host.sh("ip -4 -o route show dev eth0 scope link | cut -d ' ' -f 1")
    try:
        deployment.run(
            session_outbound=[f"mirror={SERVER}:80,9001"],
            service_outbound=["hub"],
            backends=[BACKEND],
            public_bind_ipv6="::",
            public_sources=["198.51.100.8/29", "2001:db8:a::/48", tests],
            api_sources=[f"{INTEGRATOR}/32", tests],
        )
        with world(host) as made:
            yield made
    finally:
        deployment.run()


@pytest.fixture(scope="module")
def backend(host: Host, isolated: World) -> Iterator[Container]:
    """The compose project of examples/; of its own are image and command."""
    own = {
        "image": HUB_IMAGE,
        "entrypoint": ["python3", "/world.py", "echo", str(ECHO)],
        "volumes": ["/var/lib/outside/world.py:/world.py:ro"],
    }
    project = Path("/root/compose-attach")
    files = {
        "docker-compose.yml": (ROOT / "examples/compose-attach/docker-compose.yml").read_text(),
        "docker-compose.override.yml": json.dumps({"services": {"backend": own}}),
    }
    host.sh(f"mkdir -p {project}")
    for name, text in files.items():
        host.run("tee", str(project / name), stdin=text.encode())
    host.sh(f"cd {project}; docker-compose up -d 2>&1")
    id_ = host.sh("docker ps -q --filter label=com.docker.compose.service=backend")
    assert engine.until(lambda: isolated.try_from(Who.HOST, tcp(BACKEND, ECHO)) == [OPEN], 60)
    yield Container(id_, BACKEND)
    host.sh(f"cd {project}; docker-compose down 2>&1; rm -r {project}")


def tcp(address: str, *ports: int) -> list[tuple[str, str, int]]:
    return [("tcp", address, port) for port in ports]


def test_a_session_reaches_the_listed_destination_and_no_port_beside_it(isolated: World) -> None:
    ports = tcp(SERVER, 80, 9001, 443, 9002)
    assert isolated.try_from(Who.HOST, ports) == [OPEN] * 4
    assert isolated.try_from(Who.SESSION, ports) == [OPEN, OPEN, REFUSED, REFUSED]
    others = [*tcp(METADATA, 80), ("udp", SERVER, 9001), ("ping", SERVER, 0)]
    assert OPEN not in isolated.try_from(Who.SESSION, others)
    assert isolated.try_from(Who.HOST, others) == [OPEN] * 3


def test_a_session_finds_the_destination_by_its_name(isolated: World) -> None:
    assert isolated.try_from(Who.SESSION, [*tcp("mirror", 80), *tcp("mirror", 443)]) == [
        OPEN,
        REFUSED,
    ]


def test_the_listed_service_reaches_the_internet_and_nothing_else(isolated: World) -> None:
    at = isolated.addresses
    internet = [*tcp(SERVER, 80, 443), ("udp", SERVER, 7), ("dns", DOCKER_DNS, 53)]
    assert isolated.try_from(Who.HUB, internet) == [OPEN] * 4
    not_this = [*tcp(METADATA, 80), *tcp(at.gateway, 22, ECHO), *tcp(at.host, 22, ECHO)]
    not_this += tcp(at.neighbour, ECHO)
    assert isolated.try_from(Who.HOST, not_this) == [OPEN] * 6
    assert isolated.try_from(Who.HUB, not_this) == [REFUSED] * 6
    for service in (Who.PROXY, Who.DATABASE):
        assert OPEN not in isolated.try_from(service, internet)


def test_a_backend_reaches_sessions_which_do_not_reach_it(
    isolated: World, backend: Container
) -> None:
    at = isolated.addresses
    may = [*tcp(at.neighbour, 8888), *tcp(at.hub, 8081), *tcp(at.proxy, 8000)]
    may_not = [*tcp(at.neighbour, ECHO), *tcp(at.proxy, 8001), *tcp(at.database, 5432)]
    may_not += [*tcp(at.gateway, 22), *tcp(SERVER, 80)]
    assert isolated.try_from(Who.HOST, may + may_not + tcp(BACKEND, ECHO)) == [OPEN] * 9
    assert isolated.try_from(backend, may) == [OPEN] * 3
    assert isolated.try_from(backend, may_not) == [REFUSED] * 5
    assert isolated.try_from(Who.SESSION, tcp(BACKEND, ECHO)) == [REFUSED]
    # On the network, but on no list:
    assert isolated.try_from(Who.STRANGER, may + may_not) == [REFUSED] * 8


USE = """
import json, ssl, sys, urllib.request
trusted = ssl.create_default_context(cafile="/etc/jupyterhub/tls.crt")
for url, token in json.load(sys.stdin):
    asked = urllib.request.Request(url, headers={"Authorization": f"token {token}"})
    print(urllib.request.urlopen(asked, timeout=10, context=trusted).status)
"""


def test_a_compose_project_uses_hub_and_session_by_their_names(
    host: Host, isolated: World, backend: Container
) -> None:
    hub = hub_of(host)[1]
    asked = [
        ("http://jupyterhub_hub:8081/hub/api/users", hub.token),
        (
            f"https://jupyterhub_proxy:8000/user/{isolated.user}/api/status",
            hub.mint_token(isolated.user),
        ),
    ]
    wire = json.dumps(asked).encode()
    told = host.run("docker", "exec", "-i", backend.id, "python3", "-c", USE, stdin=wire)
    assert told.stdout.split() == [b"200", b"200"]


def test_only_listed_sources_reach_the_public_port(isolated: World) -> None:
    def public(source: str, address: str) -> Seen:
        return isolated.try_from(Who.OUTSIDE, tcp(address, 8000), source=source)[0]

    for source in (INTEGRATOR, READER):
        assert public(source, HOST) is OPEN
    assert public(READER6, HOST6) is OPEN
    assert public(FOREIGNER, HOST) is not OPEN
    assert public(FOREIGNER6, HOST6) is not OPEN
    # It is not that they reach nothing.
    assert isolated.try_from(Who.OUTSIDE, tcp(HOST, 22), source=FOREIGNER) == [OPEN]
    assert isolated.try_from(Who.OUTSIDE, tcp(HOST6, 22), source=FOREIGNER6) == [OPEN]


def test_only_listed_sources_use_the_api_and_sessions_are_open_to_all(
    host: Host, isolated: World
) -> None:
    hub = hub_of(host)[1]
    user = isolated.user

    def status(source: str, path: str, token: str, **more: str) -> int:
        address = HOST6 if ":" in source else HOST
        headers = {"Authorization": f"token {token}", **more}
        wire = json.dumps([address, source, path, headers]).encode()
        run = f"ip netns exec outside {PYTHON} -c {shlex.quote(GET)}"
        return int(host.run("sh", "-c", run, stdin=wire).stdout)

    assert status(INTEGRATOR, "/hub/api/users", hub.token) == 200
    token = hub.mint_token(user)
    for source in (READER, READER6):
        assert status(source, "/hub/api/users", hub.token) == 403
        assert status(source, "/hub/api/", hub.token) == 403
        for path in ("//hub/api/users", "/hub//api/users", "/hub/%61pi/users"):
            assert status(source, path, hub.token) != 200
        # Whom they say they are is nothing to go by.
        forged = {"X-Forwarded-For": INTEGRATOR, "X-Real-IP": INTEGRATOR}
        assert status(source, "/hub/api/users", hub.token, **forged) == 403
        assert status(source, f"/user/{user}/api/status", token) == 200
