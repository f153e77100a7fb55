"""Rerun for updates: nothing to do is nothing done, and drift is repaired, and only drift."""

from __future__ import annotations

import json

import pytest

from tests.deployment import Deployment, Run
from tests.lab import Host
from tests.lab.client import Hub, Session
from tests.lab.demo import hub_of
from tests.lab.host import ROOT

HUB_CONFIG = "/etc/integrable-jupyterhub/hub/config.json"
TLS_FOLDER = "/etc/integrable-jupyterhub/tls"


def test_a_second_run_changes_nothing_and_is_quick(deployment: Deployment, first_run: Run) -> None:
    run = deployment.run()
    verbose = deployment.run("-vvv")
    print(f"\nno-op: {run.seconds:.2f} s, {verbose.commands} remote commands")
    assert run.changed == []
    # Five times the target; of two runs, for the machine may have other work.
    assert min(run.seconds, verbose.seconds) < 10 * deployment.host.patience
    assert 0 < verbose.commands < 60


def test_a_dry_run_tells_and_touches_nothing(
    deployment: Deployment, host: Host, first_run: Run
) -> None:
    before = host.sh(f"sha256sum {HUB_CONFIG}; docker ps -q --no-trunc")
    deployment.run("--dry", debug=True)
    assert host.sh(f"sha256sum {HUB_CONFIG}; docker ps -q --no-trunc") == before


BREAK_AND_REPAIR = {
    "docker stop jupyterhub_hub": ["Hub | Run the hub"],
    "docker rm -f jupyterhub_proxy": ["Proxy | Run the proxy"],
    "docker rm -f jupyterhub_filter": ["Docker filter | Run the Docker filter"],
    f"echo >> {HUB_CONFIG}": ["Hub | Configure the hub"],
    "iptables -D JHUB-USER 3": ["Firewall | Apply the rules"],
    "iptables -I DOCKER-USER 1 -j ACCEPT": ["Firewall | Apply the rules"],
    "iptables -F DOCKER-USER": ["Firewall | Apply the rules"],
    "systemctl disable -q integrable-jupyterhub-firewall": ["Firewall | Apply the rules"],
    "chmod 644 /etc/integrable-jupyterhub/secrets/proxy_token": [
        "Secrets | Make the secrets that are missing"
    ],
    f"rm {TLS_FOLDER}/tls.crt": [
        "TLS | Make a self-signed certificate",
        "Proxy | Serve the certificate",
    ],
    "systemctl disable -q --now integrable-jupyterhub-daily.timer": ["Daily | Look daily"],
    # Docker then adds its RETURN to DOCKER-USER again: that is no drift.
    "docker network create other && docker network rm other": [],
}


@pytest.mark.parametrize(("damage", "repaired"), BREAK_AND_REPAIR.items())
def test_drift_is_repaired_and_only_drift(
    deployment: Deployment, host: Host, first_run: Run, damage: str, repaired: list[str]
) -> None:
    deployment.run()
    host.sh(damage)
    assert deployment.run().changed == repaired
    assert deployment.run().changed == []


def test_a_changed_setting_changes_what_depends_on_it(
    deployment: Deployment, first_run: Run, restored: None
) -> None:
    changed = deployment.run(session_pids=200).changed
    assert changed == [
        "Docker filter | Configure the Docker filter",
        "Docker filter | Run the Docker filter",
        "Release | Record what runs",
    ]


def test_a_running_session_survives_an_update_of_the_settings(
    deployment: Deployment, session: Session, restored: None
) -> None:
    kernel = session.start_kernel()
    session.run("x = 41", kernel=kernel)
    assert "Hub | Run the hub" in deployment.run(cull_max_age_seconds=20000).changed
    assert session.run("x + 1", kernel=kernel).value == "42"


def test_a_database_that_cannot_be_read_says_why(
    deployment: Deployment, host: Host, first_run: Run
) -> None:
    data = "$(docker volume inspect -f '{{.Mountpoint}}' jupyterhub_db)/pgdata/PG_VERSION"
    host.sh(f"docker stop jupyterhub_db; echo 16 > {data}")
    try:
        run = deployment.run(check=False)
        assert run.exit_code
        assert run.failed == "Database | Run the database"
        assert "the volume holds data of PostgreSQL 16, and no image of ours" in run.output
    finally:
        host.sh(f"echo 17 > {data}")
        deployment.run()


def test_secrets_of_a_reference_configuration_are_taken_over(
    deployment: Deployment, host: Host, hub: Hub
) -> None:
    waiting = ROOT / ".imported-secrets.json"
    assert not waiting.exists(), "an import waits for its deploy: it would go to the lab"
    given = {
        "service_tokens": "service-admin:" + "a1" * 32,
        "database_password": "b2" * 32,
        "proxy_token": "c3" * 32,
        "cookie_secret": "d4" * 64,
    }
    waiting.write_text(json.dumps(given))
    verbose = deployment.run("-vvv", "--diff")
    assert not waiting.exists()
    assert hub_of(host)[1].token == "a1" * 32
    assert hub_of(host)[1].call("GET", "/users").status_code == 200
    assert hub.call("GET", "/users").status_code == 403, "the old token still opens the hub"
    for secret in given.values():
        assert secret.rpartition(":")[2] not in verbose.output
    assert deployment.run().changed == []


WRONG_NETWORK = """
docker rm -f $(docker ps -aq --filter label=integrable-jupyterhub.role) >/dev/null
docker network rm jupyterhub_network >/dev/null
docker network create --subnet 172.27.0.0/16 jupyterhub_network
"""


def test_a_wrong_network_is_made_anew(deployment: Deployment, host: Host, first_run: Run) -> None:
    host.sh(WRONG_NETWORK)
    assert deployment.run().changed == [
        "Network | Create jupyterhub_network",
        "Database | Run the database",
        "Proxy | Run the proxy",
        "Docker filter | Run the Docker filter",
        "Hub | Run the hub",
    ]
    assert deployment.run().changed == []


def test_a_wrong_network_that_others_use_is_reported(
    deployment: Deployment, host: Host, first_run: Run
) -> None:
    host.sh(WRONG_NETWORK)
    image = host.sh("docker image ls -q integrable-jupyterhub-base | head -n 1")
    host.sh(f"docker run -d --name wiki --network jupyterhub_network {image} sleep infinity")
    try:
        run = deployment.run(check=False)
        assert run.failed == "Network | Create jupyterhub_network"
        assert "network_name: jupyterhub_network exists and is wrong" in run.output
        assert "wiki is attached to it; remove that container" in run.output
        assert host.sh("docker ps --format '{{.Names}}'") == "wiki"
    finally:
        host.sh("docker rm -f wiki")
        deployment.run()


def test_an_admin_with_sudo_can_deploy_and_check(
    deployment: Deployment, host: Host, first_run: Run, sudoer: str
) -> None:
    host.sh("rm -f /etc/integrable-jupyterhub/secrets/routes_token")
    assert deployment.run("--sudo", ssh_user=sudoer).changed == [
        "Secrets | Make the secrets that are missing",
        "Hub | Run the hub",
        "Release | Record what runs",
    ]
    assert deployment.run("--sudo", ssh_user=sudoer).changed == []
    deployment.run("--sudo", script="ops/check.py", ssh_user=sudoer)  # it runs commands by itself
