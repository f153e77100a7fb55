"""The services against the specification's table, and against what mounts and reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from docker_filter.health import SOCKET
from docker_filter.policy import Policy
from hypothesis import given
from integrable_jupyterhub.config import HubConfig

from hubhost import services
from hubhost.hostfile import SERVICES_GROUP
from hubhost.images import notebook_reference
from hubhost.paths import SECRETS
from hubhost.secrets import ALL_SECRETS
from hubhost.service import DATABASE_NAME, FILTER_NAME, HUB_NAME, PROXY_NAME, Service
from hubhost.sessions import session_files
from hubhost.settings import Settings
from tests.unit.core.sample import EVERYTHING, settings, valid_settings

MAKERS = (services.database, services.proxy, services.docker_filter, services.hub)


def by_name(**changes: Any) -> dict[str, Service]:
    made = [make(settings(**changes)) for make in MAKERS]
    return {service.name: service for service in made}


def hub_config(chosen: Settings) -> dict[str, Any]:
    (file,) = services.hub_files(chosen)
    config: dict[str, Any] = json.loads(file.content)
    return config


def filter_config(chosen: Settings) -> Policy:
    (file,) = services.filter_files(chosen)
    return Policy.model_validate_json(file.content)


def published(**changes: Any) -> set[str]:
    return {str(port) for service in by_name(**changes).values() for port in service.ports}


def test_names_and_addresses_are_those_of_the_specification() -> None:
    places = {name: service.place for name, service in by_name().items() if service.place}
    assert {name: str(place.ip) for name, place in places.items()} == {
        "jupyterhub_hub": "172.27.0.2",
        "jupyterhub_db": "172.27.0.3",
        "jupyterhub_proxy": "172.27.0.4",
    }


def test_services_are_on_the_network_of_the_settings() -> None:
    chosen = by_name(network_name="other")
    assert {s.place.network for s in chosen.values() if s.place} == {"other"}


def test_the_docker_filter_has_no_network() -> None:
    assert [name for name, service in by_name().items() if not service.place] == [FILTER_NAME]


def test_only_the_proxys_public_port_is_published_by_default() -> None:
    assert published() == {"0.0.0.0:8000:8000"}


def test_the_public_port_and_its_address_are_settings() -> None:
    assert published(public_bind="127.0.0.1", public_port=443) == {"127.0.0.1:443:8000"}


@pytest.mark.parametrize("unbound", [[], ["hub"], ["hub", "proxy", "database"]])
def test_only_a_service_that_may_reach_the_internet_resolves_names(unbound: list[str]) -> None:
    names = {"hub": "jupyterhub_hub", "proxy": "jupyterhub_proxy", "database": "jupyterhub_db"}
    deaf = {
        name
        for name, service in by_name(service_outbound=unbound).items()
        if "--dns 127.0.0.1" in " ".join(service.create_options())
    }
    bound = {name for service, name in names.items() if service not in unbound}
    assert deaf == {FILTER_NAME, *bound}


def test_the_public_port_can_be_had_by_ipv6_too() -> None:
    assert published(public_bind_ipv6="::") == {"0.0.0.0:8000:8000", "[::]:8000:8000"}


@pytest.mark.parametrize(
    ("setting", "name", "port"),
    [
        ("publish_hub", "jupyterhub_hub", "127.0.0.1:8081:8081"),
        ("publish_proxy_api", "jupyterhub_proxy", "127.0.0.1:8001:8001"),
        ("publish_database", "jupyterhub_db", "127.0.0.1:5432:5432"),
    ],
)
def test_the_other_ports_of_the_specification_can_be_published(
    setting: str, name: str, port: str
) -> None:
    service = by_name(**{setting: "127.0.0.1"})[name]
    assert port in {str(p) for p in service.ports}


def test_each_service_runs_as_a_user_of_its_own_in_the_services_group() -> None:
    made = by_name().values()
    assert len({service.user for service in made}) == len(made)
    assert all(service.user > 65535 for service in made)
    assert {service.group for service in made} == {SERVICES_GROUP}


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("hub_memory_mb", "jupyterhub_hub"),
        ("database_memory_mb", "jupyterhub_db"),
        ("proxy_memory_mb", "jupyterhub_proxy"),
    ],
)
def test_the_memory_of_each_service_is_a_setting(setting: str, name: str) -> None:
    assert by_name(**{setting: 777})[name].memory_mb == 777


def test_debug_reaches_hub_and_proxy() -> None:
    assert hub_config(settings(debug=True))["debug"] is True
    command = by_name(debug=True)["jupyterhub_proxy"].command
    assert command[command.index("--log-level") + 1] == "debug"


def test_only_the_docker_filter_gets_dockers_socket() -> None:
    having = [name for name, service in by_name().items() if service.docker_socket]
    assert having == [FILTER_NAME]
    mounted = {m.source for service in by_name().values() for m in service.mounts}
    assert not [source for source in mounted if source.endswith("docker.sock")]


def test_only_the_hub_reaches_the_docker_filter() -> None:
    having = {
        name: [m.read_only for m in service.mounts if m.source == services.FILTER_VOLUME]
        for name, service in by_name().items()
    }
    assert having == {FILTER_NAME: [False], HUB_NAME: [True], DATABASE_NAME: [], PROXY_NAME: []}
    socket = dict(by_name()[HUB_NAME].environment)["DOCKER_HOST"]
    assert socket == f"unix://{SOCKET}"
    assert str(SOCKET.parent) in {m.target for m in by_name()[FILTER_NAME].mounts}


def test_the_database_keeps_its_data_in_a_named_volume() -> None:
    (volume,) = [m for m in by_name()["jupyterhub_db"].mounts if not m.read_only]
    assert str(volume) == "jupyterhub_db:/var/lib/postgresql/data"


def test_no_secret_is_in_an_environment_or_a_command() -> None:
    for service in by_name().values():
        assert {key for key, _ in service.environment} <= {
            *("POSTGRES_DB", "POSTGRES_USER", "DOCKER_HOST", "TRUSTED_PROXIES"),
        }
        assert not [word for word in service.command if "token" in word or "password" in word]


def test_each_service_sees_only_the_secrets_that_it_uses() -> None:
    seen = {
        name: {m.source.rpartition("/")[2] for m in service.mounts if "/secrets/" in m.source}
        for name, service in by_name().items()
    }
    assert seen == {
        "jupyterhub_db": {"database_password"},
        "jupyterhub_proxy": {"proxy_token"},
        "jupyterhub_filter": set(),
        "jupyterhub_hub": {secret.name for secret in ALL_SECRETS},
    }


def test_every_mounted_file_is_written_by_a_role() -> None:
    written = {str(SECRETS / secret.name) for secret in ALL_SECRETS}
    written |= {str(file.path) for file in services.hub_files(settings())}
    written |= {str(file.path) for file in services.filter_files(settings())}
    written |= {str(file.path) for file in session_files(settings())}
    mounted = {path for service in by_name().values() for path in service.mounted_files}
    assert mounted <= written


@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_the_hub_accepts_its_configuration(changes: dict[str, Any]) -> None:
    (file,) = services.hub_files(settings(**changes))
    HubConfig.model_validate_json(file.content)


@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_the_filter_accepts_its_configuration(changes: dict[str, Any]) -> None:
    (file,) = services.filter_files(settings(**changes))
    Policy.model_validate_json(file.content)


@given(valid_settings())
def test_hub_and_filter_accept_their_configuration_for_any_network(chosen: Settings) -> None:
    HubConfig.model_validate(hub_config(chosen))
    assert filter_config(chosen).hosts["jupyterhub_proxy"] == chosen.proxy_ip


def test_hub_and_filter_are_told_the_same() -> None:
    for chosen in (settings(), settings(**EVERYTHING)):
        hub, policy = HubConfig.model_validate(hub_config(chosen)), filter_config(chosen)
        assert policy.images == (hub.session.image,)
        assert policy.network == hub.session.network
        assert policy.name_prefix == hub.session.name_prefix
        assert (policy.memory_mb, policy.cpus) == (hub.session.memory_mb, hub.session.cpus)
        assert policy.hub_uid == services.hub(chosen).user


def test_the_filter_is_told_what_the_settings_say() -> None:
    chosen = settings(
        max_sessions=7,
        session_home_mb=128,
        session_pids=99,
        session_outbound=["mirror.example.org=198.51.100.7/32:443"],
    )
    (file,) = services.filter_files(chosen)
    assert json.loads(file.content) == {
        "hub_uid": 65602,
        "images": [notebook_reference(chosen)],
        "name_prefix": "jupyterhub_session-",
        "network": "jupyterhub_network",
        "runtime": "integrable-jupyterhub-session",
        "resolv_conf": "/etc/integrable-jupyterhub/session/resolv.conf",
        "hosts": {
            "jupyterhub_hub": "172.27.0.2",
            "jupyterhub_proxy": "172.27.0.4",
            "mirror.example.org": "198.51.100.7",
        },
        "max_sessions": 7,
        "memory_mb": 1024,
        "home_mb": 128,
        "cpus": 1.0,
        "pids": 99,
    }


def test_the_hub_is_told_what_the_settings_say() -> None:
    told = hub_config(settings(**EVERYTHING))
    assert told == {
        "public_url": "https://hub.example.org:8443",
        "base_url": "/jupyter/lab/",
        "hub_ip": "172.27.0.2",
        "hub_port": 8081,
        "proxy_api_url": "http://172.27.0.4:8001",
        "database": {
            "host": "172.27.0.3",
            "port": 5432,
            "name": "jupyterhub",
            "user": "jupyterhub",
        },
        "api_sources": ["198.51.100.7/32", "2001:db8::7/128"],
        "trusted_proxies": ["172.27.0.1"],
        "internal_networks": ["172.27.0.2", "172.27.128.0/17", "172.27.0.9"],
        "access_control_origins": ["https://lms.example.org", "http://[::1]:3000"],
        "debug": True,
        "session": {
            "image": EVERYTHING["notebook_image"],
            "network": "jupyterhub_network",
            "name_prefix": "jupyterhub_session-",
            "memory_mb": 1024,
            "cpus": 0.5,
            "start_timeout_seconds": 60,
        },
        "admission": {"starts": 8, "waiting": 100, "headroom_mb": 512},
        "ended_page": {"link": None, "text_de": None, "text_en": None},
        "archive": {"on": True, "keep_days": 7, "max_mb": 100, "total_mb": 10240},
        "cull": {"idle_seconds": 1800, "max_age_seconds": 28800, "every_seconds": 60},
        "activity_seconds": 60,
    }


@pytest.mark.parametrize(("idle", "every"), [(1800, 60), (60, 30), (22, 11)])
def test_the_culler_looks_at_least_twice_in_the_idle_time(idle: int, every: int) -> None:
    config = hub_config(settings(cull_idle_seconds=idle, activity_seconds=10))
    assert config["cull"]["every_seconds"] == every


def test_sessions_run_our_image_unless_another_is_set() -> None:
    ours = hub_config(settings())["session"]["image"]
    assert ours.startswith("integrable-jupyterhub-notebook:")
    assert hub_config(settings(notebook_image="mine:1"))["session"]["image"] == "mine:1"
