"""`make migrate`: from a compose project to ours and back. Each test goes on from the last."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable

import pytest

from tests import reference
from tests.deployment import Deployment, Run
from tests.lab import Host, engine
from tests.lab.client import Session
from tests.lab.demo import hub_of
from tests.lab.host import ROOT
from tests.reference import FOLDER, Reference

SERVICES = ["service-admin", "other"]
STATE = """
docker ps -a --format '{{.Names}} {{.ID}} {{.State}} {{.Ports}}' | sort
docker inspect -f '{{.Name}} {{.HostConfig.RestartPolicy.Name}}
    {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' $(docker ps -aq | sort)
docker network inspect jupyterhub_network -f '{{json .IPAM.Config}} {{json .Labels}}'
iptables -S | grep -v -e br-; ip6tables -S | grep -v -e br-
nft list tables 2>/dev/null | grep jhub
ls /etc/systemd/system /etc/systemd/system/docker.service.d 2>/dev/null | grep integrable
true
"""


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


@pytest.fixture(scope="module")
def before(project: Reference) -> str:
    """Containers, network, rules and units, as the project has them."""
    return project.host.sh(STATE)


def migrate(there: Deployment, *options: str, **variables: str) -> Run:
    return there.run(
        *options, script="ops/migrate.py", variables=variables, service_admins=SERVICES
    )


def cut_short(there: Deployment, deadline: int, when: Callable[[], bool]) -> None:
    """A migration that is killed as soon as `when` holds, with what it runs on the host."""
    with subprocess.Popen(
        there.command(script="ops/migrate.py", service_admins=SERVICES),
        cwd=ROOT,
        env={**there.environment, "DEADLINE": str(deadline)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as run:
        try:
            assert engine.until(when, 300)
        finally:
            os.killpg(run.pid, signal.SIGKILL)
    there.host.sh("pkill -f '[m]igration/take-over' || true")


def open_session(project: Reference, user: str) -> Session:
    hub = project.hub()
    hub.create_user(user)
    hub.start_server(user)
    return hub.attach(user, hub.mint_token(user))


def test_nothing_to_undo_is_one_line(there: Deployment) -> None:
    told = there.runbook("make migrate UNDO=1")
    assert told.exit_code
    assert f"UNDO: nothing to undo on {there.host.name}; " in told.output


def test_a_service_that_would_lose_access_is_one_line(there: Deployment, before: str) -> None:
    told = there.runbook("make migrate DEADLINE=900")
    assert told.exit_code
    assert "service_admins: other of integrable-jupyterhub would lose access; set " in told.output
    assert there.host.sh(STATE) == before


def test_it_says_what_it_will_do_and_touches_nothing(
    there: Deployment, project: Reference, before: str
) -> None:
    session = open_session(project, "reader")
    told = there.runbook("DIFFERENT=1 .venv/bin/pyinfra --dry inventory.py ops/migrate.py").output
    for line in (
        "sessions that run end at once (DEADLINE=seconds gives them time), and what they hold",
        " is lost: reader\n",
        "-s 172.27.0.0/16 -j REJECT --reject-with icmp-port-unreachable",
        "service tokens that stay as they are: service-admin\n",
        "services that lose access: other\n",
        "no longer published: 5432, 8001, 8081\n",
    ):
        assert line in told
    assert project.tokens["service-admin"] not in told
    assert session.status() == 200
    there.host.sh("docker rm -f jupyter-reader")
    assert engine.until(lambda: there.host.sh(STATE) == before, 30)


def test_running_sessions_have_their_time_and_no_new_ones_start(
    there: Deployment, project: Reference
) -> None:
    """Until the run is cut short, and taken back: then they start again."""
    session = open_session(project, "drained")

    def start() -> int:
        return project.hub().call("POST", "/users/late").status_code

    cut_short(there, 600, lambda: start() == 503 and session.run("6*7").value == "42")
    assert start() == 503
    assert session.run("6*7").value == "42"
    told = there.runbook("make migrate UNDO=1")
    assert told.exit_code == 0, told.output
    assert start() in (201, 409)
    assert session.run("6*7").value == "42"
    there.host.sh("docker rm -f jupyter-drained")


def test_the_integrators_token_works_as_before_and_a_weak_one_is_another(
    there: Deployment, project: Reference
) -> None:
    run = migrate(there)
    hub = hub_of(there.host)[1]
    assert hub.token == project.tokens["service-admin"]
    assert hub.call("GET", "/users").json() == []
    new = run.output.partition("the new token of other: ")[2].split()[0]
    for token, status in ((project.tokens["other"], 403), (new, 200)):
        assert type(hub)(hub.api_url, token, hub.ca).call("GET", "/users").status_code == status
    assert "172.27.0.0/16" not in there.host.sh("iptables -S DOCKER-USER")


def test_a_second_time_there_is_nothing_to_do(there: Deployment) -> None:
    assert migrate(there).changed == []


def test_undo_brings_back_what_was_there(
    there: Deployment, project: Reference, before: str
) -> None:
    assert there.runbook("make migrate UNDO=1").exit_code == 0
    assert there.host.sh(STATE) == before
    for service in SERVICES:
        assert project.hub(service).call("GET", "/users").status_code == 200
    assert open_session(project, "again").run("6*7").value == "42"
    there.host.sh("docker rm -f jupyter-again")


def test_compose_still_knows_its_own(there: Deployment, project: Reference, before: str) -> None:
    there.host.sh(f"cd {FOLDER}; docker-compose up -d 2>&1")
    assert engine.until(lambda: there.host.sh(STATE) == before, 30)


def test_a_run_that_was_cut_short_is_finished_and_what_is_kept_is_removed_by_hand(
    there: Deployment, project: Reference
) -> None:
    old = "docker ps -aq --filter name=-before-migration"
    cut_short(there, 0, lambda: there.host.sh(old) != "")
    assert not project.answers()
    told = there.runbook("make migrate DIFFERENT=1", timeout=600)
    assert told.exit_code == 0, told.output
    assert len(there.host.sh(old).split()) == 3
    for line in (
        "host# docker rm $(docker ps -aq --filter name=-before-migration)",
        "host# rm -r /var/lib/integrable-jupyterhub/migration",
    ):
        assert there.runbook(line).exit_code == 0
    assert there.host.sh(old) == ""
    assert hub_of(there.host)[1].call("GET", "/users").status_code == 200
