"""Two runs at once, a run that is killed, a run whose network is lost: one change at a time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hubhost import lock
from hubhost.paths import LOCK
from tests.behaviour.test_bad_input import STATE
from tests.deployment import Deployment, Run
from tests.faults import Fault
from tests.lab import Host, engine

WAITS = "tests/behaviour/waits.py"
# /proc/locks names flock(1), which has ended, while the file is still open in the shell.
HOLDER = f"find /proc/[0-9]*/fd -lname {LOCK} 2>/dev/null | cut -d/ -f3 | head -n 1"


def held(host: Host) -> bool:
    return host.run("flock", "--nonblock", str(LOCK), "true", check=False).returncode != 0


@contextmanager
def changing(deployment: Deployment, **run: Any) -> Iterator[subprocess.Popen[str]]:
    """A run that has the lock. Who has it writes so; to try it would take it from the run."""
    deployment.host.sh(f": > {LOCK}")
    with deployment.begun(**run) as running:
        assert engine.until(lambda: deployment.host.sh(f"cat {LOCK}") != "", 60)
        yield running


@pytest.fixture
def holding(deployment: Deployment, host: Host, first_run: Run) -> Iterator[subprocess.Popen[str]]:
    """A run that holds the lock, until /run/go-on is there."""
    host.sh("rm -f /run/go-on")
    with changing(deployment, script=WAITS) as run:
        yield run
    host.sh("touch /run/go-on")
    assert engine.until(lambda: not held(host), 30)


def test_a_second_run_is_refused_in_one_line_and_touches_nothing(
    deployment: Deployment, host: Host, holding: subprocess.Popen[str]
) -> None:
    before = host.sh(STATE)
    verbs: dict[str, dict[str, str]] = {
        "deploy.py": {},
        "ops/rotate.py": {"SECRET": "all"},
        "ops/forget.py": {"FORGET": "nobody"},
    }
    for script, variables in verbs.items():
        run = deployment.run(script=script, variables=variables, check=False, debug=True)
        assert run.exit_code, script
        assert (run.failed or "").endswith("Take the host's lock"), script
        assert run.changed == []
        (line,) = [line for line in run.output.splitlines() if " lock: " in line]
        assert f"lock: held by {lock.who()}, since 20" in line
        assert "Traceback" not in run.output
    assert deployment.run("--dry", debug=True).exit_code == 0
    assert host.sh(STATE) == before
    host.sh("touch /run/go-on")
    said, _ = holding.communicate(timeout=60)
    assert holding.returncode == 0, said
    assert deployment.run().changed == []


def test_a_lock_dies_with_the_run_that_is_killed(
    deployment: Deployment, host: Host, holding: subprocess.Popen[str]
) -> None:
    holding.kill()
    holding.wait()
    begun = time.monotonic()
    assert engine.until(lambda: not held(host), 20)
    print(f"\nfree {time.monotonic() - begun:.1f} s after kill -9")
    assert deployment.run().changed == []


LOSE = f"""
set -- $(tr '\\0' '\\n' < /proc/$({HOLDER})/environ | sed -n 's/^SSH_CONNECTION=//p')
nft "table inet lost {{
  chain in {{ type filter hook input priority -300; tcp sport $2 tcp dport $4 drop; }}
  chain out {{ type filter hook output priority -300; tcp sport $4 tcp dport $2 drop; }}
}}"
"""
"""Shell: no packet of the connection that holds the lock passes any more, in neither direction."""


def test_a_network_that_is_lost_ends_the_run_and_the_next_one_converges(
    deployment: Deployment, fault: Fault, restored: None
) -> None:
    """An update that replaces the hub, under a live session."""
    host = fault.host
    setting: dict[str, Any] = {"cull_max_age_seconds": 20_000}
    with fault.watched("network lost in mid-deploy", 300), changing(deployment, **setting) as run:
        # In its middle: the new configuration is there, or about to be.
        config = "grep -q 20000 /etc/integrable-jupyterhub/hub/config.json"
        assert engine.until(lambda: host.run("sh", "-c", config, check=False).returncode == 0, 120)
        try:
            begun = time.monotonic()
            host.sh(LOSE)
            assert engine.until(lambda: run.poll() is not None, 120)
            ended = time.monotonic() - begun
            assert engine.until(lambda: not held(host), 60)
            free = time.monotonic() - begun
        finally:
            host.run("nft", "delete", "table", "inet", "lost", check=False)
        said, _ = run.communicate()
        print(f"\nthe run ended after {ended:.0f} s, the lock was free after {free:.0f} s")
        assert run.returncode
        assert lock.LOST in said
        assert "Traceback" not in said
        assert deployment.run(**setting).exit_code == 0
    assert deployment.run(**setting).changed == []
