"""What breaks, what is lost, and for how long; docs/reliability.md has the table."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults import Fault, kill, restart
from tests.lab import engine

# Ten minutes, once in a while: FAULT_AWAY_SECONDS=600.
AWAY = int(os.environ.get("FAULT_AWAY_SECONDS", "10"))

BREAK = {
    "hub killed": kill("jupyterhub_hub"),
    "hub restarted": restart("jupyterhub_hub"),
    # It would have a minute; it is told (has a handler for signal 15), and ends.
    "hub stopped while it starts": """
docker restart jupyterhub_hub
pid=$(docker inspect -f '{{.State.Pid}}' jupyterhub_hub)
until [ $((0x$(awk '/^SigCgt/ { print substr($2, 13) }' /proc/$pid/status) & 0x4000)) != 0 ]; do
    sleep 0.02
done
timeout 20 docker stop -t 60 jupyterhub_hub
docker start jupyterhub_hub""",
    "proxy killed": kill("jupyterhub_proxy"),
    "proxy restarted": restart("jupyterhub_proxy"),
    "database killed": kill("jupyterhub_db"),
    "database restarted": restart("jupyterhub_db"),
    "Docker filter killed": kill("jupyterhub_filter"),
    "Docker filter restarted": restart("jupyterhub_filter"),
    "Docker restarted": "systemctl restart docker",
    "Docker killed": "kill -9 $(cat /run/docker.pid); until docker ps; do sleep 0.2; done",
    "rules flushed, then loaded": "iptables -F; systemctl reload integrable-jupyterhub-firewall",
}


@pytest.mark.parametrize("what", BREAK)
def test_a_session_outlives_it_and_all_is_back_without_anybody(fault: Fault, what: str) -> None:
    with fault.watched(what):
        fault.host.sh(BREAK[what], timeout=120)
    fault.a_session_starts()


def test_docker_may_be_away_under_load(fault: Fault, user: Callable[[], str]) -> None:
    """Cells run all the time; who starts a session waits, or is told and may try again."""
    names, over = [user() for _ in range(3)], threading.Event()
    answers: list[tuple[int, float]] = []
    cells: list[str | None] = []

    def start(name: str) -> None:
        while not over.is_set():
            begun = time.monotonic()
            status = fault.hub.http.post(f"{fault.hub.api_url}/users/{name}/server").status_code
            answers.append((status, time.monotonic() - begun))
            if status == 201:
                return

    def work() -> None:
        kernel = fault.session.start_kernel()
        while not over.is_set():
            cells.append(fault.session.run("6 * 7", kernel=kernel).value)
            over.wait(0.5)

    with ThreadPoolExecutor(len(names) + 1) as pool:
        try:
            with fault.watched(f"Docker away for {AWAY} s"):
                working = pool.submit(work)
                fault.host.sh("systemctl stop docker.socket docker")
                starting = [pool.submit(start, name) for name in names]
                time.sleep(AWAY)
            before = len(cells)
            with fault.watched("Docker back"):
                fault.host.sh("systemctl start docker")
                for one in starting:
                    one.result(300)
        finally:
            over.set()
        working.result(300)
    refused = sorted({status for status, _ in answers if status != 201})
    longest = max(seconds for _, seconds in answers)
    print(
        f"{len(cells)} cells, {before} of them without Docker; {len(answers)} starts for"
        f" {len(names)} sessions, the longest {longest:.0f} s; refused: {refused}"
    )
    assert before > AWAY / 5
    assert set(cells) == {"42"}
    assert [status for status, _ in answers].count(201) == len(names)
    assert set(refused) <= {429, 500, 503}
    fault.a_session_starts()


def test_a_database_password_changed_by_hand_is_set_again(fault: Fault) -> None:
    """By the container's health check, twice a minute; the hub that starts meanwhile waits."""
    enters = (
        "docker exec jupyterhub_db sh -c 'PGPASSWORD=$(cat /run/secrets/database_password)"
        " psql -h 127.0.0.1 -U jupyterhub -c SELECT'"
    )
    change = "psql -U jupyterhub -c \"ALTER ROLE jupyterhub PASSWORD 'other'\""

    def does(script: str) -> bool:
        return fault.host.run("sh", "-c", script, check=False).returncode == 0

    with fault.watched("database password changed by hand", 150):
        # Once more, where the health check came first.
        assert engine.until(lambda: does(f"docker exec jupyterhub_db {change} && ! {enters}"), 60)
        fault.host.sh(restart("jupyterhub_hub"))
        assert engine.until(lambda: does(enters), 150)
    fault.a_session_starts()
