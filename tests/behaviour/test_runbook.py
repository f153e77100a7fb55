"""What docs/operations.md tells an admin to type, where no other test types it."""

from __future__ import annotations

from tests.deployment import Deployment, Run


def test_a_deployment(deployment: Deployment, first_run: Run) -> None:
    for done in (
        deployment.runbook(".venv/bin/pyinfra --dry inventory.py deploy.py"),
        deployment.runbook(".venv/bin/pyinfra inventory.py deploy.py"),
    ):
        assert done.exit_code == 0, done.output


def test_what_the_host_tells(deployment: Deployment, first_run: Run) -> None:
    for told in (
        deployment.runbook("host# systemctl start integrable-jupyterhub-certificate"),
        deployment.runbook("host# journalctl -p warning -u integrable-jupyterhub-certificate"),
    ):
        assert told.exit_code == 0, told.output
