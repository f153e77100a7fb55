"""What docs/operations.md tells an admin to type, where no other test types it."""

from __future__ import annotations

from tests.deployment import Deployment, Run
from tests.lab import Host, engine
from tests.lab.client import Hub


def test_a_deployment(deployment: Deployment, first_run: Run) -> None:
    for done in (
        deployment.runbook(".venv/bin/pyinfra --dry inventory.py deploy.py"),
        deployment.runbook(".venv/bin/pyinfra inventory.py deploy.py"),
        deployment.runbook("make deploy"),
    ):
        assert done.exit_code == 0, done.output


def test_what_the_host_tells(deployment: Deployment, first_run: Run) -> None:
    for told in (
        deployment.runbook("host# docker ps --filter label=integrable-jupyterhub.role=session"),
        deployment.runbook("host# docker logs CONTAINER", CONTAINER="jupyterhub_hub"),
        deployment.runbook("host# journalctl -u integrable-jupyterhub-firewall -u docker"),
        deployment.runbook("host# systemctl start integrable-jupyterhub-daily"),
        deployment.runbook("host# journalctl -u integrable-jupyterhub-daily"),
        deployment.runbook("host# journalctl -p warning -u integrable-jupyterhub-daily"),
    ):
        assert told.exit_code == 0, told.output


def test_a_hub_restarted_by_hand_looks_for_what_was_left_behind(
    deployment: Deployment, host: Host, hub: Hub
) -> None:
    stray = host.sh(
        "docker create --label integrable-jupyterhub.role=session"
        f" {host.sh('docker inspect jupyterhub_db --format {{.Image}}')}"
    )
    assert deployment.runbook("host# docker restart jupyterhub_hub").exit_code == 0

    def told() -> str:
        return deployment.runbook("host# docker logs jupyterhub_hub 2>&1 | grep reaper:").stdout

    assert engine.until(lambda: "nobody owns the container" in told(), 120)
    assert engine.until(lambda: stray not in host.sh("docker ps -aq --no-trunc"), 60)
