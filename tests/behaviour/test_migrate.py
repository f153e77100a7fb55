"""`make migrate`: from a running compose project to ours and back, and what it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests import reference
from tests.deployment import Deployment, Run
from tests.lab import Host, engine
from tests.lab.client import Session
from tests.lab.demo import hub_of
from tests.lab.host import ROOT
from tests.reference import Reference

SERVICES = ["lms", "other"]
RECORD = "/var/lib/integrable-jupyterhub/migration"


@pytest.fixture(scope="module")
def project(neighbour: Host) -> Reference:
    neighbour.sh(
        "apt-get -qq update; apt-get -qq install -y --no-install-recommends docker-compose openssl",
        timeout=300,
    )
    return reference.start(neighbour)


@pytest.fixture(scope="module")
def there(project: Reference) -> Deployment:
    return Deployment(project.host)


def migrate(there: Deployment, *options: str, check: bool = True, **variables: str) -> Run:
    return there.run(
        *options,
        script="ops/migrate.py",
        variables=variables,
        check=check,
        service_admins=SERVICES,
    )


def state(host: Host) -> str:
    """What undo has to bring back: containers, network, rules, ports."""
    return host.sh("""
docker ps -a --format '{{.Names}} {{.ID}} {{.State}} {{.Ports}}' | sort
docker inspect -f '{{.Name}} {{.HostConfig.RestartPolicy.Name}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' \
    jupyterhub_hub jupyterhub_db jupyterhub_proxy
docker network inspect jupyterhub_network -f '{{json .IPAM}} {{json .Options}} {{json .Labels}}'
iptables -S | grep -v -e br-; ip6tables -S | grep -v -e br-; nft list tables | grep jhub
ls /etc/systemd/system/ /etc/systemd/system/docker.service.d 2>/dev/null | grep integrable
true
""")


def open_session(project: Reference, user: str) -> Session:
    hub = project.hub()
    hub.create_user(user)
    hub.start_server(user)
    return hub.attach(user, hub.mint_token(user))


def test_nothing_to_undo_is_one_line(there: Deployment) -> None:
    (line,) = migrate(there, UNDO="1", check=False).error_lines
    assert line.startswith(f"UNDO: nothing to undo on {there.host.name}; ")


def test_a_service_that_would_lose_access_is_one_line(there: Deployment) -> None:
    before = state(there.host)
    run = there.run(script="ops/migrate.py", check=False)
    (line,) = run.error_lines
    assert line.startswith("service_admins: lms, other of integrable-jupyterhub would lose access;")
    assert state(there.host) == before


def test_it_says_what_it_will_do_and_touches_nothing(there: Deployment, project: Reference) -> None:
    session = open_session(project, "reader")
    before = state(there.host)
    run = migrate(there, "--dry")
    assert "sessions that run end at once" in run.output
    assert ": reader\n" in run.output
    assert "-s 172.27.0.4/32 -j ACCEPT" in run.output
    assert "service tokens that stay as they are: lms\n" in run.output
    assert "service tokens that are made anew, too weak or long: other\n" in run.output
    assert "no longer published: 5432, 8001, 8081" in run.output
    assert project.tokens["lms"] not in run.output
    assert state(there.host) == before
    assert session.status() == 200
    project.hub().delete_user("reader")


def test_running_sessions_have_their_time_and_no_new_ones_start(
    there: Deployment, project: Reference
) -> None:
    """Ended by the integrator before the deadline: the migration goes on at once."""
    session = open_session(project, "drained")
    command = [*there.command(script="ops/migrate.py", service_admins=SERVICES)]
    variables = {**there.environment, "DEADLINE": "600"}
    with subprocess.Popen(
        command, cwd=ROOT, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as run:
        closed = lambda: project.hub().call("POST", "/users/late").status_code == 503  # noqa: E731
        assert engine.until(closed, 120)
        assert session.run("6*7").value == "42"
        assert there.host.sh("docker inspect -f '{{.State.Running}}' jupyterhub_hub") == "true"
        there.host.sh("docker rm -f jupyter-drained")
        assert run.wait(300) == 0
    assert hub_of(there.host)[1].call("GET", "/users").status_code == 200
