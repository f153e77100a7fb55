"""A certificate comes, is renewed, and ends; sessions go on."""

from __future__ import annotations

import json
import shlex
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
import websocket

from tests.deployment import Deployment, Run
from tests.lab import Host, engine
from tests.lab.client import Hub, Session
from tests.lab.host import ROOT

HOOKS = ROOT / "examples" / "certbot"
LIVE = "/etc/letsencrypt/live/127.0.0.1"
DAILY = "integrable-jupyterhub-daily.service"


@dataclass(frozen=True)
class Authority:
    """Makes certificates for the lab's public address, in a folder as certbot leaves them."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.crt"

    def issue(self, name: str, days: int) -> Path:
        """Key and chain of a new certificate that ends in `days`."""
        script = f"""
new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
[ -e ca.crt ] || openssl req -x509 $new -days 90 -keyout ca.key -out ca.crt -subj /CN=authority
mkdir -p {name}
openssl req $new -keyout {name}/privkey.pem -out {name}.csr -subj /CN={name}
printf 'subjectAltName=IP:127.0.0.1' > ext
openssl x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -days {days} -extfile ext \
  -out {name}/cert.pem
cat {name}/cert.pem ca.crt > {name}/fullchain.pem
"""
        subprocess.run(["sh", "-ec", script], cwd=self.folder, check=True, capture_output=True)
        return self.folder / name


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def served(host: Host) -> str:
    return ssl.get_server_certificate((host.public_host, host.public_port))


def issued(lineage: Path) -> str:
    return (lineage / "cert.pem").read_text()


def asks(channel: websocket.WebSocket) -> str:
    """What the kernel answers through a websocket that is open."""
    header = {"msg_id": uuid.uuid4().hex, "session": "", "username": "", "date": ""}
    header |= {"msg_type": "kernel_info_request", "version": "5.3"}
    request = {"header": header, "parent_header": {}, "metadata": {}, "content": {}}
    channel.send(json.dumps({**request, "channel": "shell"}))
    while True:
        message = json.loads(channel.recv())
        if message["msg_type"] == "kernel_info_reply":
            return str(message["content"]["status"])


def journal(host: Host) -> str:
    host.sh(f"systemctl start {DAILY}")
    said = host.sh(f"journalctl --sync; journalctl -q --no-pager -o cat -p warning -u {DAILY}")
    return "\n".join(line for line in said.splitlines() if "certificate" in line)


@pytest.fixture
def hook_of_the_controller(tmp_path: Path, deployment: Deployment) -> list[str]:
    """The hook as an admin fills it in: here the clone is a folder that deploys to the lab."""
    clone = tmp_path / "clone"
    (clone / "files" / "ssl").mkdir(parents=True)
    files = {"key": "hub.key", "certificate": "hub.crt"}
    given = {f"tls_{what}_file": str(clone / "files/ssl" / file) for what, file in files.items()}
    command = shlex.join(deployment.command(**given))
    environment = f"LAB={deployment.host.name} PYINFRA_PROGRESS=off"
    (clone / "Makefile").write_text(f"deploy:\n\tcd {ROOT} && {environment} {command}\n")
    hook = (HOOKS / "deploy-from-controller.sh").read_text()
    hook = hook.replace("domain=hub.example.org\n", "domain=127.0.0.1\n")
    hook = hook.replace("clone=/opt/integrable-jupyterhub\n", f"clone={clone}\n")
    return ["sh", "-c", hook]


@pytest.fixture
def old_certificate(host: Host) -> Iterator[None]:
    """Back before the session ends, which trusts no other."""
    tls, kept = "/etc/integrable-jupyterhub/tls", "/root/tls"
    host.sh(f"cp -a {tls} {kept}")
    yield
    host.sh(f"cp -a {kept}/. {tls}; rm -r {kept}; docker kill --signal HUP jupyterhub_proxy")
    certificate = host.sh(f"cat {tls}/tls.crt")
    assert engine.until(lambda: served(host).strip() == certificate, 20)


def renewed(lineage: str | Path, domains: str = "www.example.org 127.0.0.1") -> dict[str, str]:
    """What certbot tells its deploy hooks."""
    return {"RENEWED_LINEAGE": str(lineage), "RENEWED_DOMAINS": domains}


def test_a_certificate_is_renewed_under_open_connections(
    host: Host,
    deployment: Deployment,
    session: Session,
    containers: docker.DockerClient,
    authority: Authority,
    hook_of_the_controller: list[str],
    restored: None,
    old_certificate: None,
) -> None:
    kernel = session.start_kernel()
    session.run("x = 41", kernel=kernel)
    channel = session.socket(kernel, 60)
    proxy = containers.containers.get("jupyterhub_proxy").id
    before = journal(host)

    def goes_on() -> None:
        assert asks(channel) == "ok"
        later = Session(session.url, session.token, authority.ca)
        assert later.run("x + 1", kernel=kernel).value == "42"
        assert containers.containers.get("jupyterhub_proxy").id == proxy

    # One of the admin's own, that ends soon.
    short = authority.issue("short", 20)
    run = deployment.run(
        tls_key_file=str(short / "privkey.pem"), tls_certificate_file=str(short / "fullchain.pem")
    )
    assert run.changed == [
        "TLS | Install the certificate and its key",
        "Proxy | Serve the certificate",
        "Daily | Write the daily look, and what shows logs",  # it says what to do
        "Release | Record what runs",
    ]
    assert served(host) == issued(short)
    (warning,) = (line for line in run.output.splitlines() if " ends on " in line)
    assert "fullchain.pem ends on 20" in warning
    assert warning.endswith("; put a renewed one in its place and deploy")
    said = journal(host).removeprefix(before).strip()
    assert said.startswith("the hub's certificate ends on ")
    assert said.endswith("; put a renewed one in its place and deploy")
    goes_on()

    # certbot on the controller, for another name, and for this one.
    longer = authority.issue("longer", 60)
    for domains, now in (("www.example.org", short), ("www.example.org 127.0.0.1", longer)):
        subprocess.run(
            hook_of_the_controller,
            env={**deployment.environment, **renewed(longer, domains)},
            check=True,
            capture_output=True,
        )
        assert served(host) == issued(now)
        assert asks(channel) == "ok"  # by which it answers the server's pings, too
    goes_on()
    assert journal(host).removeprefix(before).strip() == said  # nothing new

    # certbot on the host; no later deploy undoes it.
    own = authority.issue("own", 60)
    host.sh(f"mkdir -p {LIVE}")
    for file in ("privkey.pem", "fullchain.pem"):
        host.run("tee", f"{LIVE}/{file}", stdin=(own / file).read_bytes())
    hook = (HOOKS / "on-the-host.sh").read_text().replace("=hub.example.org\n", "=127.0.0.1\n")
    words = [f"{name}={value}" for name, value in renewed(LIVE).items()]
    host.run("env", *words, "sh", "-c", hook)
    assert engine.until(lambda: served(host) == issued(own), 20)
    assert host.sh("stat -c '%a %u %g' /etc/integrable-jupyterhub/tls/tls.key") == "640 0 65600"
    run = deployment.run(tls_managed_on_host=True)
    assert run.changed == [
        "Daily | Write the daily look, and what shows logs",
        "Release | Record what runs",
    ]
    assert served(host) == issued(own)
    goes_on()
    channel.close()
    host.sh("rm -r /etc/letsencrypt")


def test_the_proxy_keeps_what_it_serves_where_key_and_certificate_do_not_fit(
    host: Host, hub: Hub, first_run: Run
) -> None:
    now = served(host)
    folder = "/etc/integrable-jupyterhub/tls"
    host.sh(f"cd {folder}; cp -p tls.key was; openssl genpkey -algorithm ed25519 > tls.key")
    try:
        host.sh("docker kill --signal HUP jupyterhub_proxy")
        said = "docker logs --since 1m jupyterhub_proxy 2>&1"
        assert engine.until(lambda: "kept the key and certificate of before" in host.sh(said), 20)
        assert served(host) == now
        assert hub.call("GET", "/").status_code == 200
    finally:
        host.sh(f"cd {folder}; mv was tls.key")
