"""A host without room, on its disk or in its memory: sessions go on, and all is back with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.deployment import Deployment, Run
from tests.faults import Fault
from tests.lab import Host, engine

SERVICES = "jupyterhub_db jupyterhub_proxy jupyterhub_filter jupyterhub_hub"
FULL_SECONDS = 30
"""How long the disk is full; long enough for Docker to wait longer between two restarts."""

# Docker's folder, the database's volume in it, on a file system of its own with little room left.
SMALL = f"""
docker stop -t 20 {SERVICES} >/dev/null; systemctl stop docker.socket docker
mkdir -p /mnt/small
mount -t tmpfs -o size=$(( $(du -sxm /var/lib/docker | cut -f1) + 200 ))m small /mnt/small
cp -ax /var/lib/docker/. /mnt/small; mount --bind /mnt/small /var/lib/docker
systemctl start docker; docker start {SERVICES} >/dev/null
"""
BIG = f"""
docker stop -t 20 {SERVICES} >/dev/null; systemctl stop docker.socket docker
umount /var/lib/docker; umount /mnt/small
systemctl start docker; docker start {SERVICES} >/dev/null
"""
SERVE = (
    "docker exec jupyterhub_hub python -m integrable_jupyterhub health"
    " && docker exec jupyterhub_proxy node /opt/proxy/health.js"
)
FILL = (
    "dd if=/dev/zero of=/var/lib/docker/fill bs=1M status=none 2>/dev/null; df -m /var/lib/docker"
)
# The database has to write; and that its log runs into the end, it takes several files of 16 MB.
WRITE = """
docker exec jupyterhub_db sh -c 'for file in 1 2 3 4 5 6 7 8; do
  psql -q -U postgres -c "SELECT pg_logical_emit_message(false, 0::text, 0::text)" \\
    -c "SELECT pg_switch_wal()"; done' >/dev/null 2>&1
"""


@pytest.fixture
def small_disk(deployment: Deployment, host: Host, first_run: Run) -> Iterator[None]:
    try:
        host.sh(SMALL, timeout=300)
        assert engine.until(lambda: host.run("sh", "-c", SERVE, check=False).returncode == 0, 120)
        yield
    finally:
        host.sh(BIG, timeout=300)
        deployment.run()


def test_a_full_disk_ends_no_session_and_all_is_back_when_there_is_room(
    small_disk: None, fault: Fault, user: Callable[[], str]
) -> None:
    host, hub, name = fault.host, fault.hub, user()
    with fault.watched("disk full") as doors:
        print(f"\n{host.sh(FILL)}")
        host.run("sh", "-c", WRITE, check=False)
        log = host.sh("docker logs --since 1m jupyterhub_db 2>&1")
        print(f"the database: {[line for line in log.splitlines() if 'PANIC' in line][:1]}")
        begun = time.monotonic()
        start = hub.http.post(f"{hub.api_url}/users/{name}/server", timeout=120)
        took = time.monotonic() - begun
        print(f"a start on the full disk: {start.status_code} after {took:.1f} s: {start.text}")
        time.sleep(max(0, FULL_SECONDS - took))
        host.sh("rm /var/lib/docker/fill")
        room = time.monotonic()
    backs = {name: door.back_after(room) for name, door in doors.items()}
    print(f"back after there was room: {backs}")
    assert start.status_code in (429, 500, 503)
    assert doors["session"].away < 5, "a session needs no disk"
    assert all(back < 50 for back in backs.values())
    fault.a_session_starts()


HOG = "head -c {0}M /dev/zero | tail -c {0}M | sleep infinity"
LEFT = "sed -n 's/^MemAvailable: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"


def test_without_memory_new_starts_are_429_and_all_else_goes_on(
    deployment: Deployment, fault: Fault, user: Callable[[], str], restored: None
) -> None:
    """Memory is really taken, some 1.5 GB; the headroom is set so that this is what is left."""
    host, hub = fault.host, fault.hub
    left = int(host.sh(LEFT)) // 1024
    deployment.run(memory_headroom_mb=left - 1000)
    name = user()
    with fault.watched("memory nearly used"):
        take = int(host.sh(LEFT)) // 1024 - (left - 1500)
        host.sh(f"systemd-run --quiet --collect --unit hog sh -c '{HOG.format(take)}'")
        try:
            assert engine.until(lambda: int(host.sh(LEFT)) // 1024 < left - 1200, 60)
            refused = hub.call("POST", f"/users/{name}/server")
            assert (refused.status_code, "memory" in refused.text) == (429, True), refused.text
            assert refused.headers["Retry-After"]
        finally:
            host.sh("systemctl stop hog")
        assert engine.until(
            lambda: hub.call("POST", f"/users/{name}/server").status_code in (201, 400), 60
        )
