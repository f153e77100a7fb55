"""The services and what their containers are made of; names and ports as in the spec."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

from hubhost.engine import SESSION_RUNTIME
from hubhost.hostfile import SERVICES_GROUP, HostFile, HostFolder
from hubhost.images import ImageSet, notebook_reference
from hubhost.isolation import DATABASE_PORT, HUB_PORT, PROXY_API_PORT, PROXY_PORT
from hubhost.paths import (
    ARCHIVE,
    CARRY,
    DOCKER_SOCKET,
    DRAIN,
    DUMPS,
    ETC,
    FORGET_REQUESTS,
    HUB_STATE,
    RELEASES,
    SECRETS,
    SESSION,
    TLS,
)
from hubhost.service import (
    DATABASE_NAME,
    FILTER_NAME,
    HUB_NAME,
    PROXY_NAME,
    Mount,
    Place,
    PublishedPort,
    Service,
)
from hubhost.settings import Settings
from hubhost.templates import render

HUB_CONFIG = ETC / "hub" / "config.json"
DATABASE_VOLUME = "jupyterhub_db"
FORMER_VOLUME = f"{DATABASE_VOLUME}_before"
"""The cluster from before the last change of PostgreSQL's major version."""
DUMPS_KEPT = 5
SESSION_PREFIX = "jupyterhub_session-"
TLS_FOLDER = "/run/secrets/tls"
HUB_USER, DATABASE_USER, PROXY_USER, FILTER_USER = 65602, 65603, 65604, 65605

FILTER_CONFIG = ETC / "filter" / "config.json"
FILTER_VOLUME, FILTER_FOLDER = "jupyterhub_filter", "/run/docker-filter"


def _secret(name: str) -> Mount:
    return Mount(str(SECRETS / name), f"/run/secrets/{name}")


def database(settings: Settings) -> Service:
    """Postgres: what the hub knows of users, servers and tokens."""
    ports: tuple[PublishedPort, ...] = ()
    if settings.publish_database:
        ports = (PublishedPort(settings.publish_database, DATABASE_PORT, DATABASE_PORT),)
    return Service(
        name=DATABASE_NAME,
        image=ImageSet.of(settings).reference("database"),
        place=Place(settings.network_name, settings.database_ip),
        resolves_names="database" in settings.service_outbound,
        user=DATABASE_USER,
        group=SERVICES_GROUP,
        memory_mb=settings.database_memory_mb,
        environment=(
            ("POSTGRES_DB", settings.database_name),
            ("POSTGRES_USER", settings.database_user),
        ),
        mounts=(
            Mount(DATABASE_VOLUME, "/var/lib/postgresql/data", read_only=False),
            _secret("database_password"),
        ),
        tmpfs=(
            ("/tmp", "size=64m,mode=1777"),
            ("/run/postgresql", f"uid={DATABASE_USER},mode=0700"),
        ),
        ports=ports,
        health=("healthy",),
    )


def carry_files(settings: Settings) -> tuple[HostFile, ...]:
    """What carries the database's content over to other images of hub and database."""
    served = database(settings)
    secrets = tuple(mount for mount in served.mounts if mount.read_only)
    offline = replace(served, name=f"{DATABASE_NAME}_offline", place=None, mounts=secrets, ports=())
    script = render(
        "database/carry",
        hub=HUB_NAME,
        database=DATABASE_NAME,
        volume=DATABASE_VOLUME,
        before=FORMER_VOLUME,
        offline=offline.name,
        offline_options=shlex.quote(shlex.join(offline.create_options())),
        dumps=DUMPS,
        kept=DUMPS_KEPT,
        undo=RELEASES / "undo",
        program=CARRY,
    )
    return (HostFile(CARRY, script, 0o755),)


def proxy(settings: Settings) -> Service:
    """The only door to the outside: TLS in, routes from the hub."""
    ports = [PublishedPort(settings.public_bind, settings.public_port, PROXY_PORT)]
    if settings.public_bind_ipv6:
        ports.append(PublishedPort(settings.public_bind_ipv6, settings.public_port, PROXY_PORT))
    if settings.publish_proxy_api:
        ports.append(PublishedPort(settings.publish_proxy_api, PROXY_API_PORT, PROXY_API_PORT))
    hub_url = f"http://{settings.hub_ip}:{HUB_PORT}"
    return Service(
        name=PROXY_NAME,
        image=ImageSet.of(settings).reference("proxy"),
        place=Place(settings.network_name, settings.proxy_ip),
        resolves_names="proxy" in settings.service_outbound,
        user=PROXY_USER,
        group=SERVICES_GROUP,
        memory_mb=settings.proxy_memory_mb,
        environment=(("TRUSTED_PROXIES", ",".join(map(str, settings.trusted_proxies))),),
        command=(
            *("--ip", "0.0.0.0", "--port", str(PROXY_PORT)),  # noqa: S104  (in the container)
            *("--api-ip", "0.0.0.0", "--api-port", str(PROXY_API_PORT)),  # noqa: S104
            *("--ssl-key", f"{TLS_FOLDER}/tls.key", "--ssl-cert", f"{TLS_FOLDER}/tls.crt"),
            # Until the hub has given a new proxy its routes, and where a session is gone: the hub.
            *("--default-target", hub_url),
            *("--error-target", f"{hub_url}{settings.base_url}hub/error"),
            # At "info" the hub's look at the routes is a line every second.
            *("--log-level", "debug" if settings.debug else "warn"),
        ),
        mounts=(
            _secret("proxy_token"),
            Mount(str(TLS), TLS_FOLDER, taken_up=True),
        ),
        ports=tuple(ports),
        health=("node", "/opt/proxy/health.js"),
    )


def docker_filter(settings: Settings) -> Service:
    """What the hub has of Docker: sessions, and nothing else. Only this holds Docker's socket."""
    return Service(
        name=FILTER_NAME,
        image=ImageSet.of(settings).reference("filter"),
        place=None,
        user=FILTER_USER,
        group=SERVICES_GROUP,
        memory_mb=128,
        mounts=(
            Mount(str(FILTER_CONFIG), "/etc/docker-filter/config.json"),
            Mount(str(SESSION / "seccomp.json"), "/etc/docker-filter/seccomp.json"),
            Mount(FILTER_VOLUME, FILTER_FOLDER, read_only=False),
        ),
        docker_socket=DOCKER_SOCKET,
        health=("python", "-m", "docker_filter", "health"),
    )


def filter_files(settings: Settings) -> tuple[HostFile, ...]:
    """The filter's configuration: what a session's container is, as its package reads it."""
    config = {
        "hub_uid": HUB_USER,
        "images": [notebook_reference(settings)],
        "name_prefix": SESSION_PREFIX,
        "network": settings.network_name,
        "runtime": SESSION_RUNTIME,
        "resolv_conf": str(SESSION / "resolv.conf"),
        "hosts": {
            HUB_NAME: str(settings.hub_ip),
            PROXY_NAME: str(settings.proxy_ip),
            **{name: str(address) for name, address in settings.session_hosts.items()},
        },
        "max_sessions": settings.max_sessions,
        "memory_mb": settings.session_memory_mb,
        "home_mb": settings.session_home_mb,
        "cpus": settings.session_cpus,
        "pids": settings.session_pids,
    }
    return (HostFile(FILTER_CONFIG, json.dumps(config, indent=2) + "\n"),)


def hub(settings: Settings) -> Service:
    """JupyterHub: users, tokens, and the sessions' containers."""
    ports: tuple[PublishedPort, ...] = ()
    if settings.publish_hub:
        ports = (PublishedPort(settings.publish_hub, HUB_PORT, HUB_PORT),)
    names = (
        "database_password",
        "proxy_token",
        "cookie_secret",
        "service_tokens",
        "culler_token",
        "routes_token",
    )
    return Service(
        name=HUB_NAME,
        image=ImageSet.of(settings).reference("hub"),
        place=Place(settings.network_name, settings.hub_ip),
        resolves_names="hub" in settings.service_outbound,
        user=HUB_USER,
        group=SERVICES_GROUP,
        memory_mb=settings.hub_memory_mb,
        environment=(("DOCKER_HOST", f"unix://{FILTER_FOLDER}/docker.sock"),),
        mounts=(
            Mount(str(HUB_CONFIG), "/etc/jupyterhub/config.json"),
            Mount(FILTER_VOLUME, FILTER_FOLDER),
            # Also where nothing is archived now: what was, expires, and is erased on request.
            Mount(str(ARCHIVE), "/var/lib/jupyterhub/archive", read_only=False),
            Mount(str(FORGET_REQUESTS), "/var/lib/jupyterhub/forget", read_only=False),
            Mount(str(DRAIN), "/var/lib/jupyterhub/drain", taken_up=True),
            *(_secret(name) for name in names),
        ),
        tmpfs=(("/tmp", "size=64m,mode=1777"),),
        ports=ports,
        health=("python", "-m", "integrable_jupyterhub", "health"),
        start_timeout=120,
    )


def in_order(settings: Settings) -> tuple[Service, ...]:
    """All services, in the order in which they start: the hub needs the others."""
    return database(settings), proxy(settings), docker_filter(settings), hub(settings)


HUB_PURGE = "python -m integrable_jupyterhub purge"
"""In the hub's container: forgets the user whose name it reads; with DRY, tells what there is."""

HUB_CODE = "python -c"
"""In the hub's container: runs code."""

FILTER_PROBE = "python3 -m docker_filter probe"
"""In the Docker filter's container: what a session sees at the doors that it reads."""

HUB_FOLDERS = (
    HostFolder(HUB_STATE, 0o700, 0, 0),
    HostFolder(ARCHIVE, 0o700, HUB_USER, SERVICES_GROUP),
    HostFolder(FORGET_REQUESTS, 0o700, HUB_USER, SERVICES_GROUP),
    HostFolder(DRAIN, 0o755, 0, 0),
)
"""What the hub writes to on the host; and the last, what it is told there."""


def hub_files(settings: Settings) -> tuple[HostFile, ...]:
    """The hub's configuration, as the package in its image reads it."""
    config = {
        "public_url": settings.public_url,
        "base_url": settings.base_url,
        "hub_ip": str(settings.hub_ip),
        "hub_port": HUB_PORT,
        "proxy_api_url": f"http://{settings.proxy_ip}:{PROXY_API_PORT}",
        "database": {
            "host": str(settings.database_ip),
            "port": DATABASE_PORT,
            "name": settings.database_name,
            "user": settings.database_user,
        },
        "api_sources": [str(network) for network in settings.api_sources],
        "trusted_proxies": [str(address) for address in settings.trusted_proxies],
        "internal_networks": [
            str(inside) for inside in (settings.hub_ip, settings.session_range, *settings.backends)
        ],
        "access_control_origins": list(settings.access_control_origins),
        "debug": settings.debug,
        "session": {
            "image": notebook_reference(settings),
            "network": settings.network_name,
            "name_prefix": SESSION_PREFIX,
            "memory_mb": settings.session_memory_mb,
            "cpus": settings.session_cpus,
            "start_timeout_seconds": settings.session_start_timeout_seconds,
        },
        "admission": {
            "starts": settings.max_starts,
            "waiting": settings.max_waiting_starts,
            "headroom_mb": settings.memory_headroom_mb,
        },
        "ended_page": {
            "text_en": settings.ended_text_en,
            "text_de": settings.ended_text_de,
            "link": settings.ended_link,
        },
        "archive": {
            "on": settings.archive,
            "keep_days": settings.archive_keep_days,
            "max_mb": settings.archive_max_mb,
            "total_mb": settings.archive_total_mb,
        },
        "cull": {
            "idle_seconds": settings.cull_idle_seconds,
            "max_age_seconds": settings.cull_max_age_seconds,
            "every_seconds": max(5, min(60, settings.cull_idle_seconds // 2)),
        },
        "activity_seconds": settings.activity_seconds,
    }
    return (HostFile(HUB_CONFIG, json.dumps(config, indent=2) + "\n"),)
