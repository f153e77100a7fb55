"""`make doctor`: why a host is not well, and a file without secrets."""

from __future__ import annotations

import base64
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import docker
import pytest

from tests.deployment import Command, Deployment
from tests.lab import Host, engine
from tests.lab.client import Session
from tests.lab.host import ROOT
from tests.sessions import name_of, session_containers

FOLDER = "/etc/integrable-jupyterhub"


def diagnosed(deployment: Deployment) -> tuple[Command, Path]:
    """What the doctor says, and the file that it leaves."""
    before = {*ROOT.glob("doctor-*.tar.gz")}
    done = deployment.runbook("make doctor")
    (made,) = {*ROOT.glob("doctor-*.tar.gz")} - before
    return done, made


@pytest.fixture
def files() -> Iterator[None]:
    """What a test leaves in the clone is taken away."""
    before = {*ROOT.glob("doctor-*.tar.gz")}
    yield
    for path in {*ROOT.glob("doctor-*.tar.gz")} - before:
        path.unlink()


def unpacked(file: Path) -> dict[str, str]:
    with tarfile.open(file) as tar:
        return {
            member.name.removeprefix("doctor/"): read.read().decode(errors="replace")
            for member in tar
            if (read := tar.extractfile(member)) is not None
        }


def secrets_of(host: Host) -> list[str]:
    """All that must not leave the host: of its folder, and of its key a line each."""
    kept = host.sh(f"cd {FOLDER}/secrets; for file in *; do cat $file; echo; done").split()
    values = [part.rpartition(":")[2] for text in kept for part in text.split(";")]
    key = [line for line in host.sh(f"cat {FOLDER}/tls/tls.key").splitlines() if "-" not in line]
    return values + key


def encodings(secret: str) -> list[str]:
    """As it may stand somewhere; of base64 what no neighbour changes."""
    codes = [
        base64.b64encode(b"x" * n + secret.encode())[(8 * n + 5) // 6 : 8 * (n + len(secret)) // 6]
        for n in range(3)
    ]
    return [
        secret,
        quote(secret, safe=""),
        "".join(f"%{ord(c):02X}" for c in secret),
        *map(bytes.decode, codes),
    ]


def test_the_file_tells_all_but_secrets(
    deployment: Deployment,
    host: Host,
    session: Session,
    containers: docker.DockerClient,
    files: None,
) -> None:
    own = session.run("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").stdout.strip()
    known = secrets_of(host)
    assert len(known) >= 10
    # Worse than anything that is logged: each of them, in each encoding.
    text = "\n".join(code for secret in known for code in encodings(secret))
    tokens = [session.token, own]
    text += (
        f"\nGET /lab?token={session.token} Authorization: token {own}\nCookie: a={own}\nthe end\n"
    )
    code = f"import os; os.write(os.open('/proc/1/fd/2', os.O_WRONLY), {text.encode()!r})"
    assert session.run(f"{code}; print('written')").stdout == "written\n"
    container = session_containers(containers)[name_of(session)].name
    # The positive control; a session's output is handed to Docker by and by.
    assert engine.until(lambda: "the end" in host.sh(f"docker logs {container} 2>&1"), 30)
    assert known[0] in host.sh(f"docker logs {container} 2>&1")
    done, file = diagnosed(deployment)
    assert file.name in done.stdout
    assert file.stat().st_mode & 0o777 == 0o600
    found = unpacked(file)
    whole = "\n".join(found.values()) + done.stdout
    for secret in [*known, *tokens]:
        for code in encodings(secret):
            assert code not in whole
    assert "BEGIN PRIVATE KEY" not in whole
    assert "the end" in found[f"logs/sessions/{container}"]
    assert "[secret]" in found[f"logs/sessions/{container}"]
    # What somebody who helps needs is there.
    assert "Running JupyterHub version" in found["logs/hub"]
    assert "JHUB-FORWARD" in found["firewall/iptables"]
    assert '"live-restore": true' in found["docker/daemon.json"]
    assert "jupyterhub_hub" in found["docker/services"]
    assert '"max_sessions": 50' in found["settings.json"]
    assert "docker.io" in found["host/packages"]
    assert [name for name, text in found.items() if "not found" in text.partition("\n")[0]] == []


def test_causes_are_told(deployment: Deployment, host: Host, files: None, restored: None) -> None:
    image = host.sh("docker inspect -f '{{.Config.Image}}' jupyterhub_filter")
    daemon = host.sh("cat /etc/docker/daemon.json")
    try:
        # Python does not fit into so little memory.
        host.sh(
            "set -e; docker stop jupyterhub_filter;"
            " docker update --restart no --memory 16m --memory-swap 16m jupyterhub_filter;"
            " docker start jupyterhub_filter; timeout 60 docker wait jupyterhub_filter"
        )
        killed = "docker inspect -f '{{.State.OOMKilled}}' jupyterhub_filter"
        assert engine.until(lambda: host.sh(killed) == "true", 60)
        host.sh(
            "set -e; iptables -I DOCKER-USER 1 -s 192.0.2.1 -j ACCEPT;"
            ' sed -i \'s/"live-restore": true/"live-restore": false/\' /etc/docker/daemon.json;'
            " docker run --detach --name stranger --network jupyterhub_network"
            f" --entrypoint sleep {image} 600"
        )
        done, file = diagnosed(deployment)
    finally:
        host.run("tee", "/etc/docker/daemon.json", stdin=f"{daemon}\n".encode())
        host.sh("docker rm --force stranger jupyterhub_filter; iptables -D DOCKER-USER 1")
    print(f"\n{done.stdout}")
    assert done.exit_code == 2
    said = re.sub(r"\s+", " ", done.stdout)
    for words in (
        "ERROR jupyterhub_filter: is exited why the kernel killed it",
        "a rule of somebody else's stands before ours: -A DOCKER-USER -s 192.0.2.1/32 -j ACCEPT",
        "WARNING daemon.json: live-restore not as needed",
        "WARNING containers: stranger (172.27.128.",
        "WARNING drift: a deployment would:",
    ):
        assert words in said
    assert unpacked(file)["findings"].strip() in done.stdout
