"""What a host must be like before it is touched: all problems at once, with remedies."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from hubhost.engine import daemon_configuration
from hubhost.errors import Problem
from hubhost.images import PREFIX
from hubhost.service import SERVICE_NAMES
from hubhost.settings import HOME, Settings

TESTED = {("debian", "12"), ("debian", "13")}
MINIMUM_MEMORY_MB = 1900
"""What is left of 2 GB: the services need 0.3 GB, a session 0.1 to 1 GB."""

MINIMUM_DISK_MB = 500
MINIMUM_DISK_TO_BUILD_MB = {"slim": 6000, "full": 12000}
"""By `notebook_profile`, slim where that image is there: room for the images, their build cache and
one older set of them."""

OLDEST_ENGINE = (20, 10)
BUILDX_SINCE = (23, 0)
"""From this version on, `docker build` needs the buildx plugin for BuildKit."""


@dataclass(frozen=True)
class Listener:
    """A TCP socket that listens on the host, and the program behind it."""

    address: str
    port: int
    program: str


@dataclass(frozen=True)
class Route:
    """A network that the host reaches, and the device it does so by."""

    network: IPv4Network
    device: str


@dataclass(frozen=True)
class HostReport:
    """What one look at a host finds. Sizes are in MB; `engine` is None where no Docker answers."""

    os_id: str = ""
    os_version: str = ""
    architecture: str = ""
    user_id: int = -1
    memory_mb: int = 0
    disk_mb: int = 0
    state_options: str = ""
    clock: int = 0
    time_service: bool = False
    systemd: bool = False
    listeners: tuple[Listener, ...] = ()
    routes: tuple[Route, ...] = ()
    our_ports: frozenset[int] = frozenset()
    our_bridges: frozenset[str] = frozenset()
    engine: str | None = None
    engine_package: str = ""
    engine_kind: frozenset[str] = frozenset()
    buildx: bool = False
    swarm: bool = False
    live_restore: bool = False
    foreign_containers: tuple[str, ...] = ()
    taken_names: tuple[str, ...] = ()
    daemon_json: str = ""
    missing: frozenset[str] = frozenset()
    """References of images that have to be built."""
    unreachable: tuple[str, ...] = ()
    unknown_image: str | None = None

    @property
    def engine_version(self) -> tuple[int, ...]:
        """The engine's version as numbers: (20, 10, 24); empty where there is none."""
        numbers = (self.engine or "").split("+")[0].split("-")[0].split(".")
        return tuple(int(n) for n in numbers if n.isdigit())

    @classmethod
    def parse(cls, lines: Iterable[str]) -> HostReport:
        """Read the `KEY VALUE` lines that the fact prints. Unknown keys are a mistake of ours."""
        values: dict[str, list[str]] = defaultdict(list)
        for line in lines:
            key, _, value = line.partition(" ")
            values[key].append(value.strip())

        def one(key: str, default: str = "") -> str:
            return values[key][0] if values[key] else default

        listeners = []
        for value in values["listen"]:
            local, _, program = value.partition(" ")
            address, _, port = local.rpartition(":")
            name = program.split('"')[1] if '"' in program else "another program"
            listeners.append(Listener(address.strip("[]").split("%")[0], int(port), name))
        routes = []
        for value in values["route"]:
            words = value.split()
            if words[0] == "default" or "dev" not in words:
                continue
            device = words[words.index("dev") + 1]
            routes.append(Route(IPv4Network(words[0], strict=False), device))
        return cls(
            os_id=one("os_id"),
            os_version=one("os_version"),
            architecture=one("architecture"),
            user_id=int(one("user_id", "-1")),
            memory_mb=int(one("memory_mb", "0")),
            disk_mb=int(one("disk_mb", "0")),
            state_options=one("state_options"),
            clock=int(one("clock", "0")),
            time_service=one("time_service") == "active",
            systemd=one("systemd") == "yes",
            listeners=tuple(listeners),
            routes=tuple(routes),
            our_ports=frozenset(int(v.rpartition(":")[2]) for v in values["our_port"] if v),
            our_bridges=frozenset(v for v in values["our_bridge"] if v),
            engine=one("engine") or None,
            engine_package=one("engine_package"),
            engine_kind=frozenset(v for v in values["engine_kind"] if v),
            buildx=one("buildx") == "yes",
            swarm=one("swarm") == "active",
            live_restore=one("live_restore") == "true",
            foreign_containers=tuple(v for v in values["foreign"] if v),
            taken_names=tuple(v for v in values["taken_name"] if v),
            daemon_json="\n".join(values["daemon_json"]),
            missing=frozenset(values["missing"]),
            unreachable=tuple(v for v in values["unreachable"] if v),
            unknown_image=one("unknown_image") or None,
        )


def problems(settings: Settings, report: HostReport, controller_clock: int) -> list[Problem]:
    """All that keeps this host from becoming a hub. `controller_clock` is Unix time."""
    return [
        *_system(settings, report, controller_clock),
        *_network(settings, report),
        *_engine(settings, report),
        *_sources(settings, report),
    ]


def warnings(report: HostReport) -> list[str]:
    """What works today and may hurt tomorrow."""
    if report.time_service:
        return []
    return ["no time service runs: install systemd-timesyncd or chrony, or tokens expire wrongly"]


def _system(settings: Settings, report: HostReport, controller_clock: int) -> list[Problem]:
    found = []
    system = (report.os_id, report.os_version)
    if not settings.allow_untested_os and (system not in TESTED or report.architecture != "x86_64"):
        found.append(
            Problem(
                "operating system",
                f"{' '.join(filter(None, system)) or 'unknown'} on {report.architecture}"
                " is not Debian 12 or 13 on amd64 (x86_64)",
                f"take such a host, or try with allow_untested_os = True in {HOME}",
            )
        )
    if report.user_id != 0:
        found.append(
            Problem(
                "user",
                f"user id {report.user_id} is not root",
                "connect as root, or run pyinfra with --sudo",
            )
        )
    if not report.systemd:
        found.append(
            Problem("init system", "PID 1 is not systemd", "take a host that runs systemd")
        )
    if report.memory_mb < MINIMUM_MEMORY_MB:
        found.append(
            Problem(
                "memory",
                f"{report.memory_mb} MB is less than {MINIMUM_MEMORY_MB} MB",
                "give the host more memory",
            )
        )
    notebook = any(one.startswith(f"{PREFIX}notebook:") for one in report.missing)
    profile = settings.notebook_profile if notebook else "slim"
    needed = MINIMUM_DISK_TO_BUILD_MB[profile] if report.missing else MINIMUM_DISK_MB
    if report.disk_mb < needed:
        what = "to build the images" if report.missing else "to run"
        found.append(
            Problem(
                "disk",
                f"{report.disk_mb} MB free for Docker is less than the {needed} MB it takes {what}",
                "make room: `docker builder prune` on the host, or keep fewer releases"
                f" (releases_kept in {HOME})",
            )
        )
    options = set(report.state_options.split(","))
    if not settings.base_image and options & {"noexec", "nodev"}:
        found.append(
            Problem(
                "/var/lib",
                f"is mounted {', '.join(sorted(options & {'noexec', 'nodev'}))}, so that no base"
                " image can be made there",
                f"remount it without, or set base_image in {HOME}",
            )
        )
    if abs(report.clock - controller_clock) > 300:
        found.append(
            Problem(
                "clock",
                f"the host's clock is {report.clock - controller_clock:+} s from this machine's",
                "set it right: tokens and certificates depend on it",
            )
        )
    return found


def _network(settings: Settings, report: HostReport) -> list[Problem]:
    subnet, ours = settings.network_subnet, {settings.network_bridge, *report.our_bridges}
    found = [
        Problem(
            "network_subnet",
            f"{subnet} overlaps {route.network}, which the host reaches by {route.device}",
            f"choose a private network that nobody uses in {HOME}",
        )
        for route in report.routes
        # 0.0.0.0/1 and 128.0.0.0/1 are a VPN's default route.
        if route.device not in ours
        and route.network.prefixlen > 1
        and route.network.overlaps(subnet)
    ]
    wanted: list[tuple[str, IPv4Address | IPv6Address, int]] = [
        ("public_port", address, settings.public_port)
        for address in (settings.public_bind, settings.public_bind_ipv6)
        if address
    ]
    for setting, port in (("publish_hub", 8081), ("publish_proxy_api", 8001)):
        if address := getattr(settings, setting):
            wanted.append((setting, address, port))
    if settings.publish_database:
        wanted.append(("publish_database", settings.publish_database, 5432))
    for setting, address, port in wanted:
        for listener in report.listeners:
            anywhere = {"0.0.0.0", "*", "::"}  # noqa: S104  (compared, not bound)
            same = listener.address in anywhere | {str(address)} or str(address) in anywhere
            if listener.port == port and same and port not in report.our_ports:
                found.append(
                    Problem(
                        setting,
                        f"port {port} is taken by {listener.program} on {listener.address}",
                        f"stop it, or choose another port or address in {HOME}",
                    )
                )
                break
    return found


REFUSED_KINDS = {
    "snap": "the snap's Docker can't see the host's files",
    "rootless": "a rootless engine can't filter the sessions' packets",
    "podman": "podman-docker is not a Docker engine",
}


def _engine(settings: Settings, report: HostReport) -> list[Problem]:
    found = [
        Problem("Docker", f"{kind}: {REFUSED_KINDS[kind]}", "remove it; this installs Debian's")
        for kind in sorted(report.engine_kind & REFUSED_KINDS.keys())
    ]
    if "nftables" in report.engine_kind:
        found.append(
            Problem(
                "Docker",
                "its firewall backend is nftables, which has no DOCKER-USER chain",
                'set "firewall-backend": "iptables" in /etc/docker/daemon.json',
            )
        )
    try:
        wanted = daemon_configuration(report.daemon_json, settings.network_subnet)
    except ValueError as error:
        return [*found, Problem("/etc/docker/daemon.json", f"unreadable: {error}", "mend it")]
    present = json.loads(report.daemon_json.strip() or "{}")
    if "tcp" in report.engine_kind or any("tcp://" in host for host in present.get("hosts", ())):
        found.append(
            Problem(
                "Docker",
                "the daemon listens on TCP, which gives root to who reaches it",
                "remove the tcp:// address from daemon.json or the unit",
            )
        )
    if report.engine and report.engine_version < OLDEST_ENGINE:
        found.append(
            Problem("Docker", f"version {report.engine} is older than 20.10", "upgrade it")
        )
    if (
        report.engine
        and report.engine_version >= BUILDX_SINCE
        and report.engine_package != "docker.io"
        and not report.buildx
    ):
        found.append(
            Problem(
                "Docker",
                f"version {report.engine} has no buildx plugin to build images with",
                "install docker-buildx-plugin",
            )
        )
    if report.swarm:
        found.append(
            Problem(
                "Docker",
                "swarm mode is on, which excludes live-restore",
                "`docker swarm leave`, or take another host",
            )
        )
    found += [
        Problem("Docker", f"a container of others has our name {name}", "remove or rename it")
        for name in sorted(set(report.taken_names) & set(SERVICE_NAMES))
    ]
    if present.get("iptables") is False:
        found.append(
            Problem(
                "/etc/docker/daemon.json",
                '"iptables": false leaves sessions unisolated',
                "remove that line",
            )
        )
    # Without live-restore a restart of the daemon ends every container on the host.
    if (
        report.engine
        and wanted != report.daemon_json
        and report.foreign_containers
        and not report.live_restore
    ):
        found.append(
            Problem(
                "Docker",
                "must restart for its new configuration, which would end "
                + ", ".join(report.foreign_containers),
                'set "live-restore": true in /etc/docker/daemon.json and `systemctl reload docker`,'
                " or stop these containers first",
            )
        )
    return found


def _sources(settings: Settings, report: HostReport) -> list[Problem]:
    found = []
    if report.unknown_image:
        message = f"{report.unknown_image} is neither on the host nor in a registry it reaches"
        remedy = f"build or load it on the host, or mend the name in {HOME}"
        found.append(Problem("notebook_image", message, remedy))
    return found + [
        Problem(
            setting,
            f"{getattr(settings, setting)} can't be reached from the host",
            f"set a mirror that can be reached in {HOME}",
        )
        for setting in report.unreachable
    ]
