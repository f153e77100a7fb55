"""`make logs`: what the services said, across updates; and what is forgotten, and expires."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
import time

from tests.deployment import Deployment, Run
from tests.lab import Host
from tests.lab.client import Hub
from tests.lab.host import ROOT

KEPT = "/var/log/integrable-jupyterhub"


def says(hub: Hub) -> str:
    """A name of nobody's that the hub's log now holds."""
    name = f"log{secrets.randbelow(10**12)}"
    assert hub.call("GET", f"/users/{name}").status_code == 404
    return name


def test_what_the_hub_said_before_an_update_is_shown_until_it_is_forgotten(
    deployment: Deployment, host: Host, hub: Hub, restored: None
) -> None:
    before, user = says(hub), says(hub)
    deployment.run(debug=True)
    following = deployment.runbook(
        "make logs SERVICE=hub FOLLOW=1",
        until=lambda said: before in said and says(hub) in said.partition(before)[2],
        timeout=120,
    )
    lines = following.stdout.splitlines()
    assert [line for line in lines if " hub  " not in line] == []
    assert [line[:19] for line in lines] == sorted(line[:19] for line in lines)
    assert any("[D " in line for line in lines)  # the one setting is on

    hub.call("DELETE", f"/users/{user}?purge=1", 404)
    deployment.runbook("make forget USER=NAME", NAME=user)
    told = deployment.runbook("make logs").stdout
    assert before in told
    assert user not in told
    assert {line.split()[1] for line in told.splitlines()} >= {"hub", "db", "proxy"}

    deployment.run()
    after = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(float(host.sh("date +%s"))))
    new = says(hub)
    shown = host.sh(f"/etc/integrable-jupyterhub/logs show {after} hub")
    assert new in shown
    assert "[D " not in shown  # and off again
    assert before in deployment.runbook(
        "host# /etc/integrable-jupyterhub/logs show -3600 hub"
    ).stdout  # fmt: skip


def test_lines_expire_and_the_rest_is_told(
    deployment: Deployment, host: Host, hub: Hub, restored: None
) -> None:
    deployment.run(max_sessions=49)  # another hub: the log of this one is kept
    old = host.sh(f"ls -d {KEPT}/jupyterhub_hub/* | tail -n 1")
    host.sh(f"touch -d '8 days ago' {old}/*")
    recent = says(hub)
    for _ in range(2):  # of the second it can tell what changed
        assert (
            deployment.runbook("host# systemctl start integrable-jupyterhub-daily").exit_code == 0
        )
    assert host.run("test", "-e", old, check=False).returncode == 1
    assert recent in host.sh("/etc/integrable-jupyterhub/logs show -3600 hub")
    told = deployment.runbook("host# journalctl -u integrable-jupyterhub-daily").stdout
    assert re.search(r"since 20.* UTC: \d+ changes; \d+ MB free; MB of the database: \d+,", told)


def test_what_was_said_long_ago_is_shown_on_request(
    deployment: Deployment, host: Host, hub: Hub
) -> None:
    said = deployment.runbook("make logs SERVICE=proxy SINCE=7d")
    assert said.exit_code == 0, said.output


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
