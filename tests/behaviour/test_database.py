"""Updates that change what is in the database, or its own major version; and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment import Deployment, Run
from tests.earlier import checkout, with_a_hub_that_dies, with_jupyterhub_5, with_postgresql_15
from tests.faults import Fault
from tests.lab import Host
from tests.lab.client import Session
from tests.sessions import name_of

DUMPS = "/var/lib/integrable-jupyterhub/dumps"
SCHEMA_5 = "4621fec11365"


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


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """An update that fails waits for the hub to fail, time and again."""
    monkeypatch.setattr("tests.faults.BACK_SECONDS", 240.0)


def versions(host: Host) -> tuple[str, str, str]:
    """JupyterHub's, PostgreSQL's major, and the revision of the schema."""
    lines = host.sh("""
docker exec jupyterhub_hub python3 -c 'import jupyterhub; print(jupyterhub.__version__)'
docker exec jupyterhub_db sh -c 'cat data/pgdata/PG_VERSION 2>/dev/null || cat /var/lib/postgresql/data/pgdata/PG_VERSION'
docker exec jupyterhub_db psql -XAtU jupyterhub -c 'SELECT version_num FROM alembic_version'
""").splitlines()
    jupyterhub, postgresql, schema = lines
    return jupyterhub, postgresql, schema


def test_an_update_that_fails_puts_the_database_back(
    earlier: Deployment, host: Host, fault: Fault, broken: Deployment
) -> None:
    before = versions(host)
    assert before == ("5.4.6", "15", SCHEMA_5)
    with fault.watched("an update whose hub dies"):
        run = broken.run(check=False)
    print(run.output[-1500:])
    assert run.failed == "Hub | Run the hub"
    assert "the hub will upgrade the schema from 4621fec11365" in run.output
    assert "back to release" in run.output
    assert "not healthy even so" not in run.output
    assert versions(host) == before
    assert earlier.run().changed == []
    fault.a_session_starts()


def test_an_update_from_jupyterhub_5_and_postgresql_15_loses_nothing(
    earlier: Deployment, deployment: Deployment, host: Host, fault: Fault
) -> None:
    name = name_of(fault.session)
    assert versions(host) == ("5.4.6", "15", SCHEMA_5)
    socket = fault.session.socket(fault.kernel, timeout=10)
    with fault.watched("an update from JupyterHub 5 and PostgreSQL 15"):
        run = deployment.run()
    print(f"{run.seconds:.0f} s: {run.changed}")
    socket.ping()
    jupyterhub, postgresql, schema = versions(host)
    assert (jupyterhub[:2], postgresql) == ("6.", "17")
    assert schema != SCHEMA_5
    # The user with the session's state, the service's token, and the user's.
    assert fault.hub.call("GET", f"/users/{name}", 200).json()["server"]
    assert Session(fault.session.url, fault.session.token, fault.session.ca).status() == 200
    fault.a_session_starts()
    assert deployment.run().changed == []

    dumps = host.sh(f"cd {DUMPS}; stat -c '%a %u %n' . *").splitlines()
    assert dumps[0] == "700 0 ."
    assert all(line.startswith("600 0 ") and line.endswith(".dump") for line in dumps[1:])
    # The cluster of before is kept for a week.
    assert "jupyterhub_db_before" in host.sh("docker volume ls -q").splitlines()
    host.sh("docker volume inspect jupyterhub_db_before")


def test_going_back_loses_what_came_since_and_needs_a_word(
    earlier: Deployment, deployment: Deployment, host: Host, fault: Fault
) -> None:
    deployment.run()
    newer = versions(host)
    run = earlier.run(check=False)
    assert run.failed == "Database | Run the database"
    assert "it is one of PostgreSQL 17, this is older" in run.output
    assert versions(host) == newer
    assert fault.session.run("x + 1", kernel=fault.kernel).value == "42"
