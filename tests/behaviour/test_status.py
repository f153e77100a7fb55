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
    # Other tests may have had Docker restart a service; Debian may have fixed something today.
    grave = [
        one
        for one in found["findings"]
        if "was restarted" not in one["message"] and one["subject"] != "updates"
    ]
    assert (grave, found["drift"]) == ([], [])
    assert code == bool(found["findings"])
    assert found["status"]["sessions"] == 1
    assert found["status"]["rules_loaded"]
    assert [name.split()[0] for name in found["status"]["versions"]] == [
        *("Debian", "kernel", "Docker"),
    ]
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


def test_it_tells_of_security_updates_that_an_image_lacks(
    deployment: Deployment, host: Host, first_run: Run
) -> None:
    """The hub's image with an old OpenSSL, in the hub's place."""
    image = host.sh("docker inspect -f '{{.Config.Image}}' jupyterhub_hub")
    old = "/^Package: openssl$/,/^$/s/^Version: .*/Version: 1.0/"
    host.sh(
        f"docker run --name old --user 0 --network none --entrypoint sed {image}"
        f" -i '{old}' /var/lib/dpkg/status; docker commit old integrable-jupyterhub-old:1;"
        " docker rm old; docker create --name old --label integrable-jupyterhub.role=service"
        " integrable-jupyterhub-old:1"
    )
    try:
        host.sh("systemctl start integrable-jupyterhub-daily")
    finally:
        host.sh("docker rm old; docker image rm integrable-jupyterhub-old:1")
    host.sh("journalctl --sync")
    said = host.sh("journalctl -q -o cat -p warning -u integrable-jupyterhub-daily")
    assert "old image: Debian has security updates of openssl" in said
    looked = host.sh("cat /var/lib/integrable-jupyterhub/daily/security")
    assert "updates integrable-jupyterhub-old:1 openssl" in looked
    _, found = report(deployment)
    known = {one["image"]: one["packages"] for one in found["status"]["updates"]}
    assert known.keys() == {"hub", "database", "proxy", "filter", "notebook"}
    assert None not in known.values()
