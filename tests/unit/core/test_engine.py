"""Docker's configuration: merged, never overwritten; and which packages it comes from."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubhost.engine import DEFAULT_POOLS, address_pools, daemon_configuration, engine_packages

SUBNET = IPv4Network("172.27.0.0/16")
OURS = {"integrable-jupyterhub-session": {"path": "/etc/integrable-jupyterhub/session/runtime"}}


def merged(current: object, subnet: IPv4Network = SUBNET) -> dict[str, Any]:
    text = current if isinstance(current, str) else json.dumps(current)
    configuration: dict[str, Any] = json.loads(daemon_configuration(text, subnet))
    return configuration


@pytest.mark.parametrize("nothing", ["", "\n", "{}"])
def test_an_unconfigured_engine_gets_all_that_is_needed(nothing: str) -> None:
    assert merged(nothing) == {
        "live-restore": True,
        "log-opts": {"max-size": "10m", "max-file": "3"},
        "default-address-pools": address_pools(SUBNET),
        "runtimes": OURS,
    }


def test_what_the_admin_has_set_stays() -> None:
    theirs = {
        "data-root": "/srv/docker",
        "registry-mirrors": ["https://mirror.example.org"],
        "log-opts": {"max-size": "1m"},
        "default-address-pools": [{"base": "10.9.0.0/16", "size": 24}],
    }
    assert merged(theirs) == theirs | {"live-restore": True, "runtimes": OURS}


def test_the_runtime_of_sessions_stands_beside_the_admins() -> None:
    theirs = {"runsc": {"path": "/usr/bin/runsc"}}
    assert merged({"runtimes": theirs})["runtimes"] == theirs | OURS


def test_the_runtime_of_sessions_is_ours_whatever_its_name_meant_before() -> None:
    taken = {name: {"path": "/bin/true"} for name in OURS}
    assert merged({"runtimes": taken})["runtimes"] == OURS


def test_live_restore_is_switched_on_even_if_it_was_off() -> None:
    assert merged({"live-restore": False})["live-restore"] is True


@pytest.mark.parametrize("driver", ["journald", "syslog"])
def test_a_log_driver_of_the_admins_gets_no_options_of_another(driver: str) -> None:
    assert "log-opts" not in merged({"log-driver": driver})


@pytest.mark.parametrize("driver", ["json-file", "local"])
def test_a_log_driver_that_keeps_files_gets_its_rotation(driver: str) -> None:
    assert merged({"log-driver": driver})["log-opts"]["max-size"] == "10m"


@given(
    st.dictionaries(
        st.sampled_from(["debug", "log-opts", "live-restore", "data-root", "iptables"]),
        st.booleans() | st.text(max_size=3) | st.dictionaries(st.text(max_size=2), st.integers()),
    )
)
def test_merging_twice_is_merging_once(theirs: dict[str, object]) -> None:
    once = daemon_configuration(json.dumps(theirs), SUBNET)
    assert daemon_configuration(once, SUBNET) == once


def test_a_text_that_needs_no_change_stays_to_the_letter() -> None:
    compact = json.dumps(merged(""), separators=(",", ":"))
    assert daemon_configuration(compact, SUBNET) == compact


@pytest.mark.parametrize("broken", ["{", "[]", '"x"', "{'debug': true}", "null", '{"runtimes": 1}'])
def test_what_is_no_json_object_is_an_error(broken: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        daemon_configuration(broken, SUBNET)


@pytest.mark.parametrize(
    "subnet", ["172.27.0.0/16", "172.20.5.0/24", "172.16.0.0/12", "192.168.7.0/24", "10.0.0.0/8"]
)
def test_no_other_network_gets_an_address_of_the_hubs(subnet: str) -> None:
    pools = [IPv4Network(str(pool["base"])) for pool in address_pools(IPv4Network(subnet))]
    assert not [pool for pool in pools if pool.overlaps(IPv4Network(subnet))]


def test_all_other_pools_stay_as_docker_has_them() -> None:
    pools = address_pools(SUBNET)
    assert len(pools) == len(DEFAULT_POOLS) - 1
    assert {"base": "172.17.0.0/16", "size": 16} in pools
    assert {"base": "192.168.0.0/16", "size": 20} in pools


@pytest.mark.parametrize(
    ("present", "version", "packages"),
    [
        ("", "12", ("docker.io",)),
        ("", "13", ("docker.io", "docker-cli", "docker-buildx")),
        ("docker.io", "13", ("docker.io", "docker-cli", "docker-buildx")),
        ("docker-ce", "13", ()),
        ("docker-ce", "12", ()),
        ("other", "13", ()),
    ],
)
def test_the_engine_is_debians_unless_another_is_there(
    present: str, version: str, packages: tuple[str, ...]
) -> None:
    assert engine_packages(present, version) == packages
