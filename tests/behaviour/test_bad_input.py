"""Bad input gets one line, an exit code, and a host as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deployment import Deployment, Run
from tests.lab import Host, engine

STATE = """
find /etc -xdev -type f -newermt @0 -exec sha256sum {} + | sort | sha256sum
dpkg -l | sha256sum; docker ps -aq --no-trunc; docker image ls -q --no-trunc | sort
docker network ls -q --no-trunc | sort; iptables -S | sha256sum
"""

FROM_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"hub_ip": "172.27.200.7"}, "hub_ip: 172.27.200.7 lies in the session range"),
    ({"proxy_ip": "10.1.2.3"}, "proxy_ip: 10.1.2.3 is not an address of 172.27.0.0/16"),
    ({"proxy_ip": "172.27.0.3"}, "proxy_ip: 172.27.0.3 is taken by database_ip"),
    ({"hub_pi": "172.27.0.2"}, "hub_pi: no such setting; did you mean hub_ip?"),
    ({"public_url": "http://x"}, "public_url: 'http://x': must be https://"),
    ({"access_control_origins": ["lms.example.org"]}, "access_control_origins: "),
    ({"notebook_image": "not an image"}, "notebook_image: 'not an image': must be an image"),
    ({"session_outbound": ["0.0.0.0/0:443"]}, "session_outbound: '0.0.0.0/0:443': is the whole"),
    ({"session_outbound": ["172.16.0.0/12:80"]}, "session_outbound: 172.16.0.0/12 overlaps"),
    ({"backends": ["172.27.128.9"]}, "backends: 172.27.128.9 lies in the session range"),
    ({"network_bridge": "a-name-too-long1"}, "network_bridge: 'a-name-too-long1': String should"),
    ({"tls_key_file": "/nonexistent"}, "tls_key_file: '/nonexistent': must be a file"),
]


@pytest.fixture
def unchanged(host: Host, first_run: Run) -> Iterator[None]:
    """The test leaves nothing of the host changed."""
    before = host.sh(STATE)
    yield
    assert host.sh(STATE) == before


def refused(deployment: Deployment, line: str, **settings: Any) -> None:
    run = deployment.run(check=False, **settings)
    assert run.exit_code != 0
    assert len(run.error_lines) == 1, run.output
    assert run.error_lines[0].startswith(line), run.error_lines
    assert ";" in run.error_lines[0], "no remedy"


@pytest.mark.parametrize(("settings", "line"), FROM_SETTINGS)
def test_a_bad_setting_is_one_line(
    deployment: Deployment, unchanged: None, settings: dict[str, Any], line: str
) -> None:
    refused(deployment, line, **settings)


def test_a_misspelt_group_file_is_one_line(
    deployment: Deployment, unchanged: None, tmp_path: Path
) -> None:
    misspelt = Path("group_data/hubbs.py")
    misspelt.write_text("debug = True\n")
    try:
        refused(deployment, "group_data/hubbs.py: the inventory has no group 'hubbs'")
    finally:
        misspelt.unlink()


def test_a_port_that_is_taken_is_one_line(
    deployment: Deployment, host: Host, unchanged: None
) -> None:
    host.sh("systemd-run --quiet --unit squatter --collect systemd-socket-activate -l 9443 cat")
    try:
        assert engine.until(lambda: ":9443 " in host.sh("ss -Hltn"), 30)
        refused(deployment, "public_port: port 9443 is taken by systemd", public_port=9443)
    finally:
        host.sh("systemctl stop squatter")


def test_a_subnet_that_the_host_reaches_otherwise_is_one_line(
    deployment: Deployment, host: Host, unchanged: None
) -> None:
    host.sh("ip link add elsewhere type bridge; ip address add 172.28.3.1/24 dev elsewhere;"
            " ip link set elsewhere up")  # fmt: skip
    try:
        refused(
            deployment,
            "network_subnet: 172.28.0.0/16 overlaps 172.28.3.0/24",
            network_subnet="172.28.0.0/16",
            network_gateway="172.28.0.1",
            session_range="172.28.128.0/17",
            hub_ip="172.28.0.2",
            database_ip="172.28.0.3",
            proxy_ip="172.28.0.4",
        )
    finally:
        host.sh("ip link delete elsewhere")


def test_a_mirror_that_does_not_answer_is_one_line(deployment: Deployment, unchanged: None) -> None:
    refused(
        deployment,
        "debian_mirror: http://127.0.0.1:9 can't be reached",
        debian_mirror="http://127.0.0.1:9",
        images_epoch=99,
    )


def test_a_mirror_is_not_asked_when_nothing_is_missing(
    deployment: Deployment, first_run: Run
) -> None:
    assert deployment.run(debian_mirror="http://127.0.0.1:9").changed == []


def test_an_image_that_is_nowhere_is_one_line(deployment: Deployment, unchanged: None) -> None:
    reference = "127.0.0.1:9/nowhere:1"
    refused(deployment, f"notebook_image: {reference} is neither", notebook_image=reference)


def test_another_operating_system_is_one_line(
    deployment: Deployment, host: Host, first_run: Run
) -> None:
    host.sh("sed -i.was s/^ID=debian/ID=other/ /etc/os-release")
    try:
        refused(deployment, "operating system: other 13 on x86_64 is not Debian 12 or 13")
        deployment.run("--dry", allow_untested_os=True)
    finally:
        host.sh("mv /etc/os-release.was /etc/os-release")


def test_rules_that_do_not_load_are_said_and_the_old_ones_stand(
    deployment: Deployment, host: Host, first_run: Run
) -> None:
    rules = "iptables -S JHUB-USER; ip6tables -S JHUB-DENY6; nft list table inet jhub"
    before = host.sh(rules)
    # A kernel that can't do what the rules ask, as nft would tell it.
    host.sh(
        "mv /usr/sbin/nft /usr/sbin/nft.was;"
        " printf '#!/bin/sh\\ncase $* in *--check*) exit 1;; esac; exec nft.was \"$@\"\\n'"
        " > /usr/sbin/nft; chmod 755 /usr/sbin/nft"
    )
    try:
        run = deployment.run(check=False, session_outbound=["198.51.100.7:443"])
        assert run.failed == "Firewall | Apply the rules"
        assert "firewall: the rules do not load and those of before still stand" in run.output
        assert host.sh(rules.replace("nft", "nft.was")) == before
    finally:
        host.sh("mv /usr/sbin/nft.was /usr/sbin/nft")
        deployment.run()
    assert host.sh(rules) == before
