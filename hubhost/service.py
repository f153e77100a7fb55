"""A service container: what it should be, and what to do when it is not."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePosixPath

from hubhost.paths import DOCKER_SOCKET

ROLE_LABEL = "integrable-jupyterhub.role"
"""On everything of ours in Docker; its value says what it is (``service``, ``session`` …)."""

DIGEST_LABEL = "integrable-jupyterhub.digest"
"""Digest of all that a container was made from: its spec, its image and its mounted files."""

HUB_NAME, DATABASE_NAME, PROXY_NAME = "jupyterhub_hub", "jupyterhub_db", "jupyterhub_proxy"
FILTER_NAME = "jupyterhub_filter"
SERVICE_NAMES = (HUB_NAME, DATABASE_NAME, PROXY_NAME, FILTER_NAME)
"""Names of the containers, and so of the services on the network: those of the reference."""

LOG_OPTIONS = (
    *("--log-driver", "json-file", "--log-opt", "max-size=10m"),
    *("--log-opt", "max-file=20", "--log-opt", "compress=true"),
)
"""Of a service's container: 200 MB of lines, in some 30 MB (docs/decisions/0021-logs.md)."""


LOG_DRIVER = (
    "$(docker info --format '{{.LoggingDriver}}' | grep -qxE 'json-file|local'"
    f" && echo {shlex.join(LOG_OPTIONS)})"
)
"""Shell: the same, but nothing where the admin sends logs elsewhere: to other drivers than Docker's
two these options are an error."""


@dataclass(frozen=True)
class Place:
    """A fixed address on a Docker network."""

    network: str
    ip: IPv4Address


@dataclass(frozen=True)
class Mount:
    """A file or folder of the host (absolute path) or a named volume, seen in the container.

    `taken_up`: the running service takes up what changes in it, and need not be replaced.
    """

    source: str
    target: str
    read_only: bool = True
    taken_up: bool = False

    @property
    def is_file_of_ours(self) -> bool:
        """Whether its content belongs to the container's digest: files do, sockets and data not."""
        return self.source.startswith("/") and self.read_only and not self.taken_up

    def __str__(self) -> str:
        return f"{self.source}:{self.target}{':ro' if self.read_only else ''}"


@dataclass(frozen=True)
class PublishedPort:
    """A port of the container, reachable at a host's address."""

    address: IPv4Address | IPv6Address
    host_port: int
    container_port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.host_port}:{self.container_port}"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A long-running container with a static address on the network, or with no network at all.

    `health` is a command for `docker exec` that succeeds once the service serves; it is also the
    container's health check. `tmpfs` maps paths to mount options. Memory is in MB, times are in
    seconds. Every service runs as a fixed user without capabilities on a read-only root. Docker's
    resolver asks the host's for names of the outside, past every packet filter: only a service
    that may reach the internet `resolves_names`.
    """

    name: str
    image: str
    place: Place | None
    user: int
    group: int
    memory_mb: int
    health: tuple[str, ...]
    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    tmpfs: tuple[tuple[str, str], ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    resolves_names: bool = False
    docker_socket: PurePosixPath | None = None
    start_timeout: int = 90
    stop_timeout: int = 30

    @property
    def mounted_files(self) -> tuple[str, ...]:
        """Paths on the host whose content is part of the digest."""
        return tuple(mount.source for mount in self.mounts if mount.is_file_of_ours)

    @property
    def specification(self) -> str:
        """Digest of what the container is created with."""
        options = [*self.create_options(), *LOG_OPTIONS]
        spec = [options, self.docker_socket is None, self.command, self.image]
        return hashlib.sha256(json.dumps(spec).encode()).hexdigest()

    def digest(self, image_id: str, files_digest: str) -> str:
        """Digest of the specification, the image's id and the mounted files; files/release too."""
        text = f"{self.specification} {image_id} {files_digest}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def definition(self) -> str:
        """Shell: what files/release/release.sh makes the container from, now or in a rollback."""
        options = shlex.join(self.create_options())
        if self.docker_socket:
            options += f" --volume {DOCKER_SOCKET}:{self.docker_socket}"
            options += f' --group-add "$(stat -Lc %g {DOCKER_SOCKET})"'
        created = shlex.join([self.image, *self.command])
        return f"""\
name={self.name}
image={shlex.quote(self.image)}
specification={self.specification}
mounted={shlex.quote(" ".join(self.mounted_files))}
create() {{
    docker container create {options} {LOG_DRIVER} --label "{DIGEST_LABEL}=$1" {created}
}}
"""

    def create_options(self) -> list[str]:
        """Arguments for `docker container create`, without the digest and the Docker socket."""
        options = ["--name", self.name, "--hostname", self.name]
        options += ["--network", self.place.network if self.place else "none"]
        if self.place:
            # The address of what crashed or was stopped leads nowhere: to be told so after 7 s, or
            # 25 s on an open connection, not after the kernel's 127 and 924.
            options += ["--ip", str(self.place.ip), "--sysctl", "net.ipv4.tcp_syn_retries=2"]
            options += ["--sysctl", "net.ipv4.tcp_retries2=6"]
        options += ["--user", f"{self.user}:{self.group}"]
        options += ["--restart", "unless-stopped", "--read-only", "--cap-drop", "ALL"]
        options += ["--security-opt", "no-new-privileges", "--pids-limit", "512"]
        options += ["--memory", f"{self.memory_mb}m", "--memory-swap", f"{self.memory_mb}m"]
        options += ["--stop-timeout", str(self.stop_timeout)]
        options += ["--label", f"{ROLE_LABEL}=service"]
        if not self.resolves_names:
            options += ["--dns", "127.0.0.1"]
        for path, mount_options in self.tmpfs:
            options += ["--tmpfs", f"{path}:{mount_options}"]
        for mount in self.mounts:
            options += ["--volume", str(mount)]
        for port in self.ports:
            options += ["--publish", str(port)]
        for key, value in self.environment:
            options += ["--env", f"{key}={value}"]
        options += ["--health-cmd", shlex.join(self.health), "--health-interval", "30s"]
        options += ["--health-timeout", "10s", "--health-start-period", f"{self.start_timeout}s"]
        return options


class Action(Enum):
    """What a container needs."""

    NOTHING = "is as it should be"
    CREATE = "does not exist"
    REPLACE = "is not as it should be"
    START = "is not running"
    RESTART = "is unhealthy"


@dataclass(frozen=True)
class ContainerState:
    """What Docker says of a container by the service's name, and of what it should be made of.

    `digest`, `running` and `health` are None where there is no such container. `health` is
    Docker's word: ``starting``, ``healthy`` or ``unhealthy``.
    """

    image_id: str = ""
    files_digest: str = ""
    digest: str | None = None
    running: bool | None = None
    health: str | None = None


def plan(service: Service, state: ContainerState) -> Action:
    """The least that makes the container what it should be."""
    if state.digest is None:
        return Action.CREATE
    if state.digest != service.digest(state.image_id, state.files_digest):
        return Action.REPLACE
    if not state.running:
        return Action.START
    if state.health == "unhealthy":
        return Action.RESTART
    return Action.NOTHING
