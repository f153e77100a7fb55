"""`make check`: says that sessions are confined, and notices when they are not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.behaviour.test_status import report
from tests.deployment import Deployment, Run
from tests.lab import Host
from tests.lab.outside import METADATA, outside
from tests.lab.outside.world import SERVER

# What somebody might do to the rules, and what undoes it; a deployment mends the rest.
OPEN = """
nft delete table inet jhub; nft delete table bridge jhub
iptables -w -I DOCKER-USER 1 -j ACCEPT
iptables -w -I INPUT 1 -i br-jhub -j ACCEPT
"""
SHUT = """
iptables -w -D DOCKER-USER -j ACCEPT; iptables -w -D INPUT -i br-jhub -j ACCEPT; :
"""


@pytest.fixture
def beyond(host: Host, first_run: Run) -> Iterator[None]:
    with outside(host):
        yield


def verdicts(run: str) -> dict[str, str]:
    """By door: the word at the beginning of its line."""
    found = {}
    for line in run.splitlines():
        words = line.partition("] ")[2].split(None, 1)
        if len(words) == 2 and words[0] in ("ok", "LEAK", "wrong"):
            found[words[1]] = words[0]
    return found


def test_a_session_reaches_what_it_needs_and_a_leak_is_noticed(
    deployment: Deployment, host: Host, beyond: None, restored: None
) -> None:
    assert deployment.runbook("make check").exit_code == 0
    also = f"{SERVER}:80,{METADATA}:80"
    line = "make check ALSO=ADDRESSES"
    safe = deployment.runbook(line, ADDRESSES=also)
    assert safe.exit_code == 0, safe.output
    told = verdicts(safe.output)
    print("\n" + "\n".join(told))
    assert set(told.values()) == {"ok"}
    assert {"hub:8081 is open", "proxy:8000 is open", "database:5432 is refused"} <= set(told)
    assert any(door.startswith("the host, 172.27.0.1:22 (sshd)") for door in told)
    assert any(door.startswith(f"{SERVER}:80") for door in told)
    _, found = report(deployment)
    assert found["status"]["checked"]["wrong"] == []

    host.sh(OPEN)
    try:
        leaky = deployment.runbook(line, ADDRESSES=also)
    finally:
        host.sh(SHUT)
    assert leaky.exit_code
    leaks = [door for door, word in verdicts(leaky.output).items() if word == "LEAK"]
    assert f"{SERVER}:80 is open to sessions" in leaks
    assert "database:5432 is open to sessions" in leaks
    assert "the host, 172.27.0.1:22 (sshd) is open to sessions" in leaks
    code, found = report(deployment)
    assert code == 2
    assert "isolation" in [one["subject"] for one in found["findings"]]
    # Nothing is left of the probes.
    assert host.sh("docker ps -aq --filter label=integrable-jupyterhub.role=probe") == ""


def test_a_hub_that_is_broken_proves_nothing(
    deployment: Deployment, host: Host, first_run: Run
) -> None:
    host.sh("docker stop jupyterhub_db")
    run = deployment.run(script="ops/check.py", check=False)
    assert run.exit_code
    assert "database:5432 proves nothing: to the hub it is shut too" in run.output
    # Mended, all is as it should be, and the status says so from then on.
    deployment.run()
    assert deployment.runbook("make check").exit_code == 0
