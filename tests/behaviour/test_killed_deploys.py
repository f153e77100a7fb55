"""A deployment killed at any moment converges on the next run, which is then all there is to do.

From nothing on a bare Debian 12; on a host that has Docker and the images; and an update under a
live session. KILLED_MOMENTS=20 tries the latter two at so many moments (19 minutes).
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deployment import Deployment, Run
from tests.faults import Fault
from tests.lab import Host, lab
from tests.lab.demo import hub_of

SEED = 20261123
MOMENTS = int(os.environ.get("KILLED_MOMENTS", "1"))

# All that a deployment makes, but for Debian's packages, Docker and the images.
TAKE_AWAY = """
docker rm -f $(docker ps -aq --filter label=integrable-jupyterhub.role) >/dev/null
docker volume rm -f jupyterhub_db jupyterhub_filter >/dev/null
docker network rm jupyterhub_network >/dev/null
systemctl disable -q --now $(cd /etc/systemd/system; ls integrable-jupyterhub*)
rm -rf /etc/systemd/system/integrable-jupyterhub* /etc/integrable-jupyterhub
rm -rf /var/lib/integrable-jupyterhub; systemctl daemon-reload
"""


def update(number: int) -> dict[str, Any]:
    """Settings of all services, another value of each for each number."""
    names = ("session_pids", "database_memory_mb", "proxy_memory_mb", "cull_max_age_seconds")
    return {**dict.fromkeys(names[:3], 300 + number), names[3]: 20_000 + number}


def killed(deployment: Deployment, after: float, **settings: Any) -> int | None:
    """The exit code of a run that is killed after so many seconds."""
    with deployment.begun(**settings) as run:
        try:
            run.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            run.kill()  # -9
        run.communicate()
    return run.returncode


def moments(seconds: float) -> list[float]:
    """MOMENTS moments of a run that takes so long, drawn from the seed."""
    draw = random.Random(SEED)  # noqa: S311  (no secret)
    return [draw.uniform(1, seconds) for _ in range(MOMENTS)]


@pytest.fixture(scope="module")
def bookworm() -> Iterator[Host]:
    with lab(debian=12) as made:
        yield made


@pytest.fixture(scope="module")
def survivor(bookworm: Host) -> tuple[Deployment, Run]:
    """A host whose first five deployments were killed, at moments drawn from a seed."""
    deployment = Deployment(bookworm)
    draw = random.Random(SEED)  # noqa: S311  (no secret)
    for _ in range(5):
        after = draw.uniform(1, 40)
        print(f"\nkilled after {after:.1f} s: {killed(deployment, after)}")
    return deployment, deployment.run()


def test_a_dry_run_works_on_a_bare_host(bookworm: Host) -> None:
    run = Deployment(bookworm).run("--dry")
    assert run.exit_code == 0
    assert bookworm.run("sh", "-c", "command -v dockerd", check=False).returncode


def test_killed_deployments_converge_on_debian_12(survivor: tuple[Deployment, Run]) -> None:
    deployment, run = survivor
    assert run.failed is None
    assert deployment.run().changed == []
    assert deployment.host.debian == 12


def test_a_session_runs_a_cell_on_debian_12(survivor: tuple[Deployment, Run]) -> None:
    hub = hub_of(survivor[0].host)[1]
    hub.create_user("u1")
    hub.start_server("u1")
    assert hub.attach("u1", hub.mint_token("u1")).run("6*7").value == "42"


def test_a_first_deployment_converges_whenever_it_is_killed(
    survivor: tuple[Deployment, Run],
) -> None:
    deployment = survivor[0]
    deployment.host.sh(TAKE_AWAY)
    whole = deployment.run()
    for after in moments(whole.seconds):
        deployment.host.sh(TAKE_AWAY)
        code = killed(deployment, after)
        again = deployment.run()
        print(
            f"\na first deploy of {whole.seconds:.0f} s, killed after {after:.1f} s ({code}): the"
            f" next one made {len(again.changed)} of {len(whole.changed)} changes"
        )
        assert deployment.run().changed == []


def test_an_update_converges_whenever_it_is_killed_and_no_session_is_lost(
    deployment: Deployment, fault: Fault, restored: None
) -> None:
    seconds = deployment.run(**update(0)).seconds
    for number, after in enumerate(moments(seconds), 1):
        settings = update(number)
        with fault.watched(f"an update of {seconds:.0f} s, killed after {after:.1f} s", 300):
            code = killed(deployment, after, **settings)
            again = deployment.run(**settings)
        print(f"exit code {code}; the next one: {again.changed}")
        assert deployment.run(**settings).changed == []
