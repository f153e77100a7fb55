"""`make status`: what it says of a host that is well, and of one that is not."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.deployment import Deployment, Run
from tests.lab import Host
from tests.lab.client import Session
from tests.lab.host import ROOT


def status(deployment: Deployment, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "hubhost.status", *options],
        cwd=ROOT,
        env=deployment.environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout


def report(deployment: Deployment) -> tuple[int, Any]:
    code, text = status(deployment, "--json")
    return code, json.loads(text)[deployment.host.name]


def test_it_tells_how_it_stands(deployment: Deployment, first_run: Run, session: Session) -> None:
    code, found = report(deployment)
    # Other tests may have had Docker restart a service.
    grave = [one for one in found["findings"] if "was restarted" not in one["message"]]
    assert (grave, found["drift"]) == ([], [])
    assert code == bool(found["findings"])
    assert found["status"]["sessions"] == 1
    versions = {one["name"]: one["version"] for one in found["status"]["services"]}
    assert versions["jupyterhub_hub"].startswith("jupyterhub 6.")
    assert versions["jupyterhub_proxy"].startswith("configurable-http-proxy 5.")
    assert versions["jupyterhub_db"].startswith("PostgreSQL 17.")
    code, text = status(deployment)
    print(f"\n{text}")
    assert ("all is well" in text) == (code == 0)


def test_it_tells_what_is_wrong(deployment: Deployment, host: Host, restored: None) -> None:
    host.sh("docker stop jupyterhub_filter; iptables -F JHUB-USER")
    code, found = report(deployment)
    assert code == 2
    subjects = {one["subject"]: one["severity"] for one in found["findings"]}
    assert subjects.items() >= {"jupyterhub_filter": "ERROR", "drift": "WARNING"}.items()
    assert found["drift"] == ["Firewall | Apply the rules", "Docker filter | Run the Docker filter"]
