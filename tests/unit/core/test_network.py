"""The Docker network: how it is made, what is wrong with one, and when it can be made anew."""

from __future__ import annotations

import copy
import shlex
import subprocess
from typing import Any

import pytest

from hubhost.logs import KEEP_LOG
from hubhost.network import Network, rebuild
from tests.unit.core.sample import settings

NETWORK = Network.of(settings())

# What `docker network inspect` prints of it, as far as it matters.
STATE: dict[str, Any] = {
    "Name": "jupyterhub_network",
    "Driver": "bridge",
    "EnableIPv6": False,
    "Internal": False,
    "IPAM": {
        "Driver": "default",
        "Config": [
            {"Subnet": "172.27.0.0/16", "IPRange": "172.27.128.0/17", "Gateway": "172.27.0.1"}
        ],
    },
    "Options": {
        "com.docker.network.bridge.enable_icc": "false",
        "com.docker.network.bridge.name": "br-jhub",
        "com.docker.network.driver.mtu": "1400",
    },
    "attached": {},
}


def state(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(STATE) | changes


def test_it_is_created_with_a_range_for_sessions_and_without_their_talking() -> None:
    words = shlex.join(NETWORK.create_options())
    assert words == (
        "--driver bridge --subnet 172.27.0.0/16 --ip-range 172.27.128.0/17 --gateway 172.27.0.1"
        " --opt com.docker.network.bridge.name=br-jhub"
        " --opt com.docker.network.bridge.enable_icc=false"
        " --label integrable-jupyterhub.role=network jupyterhub_network"
    )


def test_settings_name_everything_of_it() -> None:
    network = Network.of(
        settings(
            network_name="other",
            network_bridge="br-x",
            network_subnet="10.9.0.0/16",
            network_gateway="10.9.0.1",
            session_range="10.9.128.0/17",
            hub_ip="10.9.0.2",
            database_ip="10.9.0.3",
            proxy_ip="10.9.0.4",
        )
    )
    words = network.create_options()
    for value in ("other", "10.9.0.0/16", "10.9.0.1", "10.9.128.0/17"):
        assert value in words
    assert "com.docker.network.bridge.name=br-x" in words


def test_one_as_it_should_be_has_no_differences() -> None:
    assert NETWORK.differences(state()) == []


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"Driver": "macvlan"}, "driver is macvlan, not bridge"),
        ({"EnableIPv6": True}, "IPv6 is True, not False"),
        (
            {
                "IPAM": {
                    "Config": [
                        {
                            "Subnet": "172.28.0.0/16",
                            "IPRange": "172.27.128.0/17",
                            "Gateway": "172.27.0.1",
                        }
                    ]
                }
            },
            "Subnet is 172.28.0.0/16, not 172.27.0.0/16",
        ),
        (
            {"IPAM": {"Config": [{"Subnet": "172.27.0.0/16", "Gateway": "172.27.0.1"}]}},
            "IPRange is None, not 172.27.128.0/17",
        ),
        (
            {"Options": {"com.docker.network.bridge.name": "br-jhub"}},
            "com.docker.network.bridge.enable_icc is None, not false",
        ),
    ],
)
def test_each_difference_is_named(changes: dict[str, Any], difference: str) -> None:
    assert NETWORK.differences(state(**changes)) == [difference]


@pytest.mark.parametrize("empty", [{}, {"IPAM": None, "Options": None}, {"IPAM": {"Config": []}}])
def test_one_that_says_nothing_of_itself_differs_in_all(empty: dict[str, Any]) -> None:
    assert len(NETWORK.differences(empty)) == 9


def test_an_internal_network_is_wrong() -> None:
    assert NETWORK.differences(state(Internal=True))


def test_one_with_only_ours_attached_is_removed_with_them() -> None:
    attached = {"jupyterhub_hub": "service", "jupyterhub_session-x": "session"}
    lines = rebuild(state(attached=attached), ["driver is x, not bridge"])
    assert lines == [
        KEEP_LOG,
        "keep_log jupyterhub_hub jupyterhub_hub",
        "docker rm --force jupyterhub_hub jupyterhub_session-x",
        "docker network rm jupyterhub_network",
    ]


def test_an_empty_one_is_just_removed() -> None:
    assert rebuild(state(), ["x"]) == ["docker network rm jupyterhub_network"]


def test_one_with_a_foreign_container_stays_and_says_what_to_do() -> None:
    attached = {"jupyterhub_hub": "service", "lms": "", "wiki": ""}
    lines = rebuild(state(attached=attached), ["IPv6 is True, not False"])
    done = subprocess.run(["sh", "-c", "\n".join(lines)], capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "network_name: jupyterhub_network exists and is wrong (IPv6 is True, not False), but lms,"
        " wiki is attached to it; remove that container or choose another name\n"
    )
