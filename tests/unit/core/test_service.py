"""A service's container: what changes its digest, how it is created, what is done about it."""

from __future__ import annotations

import subprocess
from dataclasses import fields, replace
from ipaddress import IPv4Address
from pathlib import PurePosixPath
from typing import Any

import pytest

from hubhost import services
from hubhost.service import (
    DIGEST_LABEL,
    Action,
    ContainerState,
    Mount,
    Place,
    PublishedPort,
    Service,
    plan,
)
from tests.unit.core.sample import settings

SERVICE = Service(
    name="jupyterhub_x",
    image="x:1",
    place=Place("net", IPv4Address("172.27.0.9")),
    user=65609,
    group=65600,
    memory_mb=128,
    health=("check", "it is up"),
    command=("--verbose",),
    environment=(("KEY", "value"),),
    mounts=(
        Mount("/etc/x/secret", "/run/secrets/secret"),
        Mount("/srv/shared", "/srv", read_only=False),
        Mount("volume", "/data", read_only=False),
    ),
    tmpfs=(("/tmp", "size=1m"),),
    ports=(PublishedPort(IPv4Address("127.0.0.1"), 8443, 8000),),
)
DIGEST = SERVICE.digest("sha256:image", "files")

CHANGES: dict[str, Any] = {
    "name": "y",
    "image": "x:2",
    "place": Place("net", IPv4Address("172.27.0.10")),
    "user": 1,
    "group": 1,
    "memory_mb": 129,
    "health": ("check",),
    "command": (),
    "environment": (("KEY", "other"),),
    "mounts": SERVICE.mounts[:1],
    "tmpfs": (),
    "ports": (PublishedPort(IPv4Address("0.0.0.0"), 8443, 8000),),
    "resolves_names": True,
    "docker_socket": PurePosixPath("/var/run/docker.sock"),
    "start_timeout": 91,
    "stop_timeout": 31,
}


def options(service: Service) -> list[str]:
    return service.create_options()


def values(option: str, service: Service = SERVICE) -> list[str]:
    """What follows each `option` among the arguments of `docker container create`."""
    given = options(service)
    return [given[i + 1] for i, word in enumerate(given) if word == option]


def test_there_is_a_change_to_try_for_every_field() -> None:
    assert {field.name for field in fields(Service)} <= set(CHANGES)


@pytest.mark.parametrize("field", [field.name for field in fields(Service)])
def test_a_change_of_any_field_changes_the_digest(field: str) -> None:
    changed = replace(SERVICE, **{field: CHANGES[field]})
    assert changed.digest("sha256:image", "files") != DIGEST


def test_a_rebuilt_image_of_the_same_name_changes_the_digest() -> None:
    assert SERVICE.digest("sha256:other", "files") != DIGEST


def test_edited_mounted_files_change_the_digest() -> None:
    assert SERVICE.digest("sha256:image", "edited") != DIGEST


def test_the_same_service_has_the_same_digest() -> None:
    assert replace(SERVICE).digest("sha256:image", "files") == DIGEST


@pytest.mark.parametrize(
    ("state", "action"),
    [
        (ContainerState("sha256:image", "files"), Action.CREATE),
        (ContainerState("sha256:image", "files", "", running=True, health=""), Action.REPLACE),
        (ContainerState("sha256:other", "files", DIGEST, True, "healthy"), Action.REPLACE),
        (ContainerState("sha256:image", "edited", DIGEST, True, "healthy"), Action.REPLACE),
        (ContainerState("sha256:other", "files", DIGEST, False, ""), Action.REPLACE),
        (ContainerState("sha256:image", "files", DIGEST, False, "unhealthy"), Action.START),
        (ContainerState("sha256:image", "files", DIGEST, True, "unhealthy"), Action.RESTART),
        (ContainerState("sha256:image", "files", DIGEST, True, "starting"), Action.NOTHING),
        (ContainerState("sha256:image", "files", DIGEST, True, "healthy"), Action.NOTHING),
    ],
)
def test_the_least_is_planned(state: ContainerState, action: Action) -> None:
    assert plan(SERVICE, state) is action


def test_only_files_that_the_installer_writes_belong_to_the_digest() -> None:
    assert SERVICE.mounted_files == ("/etc/x/secret",)


@pytest.mark.parametrize(
    "wanted",
    [
        ["--ip", "172.27.0.9"],
        ["--network", "net"],
        ["--user", "65609:65600"],
        ["--cap-drop", "ALL"],
        ["--security-opt", "no-new-privileges"],
        ["--read-only"],
        ["--restart", "unless-stopped"],
        ["--memory", "128m", "--memory-swap", "128m"],
        ["--pids-limit", "512"],
        ["--stop-timeout", "30"],
        ["--health-cmd", "check 'it is up'"],
        ["--tmpfs", "/tmp:size=1m"],
        ["--publish", "127.0.0.1:8443:8000"],
        ["--env", "KEY=value"],
        ["--label", "integrable-jupyterhub.role=service"],
    ],
    ids=" ".join,
)
def test_a_container_is_created_with(wanted: list[str]) -> None:
    given = options(SERVICE)
    assert any(given[i : i + len(wanted)] == wanted for i in range(len(given)))


def test_a_service_without_a_place_has_no_network() -> None:
    given = options(replace(SERVICE, place=None))
    assert given[given.index("--network") + 1] == "none"
    assert "--ip" not in given


def test_secrets_are_mounted_read_only_and_data_is_not() -> None:
    assert values("--volume") == [
        "/etc/x/secret:/run/secrets/secret:ro",
        "/srv/shared:/srv",
        "volume:/data",
    ]


def test_a_container_gets_no_capability_and_no_privilege() -> None:
    assert not {"--privileged", "--cap-add", "--device"} & set(options(SERVICE))


# --- The definition that the host makes a container from ----------------------------------------
def defined(service: Service, then: str) -> str:
    docker = 'docker() { for word; do printf "%s\\n" "$word"; done; }; stat() { echo 999; }\n'
    done = subprocess.run(
        ["sh", "-euc", docker + service.definition() + then],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_definition_creates_the_container_with_its_digest() -> None:
    words = defined(SERVICE, "create 0123").splitlines()
    assert words[:4] == ["container", "create", "--name", SERVICE.name]
    assert words[2:].index("--label") > 0
    assert words[-4:] == ["--label", f"{DIGEST_LABEL}=0123", SERVICE.image, "--verbose"]
    assert words[2:-4] == SERVICE.create_options()


def test_the_host_computes_the_same_digest() -> None:
    files = "$(printf files)"
    line = f"printf '%s %s %s' $specification sha256:image {files} | sha256sum | cut -c 1-16"
    assert defined(SERVICE, line).strip() == DIGEST


def test_only_the_docker_filter_gets_the_socket_and_its_group() -> None:
    words = defined(services.docker_filter(settings()), "create 1").splitlines()
    assert "/var/run/docker.sock:/var/run/docker.sock" in words
    assert words[words.index("--group-add") + 1] == "999"
    for other in (services.proxy, services.hub, services.database):
        text = other(settings()).definition()
        assert "/var/run/docker.sock" not in text
        assert "--group-add" not in text
