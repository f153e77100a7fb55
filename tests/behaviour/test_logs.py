"""`make logs`: what the services said, across updates; and what is forgotten, and expires."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys

from tests.deployment import Deployment, Run
from tests.lab import Host, engine
from tests.lab.client import Hub
from tests.lab.host import ROOT

KEPT = "/var/log/integrable-jupyterhub/jupyterhub_hub"


def says(hub: Hub) -> str:
    """A name of nobody's that the hub's log now holds."""
    name = f"log{secrets.randbelow(10**12)}"
    assert hub.call("GET", f"/users/{name}").status_code == 404
    return name


def test_what_the_hub_said_before_an_update_is_shown_until_it_is_forgotten_or_expires(
    deployment: Deployment, host: Host, hub: Hub, restored: None
) -> None:
    before, user = says(hub), says(hub)
    deployment.run(debug=True)
    new: list[str] = []

    def both(said: str) -> bool:
        if before in said and not new:
            new.append(says(hub))
        return bool(new) and new[0] in said

    lines = deployment.runbook(
        "make logs SERVICE=hub FOLLOW=1", until=both, timeout=120
    ).stdout.splitlines()
    assert [line for line in lines if " hub  " not in line] == []
    assert [line[:19] for line in lines] == sorted(line[:19] for line in lines)
    assert any("[D " in line for line in lines)  # the one setting is on

    assert deployment.runbook("make forget USER=NAME", NAME=user).exit_code == 0
    told = deployment.runbook("make logs").stdout
    assert before in told
    assert user not in told
    assert {line.split()[1] for line in told.splitlines()} >= {"hub", "db", "proxy"}

    deployment.run()  # debugging is off again
    away = host.sh("date -u +%Y-%m-%dT%H:%M:%S")
    after = says(hub)
    show = f"/etc/integrable-jupyterhub/logs show {away} hub"
    assert engine.until(lambda: after in host.sh(show), 30)
    assert "[D " not in host.sh(show)

    old = host.sh(f"grep -l {before} {KEPT}/*/*")
    host.sh(f"touch -d '8 days ago' {old}")
    for _ in range(2):  # the second can tell what changed
        done = deployment.runbook("host# systemctl start integrable-jupyterhub-daily")
        assert done.exit_code == 0, done.output
    last_hour = deployment.runbook("host# /etc/integrable-jupyterhub/logs show -3600 hub").stdout
    assert before not in last_hour
    assert new[0] in last_hour
    host.sh("journalctl --sync")
    daily = deployment.runbook("host# journalctl -u integrable-jupyterhub-daily").stdout
    assert re.search(r"since 20.* UTC: \d+ changes; \d+ MB free; MB of the database: \d+,", daily)


def test_what_was_said_long_ago_is_shown_on_request(deployment: Deployment, hub: Hub) -> None:
    done = deployment.runbook("make logs SERVICE=proxy SINCE=7d")
    assert done.exit_code == 0, done.output


def test_a_service_that_does_not_exist_is_one_line(deployment: Deployment, first_run: Run) -> None:
    for variables, line in (
        ({"SERVICE": "hubs"}, "SERVICE: there is no 'hubs'; name one of hub, db, proxy, filter"),
        ({"SINCE": "noon"}, "SINCE: 'noon' is no time; such as 30min, 12h, 7d"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "hubhost.logs"],
            cwd=ROOT,
            env={**deployment.environment, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        (said,) = done.stderr.splitlines()
        assert said.startswith(line)
