"""A deployment killed at any moment converges on the next run; shown on Debian 12, from nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.deployment import Deployment, Run
from tests.lab import Host, lab
from tests.lab.demo import hub_of
from tests.lab.host import ROOT

SEED = 20261123


@pytest.fixture(scope="module")
def bookworm() -> Iterator[Host]:
    with lab(debian=12) as made:
        yield made


@pytest.fixture(scope="module")
def survivor(bookworm: Host) -> tuple[Deployment, Run]:
    """A host whose first five deployments were killed, at moments drawn from a seed."""
    deployment = Deployment(bookworm)
    moments = random.Random(SEED)  # noqa: S311  (no secret)
    for _ in range(5):
        after = moments.uniform(1, 40)
        with subprocess.Popen(
            deployment.command(),
            cwd=ROOT,
            env=deployment.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as run:
            try:
                run.wait(after)
            except subprocess.TimeoutExpired:
                os.killpg(run.pid, signal.SIGKILL)
        print(f"\nkilled after {after:.1f} s: {run.returncode}")
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
