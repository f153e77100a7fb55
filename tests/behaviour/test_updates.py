"""Updates at noon: no kernel and no websocket is lost; what fails gives way to what ran before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.behaviour.test_status import report
from tests.conftest import settings_of
from tests.deployment import Deployment, Run
from tests.faults import Fault, kept_websocket
from tests.lab import Host, engine
from tests.lab.host import ROOT

HUB, FILTER, PROXY = "jupyterhub_hub", "jupyterhub_filter", "jupyterhub_proxy"
SERVICES = (HUB, "jupyterhub_db", PROXY, FILTER)
HUB_CONFIG = "/etc/integrable-jupyterhub/hub/config.json"
FILTER_CONFIG = "/etc/integrable-jupyterhub/filter/config.json"
TLS_FOLDER = "/etc/integrable-jupyterhub/tls"
RECORD = "Release | Record what runs"
PRUNE = "Release | Delete images that no recorded release needs"
# The aim is 3 s; a test fails at five times as much (slow machines).
ROUTES_BACK_SECONDS = 15.0
# The API of a hub that is replaced, by itself 3 s; while others keep the machine busy, much longer.
REPLACED_SECONDS = 120.0


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
    deployment: Deployment, host: Host, fault: Fault, restored: None
) -> None:
    """Firewall; certificate; hub, its image, filter and database; the notebooks' image."""
    proxy = containers(host)[PROXY]
    with kept_websocket(fault):
        update_everything(deployment, host, fault)
    assert containers(host)[PROXY] == proxy, "the proxy was replaced without need"
    assert set(containers(host)) == set(SERVICES), "something of before stands about"


def update_everything(deployment: Deployment, host: Host, fault: Fault) -> None:
    with fault.watched("firewall changed"):
        changed = deployment.run(session_outbound=["198.51.100.0/24:443"]).changed
        assert "Firewall | Apply the rules" in changed
    # Another certificate, and the old one again: clients here pin it, so no watch.
    host.sh(f"cp -a {TLS_FOLDER} /root/tls.kept; rm {TLS_FOLDER}/tls.key")
    assert "Proxy | Serve the certificate" in deployment.run().changed
    host.sh(f"mv /root/tls.kept/* {TLS_FOLDER}; rmdir /root/tls.kept")
    assert "Proxy | Serve the certificate" in deployment.run().changed
    with (
        rebuilt(host, HUB, "LABEL other=1"),
        rebuilt(host, "jupyterhub_db", "LABEL other=1"),
        fault.watched("hub, filter and database replaced by other images", REPLACED_SECONDS),
    ):
        changed = deployment.run(session_pids=200, cull_max_age_seconds=20000).changed
        assert {"Hub | Run the hub", "Database | Run the database"} <= set(changed)
        assert RECORD in changed
    notebook = json.loads(host.sh(f"cat {HUB_CONFIG}"))["session"]["image"]
    own = f"printf 'FROM {notebook}\\nLABEL other=1\\n' | docker build -q -t own-notebook:1 -"
    host.sh(own)
    with fault.watched("another notebook image", REPLACED_SECONDS):
        assert "Hub | Run the hub" in deployment.run(notebook_image="own-notebook:1").changed
    with fault.watched("all back to the defaults", REPLACED_SECONDS):
        deployment.run()
    host.sh("docker image rm own-notebook:1")


def test_the_proxy_is_replaced_when_it_must_be_and_routes_are_soon_back(
    deployment: Deployment, fault: Fault, restored: None
) -> None:
    with fault.watched("proxy and hub replaced", REPLACED_SECONDS) as doors:
        changed = deployment.run(trusted_proxies=["192.0.2.1"]).changed
        assert "Proxy | Run the proxy" in changed
    assert doors["session"].away < ROUTES_BACK_SECONDS


def test_what_does_not_become_healthy_gives_way_to_what_ran_before(
    deployment: Deployment, host: Host, fault: Fault, restored: None
) -> None:
    deployment.run()
    files = f"sha256sum {HUB_CONFIG} {FILTER_CONFIG}"
    before, files_before, release = containers(host), host.sh(files), report(deployment)[1]
    broken = 'CMD [\\"broken\\"]'
    with fault.watched("an update that fails", REPLACED_SECONDS), rebuilt(host, HUB, broken):
        run = deployment.run(check=False, session_pids=200, cull_max_age_seconds=20000)
        told = run.output
        assert run.exit_code
        assert run.failed == "Hub | Run the hub"
        (line,) = [one for one in told.splitlines() if "back to release" in one]
        print(f"\n{line.strip()}")
        assert f"{HUB}: did not become healthy: which command? One of: " in line
        assert (
            f"; back to release {release['status']['release']}: as before run {FILTER} {HUB};"
            in line
        )
        # The very containers, with the files of before.
        assert containers(host) == before
        assert host.sh(files) == files_before
    assert report(deployment)[1]["status"]["release"] == release["status"]["release"]
    assert deployment.run().changed == [], "what came back is not what was"
    # The same, mended.
    assert RECORD in deployment.run(session_pids=200, cull_max_age_seconds=20000).changed
    assert deployment.run(session_pids=200, cull_max_age_seconds=20000).changed == []


def test_a_controller_that_is_killed_leaves_no_service_down(
    deployment: Deployment, host: Host, fault: Fault, restored: None
) -> None:
    """While the hub is being replaced; nobody does anything then, the host goes on by itself."""
    with fault.watched("controller killed while the hub is replaced", REPLACED_SECONDS):
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
    assert set(deployment.run(cull_max_age_seconds=20000).changed) - {PRUNE} == {RECORD}
    assert deployment.run(cull_max_age_seconds=20000).changed == []
    assert set(containers(host)) == set(SERVICES)


MIRROR = """
use IO::Socket::INET;
my $door = IO::Socket::INET->new(LocalPort => 8099, Listen => 9, ReuseAddr => 1) or die;
while (my $client = $door->accept) {
    <$client>;
    print $client "HTTP/1.0 503 down\\r\\n\\r\\n";
    close $client;
}
"""


def test_a_mirror_that_fails_in_mid_build_leaves_all_as_it_was(
    deployment: Deployment, host: Host, first_run: Run, restored: None
) -> None:
    """It answers as preflight looks, so the build begins, and ends as a broken one does."""
    reference, before = image(host, HUB)
    running, files = containers(host), host.sh(f"sha256sum {HUB_CONFIG}")
    gateway = host.sh("docker network inspect bridge -f '{{(index .IPAM.Config 0).Gateway}}'")
    host.run("tee", "/root/mirror", stdin=MIRROR.encode())
    mirror = host.sh("setsid perl /root/mirror >/dev/null 2>&1 & echo $!")
    host.sh(f"docker tag {before} kept:1; docker image rm {reference}")
    try:
        assert engine.until(lambda: ":8099 " in host.sh("ss -Hltn"), 30)
        run = deployment.run(
            check=False, pypi_index=f"http://{gateway}:8099/simple", cull_max_age_seconds=20000
        )
        assert run.exit_code
        assert run.failed == "Images | Build the hub image"
        (line,) = [one for one in run.output.splitlines() if "image hub: not built: " in one]
        print(f"\n{line.strip()}")
        assert line.endswith("no service was replaced; mend it and deploy again")
        assert "ERROR: " in line, "what pip said is not told"
        assert containers(host) == running
        assert host.sh(f"sha256sum {HUB_CONFIG}") == files
    finally:
        host.sh(f"kill {mirror}; docker tag kept:1 {reference}; docker image rm kept:1")
    assert deployment.run().changed == []


def test_what_was_written_by_half_is_written_again(
    deployment: Deployment, host: Host, first_run: Run
) -> None:
    """Files are put in their place whole, but who knows what a file system loses in a crash."""
    deployment.run()
    before = containers(host)
    state = "/var/lib/integrable-jupyterhub"
    host.sh(f"""
for file in {HUB_CONFIG} {FILTER_CONFIG} /etc/integrable-jupyterhub/firewall/v4.rules; do
  head -c 100 $file > $file.new; cp $file.new $file
done
mkdir -p {state}/releases/.new/services; echo name= > {state}/releases/.new/services/{HUB}
echo x > {state}/hub.tar
""")
    assert deployment.run().changed == [
        "Firewall | Write the rules",
        "Docker filter | Configure the Docker filter",
        "Hub | Configure the hub",
    ]
    assert containers(host) == before
    assert deployment.run().changed == []


# --- Releases ------------------------------------------------------------------------------------
def test_what_is_recorded_is_all_but_secrets(host: Host, first_run: Run) -> None:
    record = "/var/lib/integrable-jupyterhub/releases/current/files"
    made = host.sh(
        "find /etc -type f -path '*integrable-jupyterhub*' ! -path '*/secrets/*' ! -path '*/tls/*'"
        " ! -name release.sh ! -name carry | sort"  # programs that hand over: never an older one
    )
    assert host.sh(f"cd {record} && find . -type f | sed 's/^.//' | sort") == made
    secrets = "cat /etc/integrable-jupyterhub/secrets/* | tr ';' '\\n' | sed 's/.*://' | grep ."
    assert host.sh(f"{secrets} | grep -rFf - {record}/../.. || echo none") == "none"
    assert host.sh(f"stat -c %a {record}/../..") == "700"


def test_a_rollback_brings_back_what_ran_before(
    deployment: Deployment, host: Host, fault: Fault, restored: None
) -> None:
    deployment.run(session_pids=200, cull_max_age_seconds=20000)
    earlier = report(deployment)[1]["status"]["release"]
    deployment.run()
    later = report(deployment)[1]["status"]
    assert earlier in {release["id"] for release in later["releases"]}
    with kept_websocket(fault), fault.watched("rollback", REPLACED_SECONDS):
        done = deployment.runbook("make rollback")
        assert done.exit_code == 0, done.output
    assert f"from {later['release']} to {earlier} of " in done.output
    assert f"{FILTER_CONFIG} is put back" in done.output
    assert f"{FILTER} is replaced" in done.output
    assert f"{PROXY} is replaced" not in done.output
    assert settings_of(host, FILTER_CONFIG)["pids"] == 200
    code, found = report(deployment)
    assert code == 1, "drift is a warning"
    assert found["status"]["release"] == earlier
    # What a plan can see: that the services follow, it tells when the files are there.
    assert [name for name in found["drift"] if not name.startswith("Release")] == [
        "Docker filter | Configure the Docker filter",
        "Hub | Configure the hub",
    ]
    assert deployment.run("--dry", session_pids=200, cull_max_age_seconds=20000).exit_code == 0
    assert deployment.run(session_pids=200, cull_max_age_seconds=20000).changed == []
    # Named, and asked for twice.
    for _ in range(2):
        done = deployment.runbook("make rollback RELEASE=ID", ID=later["release"])
        assert done.exit_code == 0, done.output
        assert settings_of(host, FILTER_CONFIG)["pids"] == 256
    assert deployment.run().changed == []
    # And by the host alone, there and back.
    for release, pids in ((earlier, 200), (later["release"], 256)):
        back = "host# /etc/integrable-jupyterhub/release.sh back ID"
        done = deployment.runbook(back, ID=release)
        assert done.exit_code == 0, done.output
        assert settings_of(host, FILTER_CONFIG)["pids"] == pids
    assert deployment.run().changed == []


@pytest.fixture(scope="module")
def earlier_release(deployment: Deployment, first_run: Run) -> None:
    """One to go back to."""
    deployment.run(cull_max_age_seconds=20000)
    deployment.run()


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
    deployment: Deployment, host: Host, earlier_release: None, damage: str
) -> None:
    wanted, told = BAD_ROLLBACKS[damage]
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
    for age in (20001, 20002):
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
