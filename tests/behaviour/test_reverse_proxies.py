"""Debian's Apache and nginx in front of the hub, configured by the files of examples/."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import docker
import pytest
import requests

from tests.deployment import Deployment, Run
from tests.lab import Host, engine
from tests.lab.client import Hub, Session
from tests.lab.demo import hub_of
from tests.lab.host import ROOT, ssh_command
from tests.lms import by_php, replay, users_name

GATEWAY = "172.27.0.1"
"""How the hub's proxy sees who comes from the host itself."""

CERTIFICATE = "/etc/ssl/certs/hub.example.org.crt"
# Nothing starts before it is configured: both would have port 80.
INSTALL = f"""
printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
trap 'rm /usr/sbin/policy-rc.d' EXIT
rm -f /var/log/apache2/* /var/log/nginx/*
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update; apt-get -qq install -y --no-install-recommends apache2 nginx >/dev/null
a2enmod -q ssl proxy_http headers >/dev/null
a2dissite -q 000-default >/dev/null; rm -f /etc/nginx/sites-enabled/default
echo 'Listen 443' > /etc/apache2/ports.conf
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=hub \\
  -addext subjectAltName=DNS:localhost -keyout /etc/ssl/private/hub.example.org.key \\
  -out {CERTIFICATE} 2>/dev/null
"""
STOP = "systemctl disable -q --now apache2 nginx"
SITES = {
    "apache": "/etc/apache2/sites-enabled/jupyterhub.conf",
    "nginx": "/etc/nginx/sites-enabled/jupyterhub.conf",
}


def example(server: str, base_url: str) -> str:
    """The file as an admin copies it, with what README.md says to change."""
    text = (ROOT / "examples" / server / "jupyterhub.conf").read_text()
    changes = {
        "Define JUPYTER_PATH /jupyter\n": f"Define JUPYTER_PATH {base_url}\n",
        "location /jupyter/ {": f"location {base_url.rstrip('/')}/ {{",
        "listen 443 ssl;": "listen 8443 ssl;",  # Apache has the other
    }
    for was, now in changes.items():
        text = text.replace(was, now)
    return text


def configure(host: Host, **files: str) -> None:
    for server, text in files.items():
        host.run("tee", SITES[server], stdin=text.encode())
    host.sh("systemctl restart apache2 nginx")


@contextmanager
def forwarded(host: Host, *targets: str) -> Iterator[list[int]]:
    """Local ports that lead to addresses of the lab host, from 127.0.0.1 there."""
    ports = []
    for _ in targets:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    pairs = zip(ports, targets, strict=True)
    ways = [word for port, at in pairs for word in ("-L", f"127.0.0.1:{port}:{at}")]
    forward = ssh_command(host.ssh_config, (), "-N", "-o", "ExitOnForwardFailure=yes", *ways)

    def open_() -> bool:
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", ports[-1])) == 0

    with subprocess.Popen(forward, stdin=subprocess.DEVNULL) as tunnel:
        try:
            assert engine.until(open_, 20), "no tunnel to the lab"
            yield ports
        finally:
            tunnel.terminate()


@dataclass(frozen=True)
class World:
    """The hub by each way; by `apache elsewhere` from another address of the host's."""

    base_url: str
    hubs: dict[str, Hub]


@pytest.fixture(scope="module")
def installed(host: Host, first_run: Run) -> Iterator[None]:
    host.sh(INSTALL, timeout=300)
    yield
    host.sh(STOP)


@pytest.fixture(scope="module", params=["/", "/jupyter"])
def world(
    request: pytest.FixtureRequest,
    host: Host,
    deployment: Deployment,
    installed: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    base_url: str = request.param
    own = host.sh("ip -4 -o address show dev eth0 | awk '{ print $4 }' | cut -d / -f 1")
    try:
        deployment.run(
            public_url="https://localhost",
            base_url=base_url,
            trusted_proxies=[GATEWAY],
            api_sources=["127.0.0.1/32", f"{GATEWAY}/32"],
        )
        configure(host, **{server: example(server, base_url) for server in SITES})
        direct = hub_of(host, base_url)[1]
        ca = tmp_path_factory.mktemp("tls") / "web.crt"
        ca.write_text(host.sh(f"cat {CERTIFICATE}"))
        ways = {
            "direct": ("127.0.0.1:8000", direct.ca),
            "apache": ("127.0.0.1:443", ca),
            "nginx": ("127.0.0.1:8443", ca),
            "apache elsewhere": (f"{own}:443", ca),
        }
        with forwarded(host, *(at for at, _ in ways.values())) as ports:
            yield World(
                base_url,
                {
                    way: Hub(
                        f"https://localhost:{port}{base_url.rstrip('/')}/hub/api",
                        direct.token,
                        trusted,
                    )
                    for port, (way, (_, trusted)) in zip(ports, ways.items(), strict=True)
                },
            )
    finally:
        if base_url != "/":
            deployment.run()


@pytest.fixture
def session(world: World) -> Iterator[Session]:
    """A session by the direct way."""
    hub, name = world.hubs["direct"], users_name()
    hub.create_user(name)
    hub.start_server(name)
    yield hub.attach(name, hub.mint_token(name))
    hub.delete_user(name)


def answers(hub: Hub) -> bool:
    try:
        return hub.call("GET", "/").status_code == 200
    except requests.RequestException:
        return False


def through(hub: Hub, session: Session) -> Session:
    return hub.attach(session.url.rpartition("/")[2], session.token)


@pytest.mark.parametrize("way", ["direct", "apache", "nginx"])
def test_the_lms_sends_its_calls_through(
    world: World, containers: docker.DockerClient, way: str
) -> None:
    if (way, world.base_url) != ("direct", "/"):  # that is test_contract.py
        name = users_name()
        try:
            replay(by_php, world.hubs[way], name, containers)
        finally:
            world.hubs["direct"].delete_user(name)


def test_a_cell_runs_through_a_websocket_by_each_way(world: World, session: Session) -> None:
    for way in ("direct", *SITES):
        seen = through(world.hubs[way], session)
        assert seen.run("6*7").value == "42", way
        page = seen.http.get(seen.link(), timeout=60)
        assert (page.status_code, page.url.partition("?")[0]) == (200, f"{seen.url}/lab"), way


def test_a_file_with_an_odd_name_goes_through(world: World, session: Session) -> None:
    for way in SITES:
        seen = through(world.hubs[way], session)
        model = {"type": "file", "format": "text", "content": way}
        for name in ("a%20b%3Fc%23d.txt", "%E4%BD%A0%25.txt", "a+b%26c.txt"):
            assert seen.request("PUT", f"/api/contents/{name}", body=model).status_code < 300
            assert through(world.hubs["direct"], session).request(
                "GET", f"/api/contents/{name}"
            ).json()["content"] == way  # fmt: skip


def test_an_impostor_in_the_hubs_place_gets_nothing(
    host: Host, world: World, session: Session
) -> None:
    """Somebody whose certificate is not the hub's; and somebody else's, made by whom we trust."""
    files = {server: example(server, world.base_url) for server in SITES}
    known = "/etc/integrable-jupyterhub/tls/tls.crt"
    wrong = {
        "another certificate": {s: text.replace(known, CERTIFICATE) for s, text in files.items()},
        "another name": {
            "apache": files["apache"].replace("PreserveHost on", "PreserveHost off"),
            "nginx": files["nginx"].replace("name jupyterhub_proxy;", "name hub.example.org;"),
        },
    }
    try:
        for what, changed in wrong.items():
            assert all(changed[server] != files[server] for server in SITES)
            configure(host, **changed)
            for way in SITES:
                assert through(world.hubs[way], session).status() >= 500, (what, way)
    finally:
        configure(host, **files)
    for way in SITES:
        assert through(world.hubs[way], session).status() == 200


def test_whom_a_web_server_speaks_for_counts_if_it_is_named(host: Host, world: World) -> None:
    forged = {
        "X-Forwarded-For": "127.0.0.1",
        "X-Real-IP": "127.0.0.1",
        "Forwarded": "for=127.0.0.1",
    }

    def status(hub: Hub, headers: dict[str, str]) -> int:
        return hub.http.get(f"{hub.api_url}/users", headers=headers, timeout=60).status_code

    for way in SITES:
        assert status(world.hubs[way], {}) == 200, way
        # Somebody else's word for whom it comes from is nothing to Apache and nginx.
        assert status(world.hubs[way], {"X-Forwarded-For": "198.51.100.7"}) == 200, way
    assert status(world.hubs["apache elsewhere"], {}) == 403
    assert status(world.hubs["apache elsewhere"], forged) == 403
    # Past the web servers, from outside: no named proxy, so its word counts for nothing.
    outside = hub_of(host, world.base_url)[1]
    assert status(outside, {}) == 403
    assert status(outside, forged) == 403


ECHO = """
const https = require("https"), fs = require("fs"), at = "/run/secrets/tls/tls.";
const server = https.createServer(
  { key: fs.readFileSync(at + "key"), cert: fs.readFileSync(at + "crt") },
  (request, response) => response.end(JSON.stringify(request.headers)),
);
server.listen(0, "127.0.0.1", () => https.get(
  { port: server.address().port, host: "127.0.0.1", rejectUnauthorized: false,
    headers: JSON.parse(process.env.SENT) },
  (answer) => { answer.pipe(process.stdout); answer.on("end", () => server.close()); },
));
"""


@pytest.mark.parametrize("trusted", [True, False])
def test_the_proxy_passes_on_what_named_web_servers_say(
    host: Host, first_run: Run, trusted: bool
) -> None:
    said = {
        "forwarded": "for=192.0.2.1;proto=http",
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "http",
        "x-real-ip": "192.0.2.1",
        "x-scheme": "http",
    }
    told = host.run(
        *("docker", "exec", "-e", f"SENT={json.dumps({**said, 'x-other': 'kept'})}"),
        *("-e", f"TRUSTED_PROXIES={'127.0.0.1' if trusted else '172.27.0.9'}"),
        *("jupyterhub_proxy", "node", "--require", "/opt/proxy/door.js", "-e", ECHO),
    )
    seen = json.loads(told.stdout)
    assert seen["x-other"] == "kept"
    assert {name: seen[name] for name in said if name in seen} == (said if trusted else {})


def test_no_token_is_in_a_web_servers_log_whatever_fails(
    host: Host, world: World, session: Session
) -> None:
    if world.base_url == "/":
        pytest.skip("once is enough")
    hub, name, token = world.hubs["direct"], session.url.rpartition("/")[2], session.token
    statuses: set[tuple[str, int]] = set()

    def ask() -> None:
        for way, port in (("apache", "443"), ("nginx", "8443")):
            place = world.hubs[way].public_url
            with requests.Session() as nobody:
                nobody.trust_env = False
                nobody.verify = str(world.hubs[way].ca)
                nobody.headers["Referer"] = f"{place}/user/{name}/lab?token={token}"
                for path in (f"/user/{name}/lab", f"/user/{name}/api/kernels", "/hub/api/users"):
                    url = f"{place}{path}"
                    # At first the proxy may wait for a hub that went away.
                    with suppress(requests.Timeout):
                        answer = nobody.get(url, params={"token": token}, timeout=5)
                        statuses.add((way, answer.status_code))
            # What no client of ours would send.
            address = f"{world.base_url}/user/{name}/%zz/../../../..?token={token}"
            for rest in ("HTTP/1.1", "x HTTP/1.1", f"{'a' * 9000} HTTP/1.1"):
                line = f"GET {address} {rest}\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                host.run(
                    *("timeout", "10", "openssl", "s_client", "-quiet", "-connect"),
                    f"127.0.0.1:{port}",
                    stdin=line.encode(),
                    check=False,
                )

    try:
        ask()
        host.sh("docker stop jupyterhub_hub")
        ask()
        host.sh("docker stop jupyterhub_proxy")
        ask()
    finally:
        host.sh("docker start jupyterhub_proxy jupyterhub_hub")
    assert engine.until(lambda: answers(hub), 90)
    print(f"\n{sorted(statuses)}")
    for way, folder in (("apache", "apache2"), ("nginx", "nginx")):
        assert max(status for seen, status in statuses if seen == way) >= 502
        # The positive control: these are the logs of just these requests.
        assert name in host.sh(f"cat /var/log/{folder}/jupyterhub-access.log")
    logs = host.sh("cat /var/log/apache2/*.log /var/log/nginx/*.log")
    for log in (logs, host.sh("journalctl --no-pager --quiet")):
        assert token not in log
