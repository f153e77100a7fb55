"""Updates at noon: no kernel and no websocket is lost; what fails gives way to what ran before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.behaviour.test_faults import Fault, alive
from tests.behaviour.test_status import report
from tests.conftest import settings_of
from tests.deployment import Deployment, Run
from tests.lab import Host, engine
from tests.lab.client import Hub, Session
from tests.lab.host import ROOT

HUB, FILTER, PROXY = "jupyterhub_hub", "jupyterhub_filter", "jupyterhub_proxy"
SERVICES = (HUB, "jupyterhub_db", PROXY, FILTER)
HUB_CONFIG = "/etc/integrable-jupyterhub/hub/config.json"
FILTER_CONFIG = "/etc/integrable-jupyterhub/filter/config.json"
TLS_FOLDER = "/etc/integrable-jupyterhub/tls"
RECORD = "Release | Record what runs"
# The aim is 3 s; a test fails at five times as much (slow machines).
ROUTES_BACK_SECONDS = 15.0


@pytest.fixture
def live(host: Host, hub: Hub, open_session: Callable[[], Session]) -> Fault:
    session = open_session()
    kernel = session.start_kernel()
    session.run("x = 41", kernel=kernel)
    return Fault(host, hub, session, kernel)


def containers(host: Host) -> dict[str, str]:
    """Id by name of the services' containers, those that stand aside too."""
    told = host.sh(
        "docker ps -a --no-trunc --filter label=integrable-jupyterhub.role=service"
        " --format '{{.Names}} {{.ID}}'"
    )
    return dict(line.split() for line in told.splitlines())


def image(host: Host, container: str) -> tuple[str, str]:
    """Reference and id of the image that a container was made from."""
    reference, found = host.sh(
        f"docker inspect -f '{{{{.Config.Image}}}} {{{{.Image}}}}' {container}"
    ).split()
    return reference, found


@contextmanager
def rebuilt(host: Host, container: str, line: str) -> Iterator[None]:
    """In the block, the image of a service is another by the same name; then it is as before."""
    reference, before = image(host, container)
    host.sh(f"printf 'FROM {reference}\\n{line}\\n' | docker build -q -t {reference} -")
    try:
        yield
    finally:
        host.sh(f"docker tag {before} {reference}")


def test_no_update_ends_a_kernel_or_cuts_a_websocket(
    deployment: Deployment, host: Host, live: Fault, restored: None
) -> None:
    """Firewall; certificate; hub, its image, filter and database; the notebooks' image."""
    proxy = containers(host)[PROXY]
    socket = live.session.socket(live.kernel, timeout=10)
    with live.watched("firewall changed"):
        changed = deployment.run(session_outbound=["198.51.100.0/24:443"]).changed
        assert "Firewall | Apply the rules" in changed
    # Another certificate, and the old one again: clients here pin it, so no watch.
    host.sh(f"cp -a {TLS_FOLDER} {TLS_FOLDER}.kept; rm {TLS_FOLDER}/tls.key")
    assert "Proxy | Serve the certificate" in deployment.run().changed
    host.sh(f"rm -r {TLS_FOLDER}; mv {TLS_FOLDER}.kept {TLS_FOLDER}")
    assert "Proxy | Serve the certificate" in deployment.run().changed
    with (
        rebuilt(host, HUB, "LABEL other=1"),
        rebuilt(host, "jupyterhub_db", "LABEL other=1"),
        live.watched("hub, filter and database replaced by other images"),
    ):
        changed = deployment.run(session_pids=200, cull_max_age_seconds=20000).changed
        assert {"Hub | Run the hub", "Database | Run the database"} <= set(changed)
        assert changed[-1] == RECORD
    notebook = json.loads(host.sh(f"cat {HUB_CONFIG}"))["session"]["image"]
    own = f"printf 'FROM {notebook}\\nLABEL other=1\\n' | docker build -q -t own-notebook:1 -"
    host.sh(own)
    with live.watched("another notebook image"):
        assert "Hub | Run the hub" in deployment.run(notebook_image="own-notebook:1").changed
    with live.watched("all back to the defaults"):
        deployment.run()
    assert alive(socket), "a websocket was cut"
    assert containers(host)[PROXY] == proxy, "the proxy was replaced without need"
    assert set(containers(host)) == set(SERVICES), "something of before stands about"
    host.sh("docker image rm own-notebook:1")


def test_the_proxy_is_replaced_when_it_must_be_and_routes_are_soon_back(
    deployment: Deployment, live: Fault, restored: None
) -> None:
    with live.watched("proxy and hub replaced") as doors:
        changed = deployment.run(trusted_proxies=["192.0.2.1"]).changed
        assert "Proxy | Run the proxy" in changed
    assert doors["session"].away < ROUTES_BACK_SECONDS


def test_what_does_not_become_healthy_gives_way_to_what_ran_before(
    deployment: Deployment, host: Host, live: Fault, restored: None
) -> None:
    deployment.run()
    files = f"sha256sum {HUB_CONFIG} {FILTER_CONFIG}"
    before, files_before, release = containers(host), host.sh(files), report(deployment)[1]
    broken = 'CMD [\\"sh\\", \\"-c\\", \\"echo no such module; exit 1\\"]'
    with live.watched("an update that fails"), rebuilt(host, HUB, broken):
        run = deployment.run(check=False, session_pids=200, cull_max_age_seconds=20000)
        told = run.output
        assert run.exit_code
        assert run.failed == "Hub | Run the hub"
        (line,) = [one for one in told.splitlines() if "back to release" in one]
        print(f"\n{line.strip()}")
        assert f"{HUB}: did not become healthy: no such module; back to release" in line
        assert f"{release['status']['release']}: as before run {FILTER} {HUB};" in line
        # The very containers, with the files of before.
        assert containers(host) == before
        assert host.sh(files) == files_before
    assert report(deployment)[1]["status"]["release"] == release["status"]["release"]
    assert deployment.run().changed == [], "what came back is not what was"
    # The same, mended.
    assert RECORD in deployment.run(session_pids=200, cull_max_age_seconds=20000).changed
    assert deployment.run(session_pids=200, cull_max_age_seconds=20000).changed == []


def test_a_controller_that_is_killed_leaves_no_service_down(
    deployment: Deployment, host: Host, live: Fault, restored: None
) -> None:
    """While the hub is being replaced; nobody does anything then, the host goes on by itself."""
    with live.watched("controller killed while the hub is replaced"):
        with subprocess.Popen(
            deployment.command(cull_max_age_seconds=20000),
            cwd=ROOT,
            env=deployment.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as run:
            assert engine.until(lambda: f"{HUB}-previous" in containers(host), 120)
            os.killpg(run.pid, signal.SIGKILL)
        healthy = ("docker", "exec", HUB, "python", "-m", "integrable_jupyterhub", "health")
        assert engine.until(lambda: host.run(*healthy, check=False).returncode == 0, 120)
    assert deployment.run(cull_max_age_seconds=20000).changed == [RECORD]
    assert deployment.run(cull_max_age_seconds=20000).changed == []
    assert set(containers(host)) == set(SERVICES)


# --- Releases ------------------------------------------------------------------------------------
def test_what_is_recorded_is_all_but_secrets(host: Host, first_run: Run) -> None:
    record = "/var/lib/integrable-jupyterhub/releases/current/files"
    made = host.sh(
        "find /etc -type f -path '*integrable-jupyterhub*' ! -path '*/secrets/*' ! -path '*/tls/*'"
        " ! -name release.sh | sort"
    )
    assert host.sh(f"cd {record} && find . -type f | sed 's/^.//' | sort") == made
    secrets = "cat /etc/integrable-jupyterhub/secrets/* | tr ';' '\\n' | sed 's/.*://' | grep ."
    assert host.sh(f"{secrets} | grep -rFf - {record}/../.. || echo none") == "none"
    assert host.sh(f"stat -c %a {record}/../..") == "700"


def test_a_rollback_brings_back_what_ran_before(
    deployment: Deployment, host: Host, live: Fault, restored: None
) -> None:
    deployment.run(session_pids=200, cull_max_age_seconds=20000)
    earlier = report(deployment)[1]["status"]["release"]
    deployment.run()
    later = report(deployment)[1]["status"]
    assert earlier in {release["id"] for release in later["releases"]}
    socket = live.session.socket(live.kernel, timeout=10)
    with live.watched("rollback"):
        done = deployment.runbook("make rollback")
        assert done.exit_code == 0, done.output
    assert f"from {later['release']} to {earlier} of " in done.output
    assert f"{FILTER_CONFIG} is put back" in done.output
    assert f"{FILTER} is replaced" in done.output
    assert f"{PROXY} is replaced" not in done.output
    assert alive(socket), "a websocket was cut"
    assert settings_of(host, FILTER_CONFIG)["pids"] == 200
    code, found = report(deployment)
    assert code == 1, "drift is a warning"
    assert found["status"]["release"] == earlier
    assert found["drift"] == [
        "Docker filter | Configure the Docker filter",
        "Docker filter | Run the Docker filter",
        "Hub | Configure the hub",
        "Hub | Run the hub",
        RECORD,
    ]
    assert deployment.run("--dry", session_pids=200, cull_max_age_seconds=20000).exit_code == 0
    assert deployment.run(session_pids=200, cull_max_age_seconds=20000).changed == []
    # Named, and asked for twice.
    for _ in range(2):
        done = deployment.runbook("make rollback RELEASE=ID", ID=later["release"])
        assert done.exit_code == 0, done.output
        assert settings_of(host, FILTER_CONFIG)["pids"] == 256
    assert deployment.run().changed == []


BAD_ROLLBACKS = {
    "true": ("nosuch", "RELEASE: there is no 'nosuch'; name one of "),
    "mv releases/current releases/none": ("", "RELEASE: no release is recorded on this host; "),
    "sed -i 's/ sha256:.*/ sha256:gone/' releases/*/about": (
        "",
        "needs images that are gone: integrable-jupyterhub-database:",
    ),
}


@pytest.mark.parametrize("damage", BAD_ROLLBACKS)
def test_a_rollback_that_cannot_be_is_one_line_and_changes_nothing(
    deployment: Deployment, host: Host, first_run: Run, damage: str
) -> None:
    wanted, told = BAD_ROLLBACKS[damage]
    deployment.run(cull_max_age_seconds=20000)
    deployment.run()
    state = "/var/lib/integrable-jupyterhub"
    host.sh(f"cd {state}; cp -a releases releases.kept; {damage}")
    before = containers(host)
    try:
        run = deployment.run(script="ops/rollback.py", variables={"RELEASE": wanted}, check=False)
        assert run.exit_code
        (line,) = run.error_lines
        assert told in line
        assert run.changed == []
        assert containers(host) == before
    finally:
        host.sh(f"cd {state}; rm -rf releases; mv releases.kept releases")


def test_few_releases_are_kept_and_their_images(deployment: Deployment, host: Host) -> None:
    for age in (20001, 20002, 20003):
        deployment.run(cull_max_age_seconds=age, releases_kept=2)
    _, found = report(deployment)
    assert len(found["status"]["releases"]) == 2
    reference, before = image(host, FILTER)
    old = reference.rpartition(":")[0] + ":0123456789ab"
    host.sh(f"docker tag {before} {old}")
    assert deployment.run().changed[-2:] == [
        RECORD, "Release | Delete images that no recorded release needs",
    ]  # fmt: skip
    assert host.run("docker", "image", "inspect", old, check=False).returncode
    assert host.run("docker", "image", "inspect", reference).returncode == 0
    assert json.loads(host.sh(f"docker inspect {HUB}"))[0]["State"]["Running"]
