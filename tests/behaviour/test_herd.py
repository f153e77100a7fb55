"""A class begins while the culler takes the sessions of the one before."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import quantiles

import docker

from tests.deployment import Deployment
from tests.lab import Host, engine
from tests.lab.client import Hub
from tests.sessions import session_containers

HERD = 40
# The hub's own culler, run once more: it takes what is older than a second, one after the other.
CULL = (
    "docker exec -d jupyterhub_hub sh -c 'JUPYTERHUB_API_TOKEN=$(cat /run/secrets/culler_token)"
    " exec timeout 600 python3 -m jupyterhub_idle_culler --url=http://172.27.0.2:8081/hub/api"
    " --max-age=1 --timeout=100000 --cull-every=100000 --cull-users=true'"
)


def start(hub: Hub, name: str) -> float:
    """Seconds from the request until the session serves."""
    hub.create_user(name)
    begun = time.monotonic()
    answer = hub.http.post(f"{hub.api_url}/users/{name}/server", timeout=300)
    assert answer.status_code == 201, (name, answer.status_code, answer.text)
    return time.monotonic() - begun


def herd(hub: Hub, names: list[str]) -> list[float]:
    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(lambda name: start(hub, name), names))


def sessions(hub: Hub) -> set[str]:
    """The users that have a session."""
    users = hub.call("GET", "/users?limit=200", 200).json()  # JupyterHub's most; its default is 50
    return {user["name"] for user in users if user["servers"]}


def test_a_class_starts_while_another_is_culled(
    deployment: Deployment, host: Host, hub: Hub, containers: docker.DockerClient, restored: None
) -> None:
    """All are served, and none of the wrong ones is taken. A slow machine may queue for long."""
    deployment.run(max_sessions=2 * HERD, session_start_timeout_seconds=240, memory_headroom_mb=0)
    names = [f"h{secrets.randbelow(10**10)}" for _ in range(2 * HERD)]
    before, after = names[:HERD], names[HERD:]
    try:
        alone = herd(hub, before)
        host.sh(CULL)
        assert engine.until(lambda: not sessions(hub) >= {*before}, 120)
        beside = herd(hub, after)
        assert engine.until(lambda: not sessions(hub) & {*before}, 120)
        for title, times in (("alone", alone), ("while culled", beside)):
            p = quantiles(times, n=100)
            print(f"\n{HERD} starts {title}: p50 {p[49]:.1f}, p95 {p[94]:.1f}, p99 {p[98]:.1f} s")
        running = {n: c for n, c in session_containers(containers).items() if n in names}
        assert running.keys() == {*after}
        for name in after:
            assert hub.session(name, hub.mint_token(name)).status() == 200
    finally:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(hub.delete_user, names))
