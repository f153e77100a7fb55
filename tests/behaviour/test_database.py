"""Updates that change what is in the database, or its own major version; and the way back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deployment import Deployment, Run
from tests.earlier import checkout, with_a_hub_that_dies, with_jupyterhub_5, with_postgresql_15
from tests.faults import Fault, kept_websocket
from tests.lab import Host, engine
from tests.lab.client import Hub, Session
from tests.sessions import name_of

DUMPS = "/var/lib/integrable-jupyterhub/dumps"
SCHEMA_5 = "4621fec11365"
# Seconds; a hub has to fail time and again before it is given up: 15 s where nothing else runs.
PATIENCE = 300.0


@pytest.fixture(scope="module")
def image(deployment: Deployment, host: Host, first_run: Run) -> str:
    """The hub's, of this release."""
    deployment.run()
    return host.sh("docker container inspect -f '{{.Config.Image}}' jupyterhub_hub")


@pytest.fixture(scope="module")
def earlier(
    deployment: Deployment, host: Host, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """A release before this one, which runs on the host as if there had never been another."""
    release = checkout(deployment, tmp_path_factory.mktemp("earlier"))
    with_jupyterhub_5(release, image)
    with_postgresql_15(release)
    host.sh(f"""
docker rm -f jupyterhub_hub jupyterhub_db
docker volume rm -f jupyterhub_db jupyterhub_db_before
rm -rf {DUMPS}""")
    run = release.run()
    print(f"\nan earlier release deployed: {run.seconds:.0f} s")
    yield release
    deployment.run()


@pytest.fixture
def broken(deployment: Deployment, image: str, tmp_path: Path) -> Deployment:
    """This release, but its hub upgrades the schema and dies."""
    release = checkout(deployment, tmp_path)
    with_a_hub_that_dies(release, image)
    return release


def test_a_dump_that_breaks_off_changes_nothing(
    host: Host, hub: Hub, user: Callable[[], str]
) -> None:
    name = user()
    host.sh("docker stop jupyterhub_hub")  # it holds locks
    try:
        host.sh("docker exec jupyterhub_db dump > /root/dump")
        load = "docker exec -i jupyterhub_db load"
        said = host.run("sh", "-c", f"head -c -2000 /root/dump | {load}", check=False)
        assert said.returncode
        assert b"end of file" in said.stderr
        host.sh(f"{load} < /root/dump && rm /root/dump")
    finally:
        host.sh("docker start jupyterhub_hub")
    assert engine.until(lambda: hub.call("GET", f"/users/{name}").status_code == 200, 60)


def versions(host: Host) -> tuple[str, str, str]:
    """JupyterHub's, PostgreSQL's major, and the revision of the schema."""
    lines = host.sh("""
docker exec jupyterhub_hub python3 -c 'import jupyterhub; print(jupyterhub.__version__)'
docker exec jupyterhub_db cat /var/lib/postgresql/data/pgdata/PG_VERSION
docker exec jupyterhub_db psql -XAtU jupyterhub -c 'SELECT version_num FROM alembic_version'
""").splitlines()
    jupyterhub, postgresql, schema = lines
    return jupyterhub, postgresql, schema


def test_an_update_that_fails_puts_the_database_back(
    earlier: Deployment, host: Host, fault: Fault, broken: Deployment
) -> None:
    before = versions(host)
    assert before == ("5.4.6", "15", SCHEMA_5)
    with (
        kept_websocket(fault),
        fault.watched("an update whose hub dies", PATIENCE),
    ):
        run = broken.run(check=False)
    assert run.failed == "Hub | Run the hub"
    assert "the hub will upgrade the schema from 4621fec11365" in run.output
    assert "back to release" in run.output
    assert "not healthy even so" not in run.output
    assert versions(host) == before
    assert set(earlier.run().changed) <= {"Release | Delete images that no recorded release needs"}
    fault.a_session_starts()


def test_an_update_from_jupyterhub_5_and_postgresql_15_loses_nothing(
    earlier: Deployment, deployment: Deployment, host: Host, fault: Fault
) -> None:
    name = name_of(fault.session)
    assert versions(host) == ("5.4.6", "15", SCHEMA_5)
    with (
        kept_websocket(fault),
        fault.watched("an update from JupyterHub 5 and PostgreSQL 15", PATIENCE),
    ):
        run = deployment.run()
    print(f"{run.seconds:.0f} s")
    jupyterhub, postgresql, schema = versions(host)
    assert (jupyterhub[:2], postgresql) == ("6.", "17")
    assert schema != SCHEMA_5
    # The user with the session's state, the service's token, and the user's.
    assert fault.hub.call("GET", f"/users/{name}", 200).json()["server"]
    assert Session(fault.session.url, fault.session.token, fault.session.ca).status() == 200
    fault.a_session_starts()
    assert deployment.run().changed == []

    dumps = deployment.runbook(
        "host# ls -l /var/lib/integrable-jupyterhub/dumps"
    ).stdout.splitlines()[1:]
    assert dumps
    assert all(line.startswith("-rw------- 1 root root ") for line in dumps), dumps
    assert all(line.endswith(f"-{SCHEMA_5}.dump") for line in dumps)
    # The cluster of before is kept for a week.
    assert "jupyterhub_db_before" in host.sh("docker volume ls -q").splitlines()


def test_going_back_loses_what_came_since_and_takes_a_word(
    earlier: Deployment,
    deployment: Deployment,
    host: Host,
    image: str,
    fault: Fault,
    tmp_path: Path,
) -> None:
    deployment.run()
    newer = versions(host)
    assert newer[1:] != ("15", SCHEMA_5)
    refused = deployment.run(script="ops/rollback.py", check=False)
    assert refused.exit_code
    assert "database: it is one of PostgreSQL 17, this is older; first `" in refused.output
    assert deployment.run().changed == [], "it was refused before anything was touched"
    before = checkout(deployment, tmp_path)
    with_jupyterhub_5(before, image)
    refused = before.run(check=False)
    assert refused.failed == "Hub | Run the hub"
    told = re.search(
        r"carry then jupyterhub_hub (\S+)` on the host, which puts back", refused.output
    )
    assert told, refused.output
    assert versions(host) == newer
    assert fault.session.run("x + 1", kernel=fault.kernel).value == "42"

    carry = "host# /etc/integrable-jupyterhub/database/carry then jupyterhub_hub IMAGE"
    done = deployment.runbook(carry, IMAGE=told[1])
    assert done.exit_code == 0, done.output
    before.run()
    assert versions(host) == ("5.4.6", "17", SCHEMA_5)
    # Forward again: nothing but what the dump held is there, and all works.
    deployment.run()
    assert versions(host) == newer
    fault.a_session_starts()
