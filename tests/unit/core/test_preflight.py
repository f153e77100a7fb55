"""Preflight: what a host prints is understood, and each thing that is wrong is one line."""

from __future__ import annotations

import dataclasses
import json
from ipaddress import IPv4Network
from typing import Any

import pytest

from hubhost.engine import daemon_configuration
from hubhost.preflight import HostReport, Listener, Route, problems, warnings
from tests.unit.core.sample import settings

NOW = 1_900_000_000

GOOD_LINES = """\
os_id debian
os_version 13
architecture x86_64
user_id 0
clock 1900000002
memory_mb 7953
systemd yes
time_service active
disk_mb 41200
state_options rw,relatime,discard
listen 0.0.0.0:22 users:(("sshd",pid=613,fd=3))
listen [::]:22 users:(("sshd",pid=613,fd=4))
listen 127.0.0.53%lo:53 users:(("systemd-resolve",pid=402,fd=15))
listen 127.0.0.1:25
route default via 10.0.2.2 dev ens3 proto dhcp src 10.0.2.15 metric 100
route 10.0.2.0/24 dev ens3 proto kernel scope link src 10.0.2.15 metric 100
route 172.17.0.0/16 dev docker0 proto kernel scope link src 172.17.0.1 linkdown
route 192.168.5.7 via 10.0.2.3 dev ens3
route unreachable 10.99.0.0/16
engine_package docker.io
engine 26.1.5+dfsg1
swarm inactive
live_restore true
buildx yes
foreign wiki
our_port 8000
our_bridge br-0123456789ab
our_bridge br-jhub
""".splitlines()

GOOD = HostReport.parse(GOOD_LINES)
HUB = frozenset({"integrable-jupyterhub-hub:1"})
ALL = HUB | {"integrable-jupyterhub-notebook:1"}
SETTINGS = settings()
CONFIGURED = daemon_configuration("", SETTINGS.network_subnet)


def report(**changes: Any) -> HostReport:
    return dataclasses.replace(GOOD, **changes)


def lines(changed: HostReport, **changes: Any) -> list[str]:
    return [str(problem) for problem in problems(settings(**changes), changed, NOW)]


# --- Reading ---------------------------------------------------------------------------------
def test_what_a_host_prints_is_understood() -> None:
    assert (
        HostReport(
            os_id="debian",
            os_version="13",
            architecture="x86_64",
            user_id=0,
            memory_mb=7953,
            disk_mb=41200,
            state_options="rw,relatime,discard",
            clock=1900000002,
            time_service=True,
            systemd=True,
            listeners=(
                Listener("0.0.0.0", 22, "sshd"),
                Listener("::", 22, "sshd"),
                Listener("127.0.0.53", 53, "systemd-resolve"),
                Listener("127.0.0.1", 25, "another program"),
            ),
            routes=(
                Route(IPv4Network("10.0.2.0/24"), "ens3"),
                Route(IPv4Network("172.17.0.0/16"), "docker0"),
                Route(IPv4Network("192.168.5.7/32"), "ens3"),
            ),
            our_ports=frozenset({8000}),
            our_bridges=frozenset({"br-0123456789ab", "br-jhub"}),
            engine="26.1.5+dfsg1",
            engine_package="docker.io",
            buildx=True,
            live_restore=True,
            foreign_containers=("wiki",),
        )
        == GOOD
    )


def test_a_host_that_prints_nothing_is_a_report_all_the_same() -> None:
    assert HostReport.parse([]) == HostReport()


def test_each_image_that_is_missing_has_a_line() -> None:
    assert HostReport.parse(f"missing {one}" for one in ALL).missing == ALL


def test_daemon_json_is_read_line_by_line() -> None:
    text = json.dumps({"debug": True}, indent=2)
    read = HostReport.parse(f"daemon_json {line}" for line in text.splitlines()).daemon_json
    assert json.loads(read) == {"debug": True}


def test_several_kinds_of_engine_are_kept_apart() -> None:
    read = HostReport.parse(["engine_kind snap", "engine_kind tcp", "unreachable pypi_index"])
    assert read.engine_kind == {"snap", "tcp"}
    assert read.unreachable == ("pypi_index",)


@pytest.mark.parametrize(
    ("engine", "version"),
    [
        ("20.10.24+dfsg1", (20, 10, 24)),
        ("26.1.5+dfsg1", (26, 1, 5)),
        ("28.5.2", (28, 5, 2)),
        ("29.0.0-rc.1", (29, 0, 0)),
        (None, ()),
    ],
)
def test_an_engines_version_is_numbers(engine: str | None, version: tuple[int, ...]) -> None:
    assert report(engine=engine).engine_version == version


# --- Judging ---------------------------------------------------------------------------------
def test_a_good_host_has_no_problems() -> None:
    assert lines(GOOD) == []


@pytest.mark.parametrize("version", ["12", "13"])
def test_a_bare_debian_has_no_problems(version: str) -> None:
    bare = report(os_version=version, engine=None, engine_package="", foreign_containers=())
    assert lines(bare) == []


def test_a_host_that_was_deployed_before_has_no_problems() -> None:
    again = report(
        daemon_json=CONFIGURED.strip(),
        listeners=(Listener("0.0.0.0", 8000, "docker-proxy"),),
        routes=(*GOOD.routes, Route(IPv4Network("172.27.0.0/16"), "br-jhub")),
    )
    assert lines(again) == []


SWARM = (
    "Docker: swarm mode is on, which excludes live-restore;"
    " `docker swarm leave`, or take another host"
)
IN_HOME = " in group_data/all.py"
MAKE_ROOM = (
    " make room: `docker builder prune` on the host, or keep fewer releases (releases_kept"
    f"{IN_HOME})"
)
JSON = "/etc/docker/daemon.json"

BAD: list[tuple[dict[str, Any], str]] = [
    (
        {"os_id": "ubuntu", "os_version": "24.04"},
        "operating system: ubuntu 24.04 on x86_64 is not Debian 12 or 13 on amd64 (x86_64);"
        " take such a host, or try with allow_untested_os = True" + IN_HOME,
    ),
    (
        {"architecture": "aarch64"},
        "operating system: debian 13 on aarch64 is not Debian 12 or 13 on amd64 (x86_64);"
        " take such a host, or try with allow_untested_os = True" + IN_HOME,
    ),
    (
        {"os_id": "debian", "os_version": ""},
        "operating system: debian on x86_64 is not Debian 12 or 13 on amd64 (x86_64);"
        " take such a host, or try with allow_untested_os = True" + IN_HOME,
    ),
    (
        {"user_id": 1000},
        "user: user id 1000 is not root; connect as root, or run pyinfra with --sudo",
    ),
    ({"systemd": False}, "init system: PID 1 is not systemd; take a host that runs systemd"),
    ({"memory_mb": 1899}, "memory: 1899 MB is less than 1900 MB; give the host more memory"),
    (
        {"disk_mb": 11999, "missing": ALL},
        "disk: 11999 MB free for Docker is less than the 12000 MB it takes to build the images;"
        + MAKE_ROOM,
    ),
    (
        {"disk_mb": 499},
        "disk: 499 MB free for Docker is less than the 500 MB it takes to run;" + MAKE_ROOM,
    ),
    (
        {"state_options": "rw,nodev,noexec"},
        "/var/lib: is mounted nodev, noexec, so that no base image can be made there;"
        " remount it without, or set base_image" + IN_HOME,
    ),
    (
        {"clock": NOW - 301},
        (
            "clock: the host's clock is -301 s from this machine's;"
            " set it right: tokens and certificates depend on it"
        ),
    ),
    (
        {"clock": NOW + 86400},
        (
            "clock: the host's clock is +86400 s from this machine's;"
            " set it right: tokens and certificates depend on it"
        ),
    ),
    (
        {"routes": (Route(IPv4Network("172.16.0.0/12"), "tun0"),)},
        "network_subnet: 172.27.0.0/16 overlaps 172.16.0.0/12, which the host reaches by tun0;"
        " choose a private network that nobody uses" + IN_HOME,
    ),
    (
        {"listeners": (Listener("10.0.2.15", 8000, "nginx"),), "our_ports": frozenset()},
        "public_port: port 8000 is taken by nginx on 10.0.2.15;"
        " stop it, or choose another port or address" + IN_HOME,
    ),
    (
        {"listeners": (Listener("::", 8000, "nginx"),), "our_ports": frozenset({8443})},
        "public_port: port 8000 is taken by nginx on ::;"
        " stop it, or choose another port or address" + IN_HOME,
    ),
    (
        {"engine_kind": frozenset({"snap"})},
        (
            "Docker: snap: the snap's Docker can't see the host's files;"
            " remove it; this installs Debian's"
        ),
    ),
    (
        {"engine_kind": frozenset({"rootless"})},
        (
            "Docker: rootless: a rootless engine can't filter the sessions' packets;"
            " remove it; this installs Debian's"
        ),
    ),
    (
        {"engine_kind": frozenset({"podman"})},
        "Docker: podman: podman-docker is not a Docker engine; remove it; this installs Debian's",
    ),
    (
        {"engine_kind": frozenset({"nftables"})},
        (
            "Docker: its firewall backend is nftables, which has no DOCKER-USER chain;"
            ' set "firewall-backend": "iptables" in /etc/docker/daemon.json'
        ),
    ),
    (
        {"engine_kind": frozenset({"tcp"})},
        (
            "Docker: the daemon listens on TCP, which gives root to who reaches it;"
            " remove the tcp:// address from daemon.json or the unit"
        ),
    ),
    ({"engine": "19.03.15"}, "Docker: version 19.03.15 is older than 20.10; upgrade it"),
    (
        {"engine": "28.5.2", "engine_package": "docker-ce", "buildx": False},
        (
            "Docker: version 28.5.2 has no buildx plugin to build images with;"
            " install docker-buildx-plugin"
        ),
    ),
    ({"swarm": True}, SWARM),
    (
        {"daemon_json": '{"iptables": false}'},
        JSON + ': "iptables": false leaves sessions unisolated; remove that line',
    ),
    ({"daemon_json": "[]"}, JSON + ": unreadable: not a JSON object; mend it"),
    (
        {"foreign_containers": ("wiki", "blog"), "live_restore": False},
        (
            "Docker: must restart for its new configuration, which would end wiki, blog;"
            ' set "live-restore": true in /etc/docker/daemon.json and `systemctl reload docker`,'
            " or stop these containers first"
        ),
    ),
    (
        {"unknown_image": "mine:1"},
        "notebook_image: mine:1 is neither on the host nor in a registry it reaches;"
        " build or load it on the host, or mend the name" + IN_HOME,
    ),
    (
        {"unreachable": ("debian_mirror",)},
        "debian_mirror: http://deb.debian.org/debian can't be reached from the host;"
        " set a mirror that can be reached" + IN_HOME,
    ),
]


@pytest.mark.parametrize(("changes", "line"), BAD, ids=lambda value: str(value)[:50])
def test_a_bad_host_is_one_line(changes: dict[str, Any], line: str) -> None:
    assert lines(report(**changes)) == [line]


def test_malformed_daemon_json_is_one_line() -> None:
    (line,) = lines(report(daemon_json='{"debug": true,}'))
    assert line.startswith("/etc/docker/daemon.json: unreadable: ")
    assert line.endswith("; mend it")


def test_a_daemon_json_of_blank_lines_is_an_empty_one() -> None:
    assert lines(HostReport.parse([*GOOD_LINES, "daemon_json ", "daemon_json "])) == []


def test_a_tcp_address_in_daemon_json_is_refused() -> None:
    (line,) = lines(report(daemon_json='{"hosts": ["fd://", "tcp://0.0.0.0:2375"]}'))
    assert line.startswith("Docker: the daemon listens on TCP")


def test_all_problems_are_said_at_once() -> None:
    subjects = [line.partition(":")[0] for line in lines(HostReport())]
    assert subjects == ["operating system", "user", "init system", "memory", "disk", "clock"]


# --- What is fine ----------------------------------------------------------------------------
def test_a_rerun_needs_no_room_to_build() -> None:
    assert lines(report(disk_mb=500)) == []


@pytest.mark.parametrize(
    ("changes", "missing"),
    [({"notebook_profile": "slim"}, ALL), ({"notebook_image": "mine:1"}, HUB), ({}, HUB)],
)
def test_a_smaller_notebook_image_or_none_needs_less_room_to_build(
    changes: dict[str, Any], missing: frozenset[str]
) -> None:
    assert lines(report(disk_mb=6000, missing=missing), **changes) == []
    assert lines(report(disk_mb=5999, missing=missing), **changes)


def test_another_system_may_be_tried() -> None:
    assert lines(report(os_id="ubuntu", os_version="24.04"), allow_untested_os=True) == []


def test_a_registrys_base_needs_no_mmdebstrap_and_so_no_devices() -> None:
    assert lines(report(state_options="rw,nodev,noexec"), base_image="debian:13") == []


@pytest.mark.parametrize("seconds", [-300, 300])
def test_a_clock_may_be_five_minutes_off(seconds: int) -> None:
    assert lines(report(clock=NOW + seconds)) == []


def test_our_own_bridge_may_have_the_subnet() -> None:
    ours = Route(IPv4Network("172.27.0.0/16"), "br-x")
    assert lines(report(routes=(ours,)), network_bridge="br-x") == []


def test_the_bridge_that_our_network_has_now_is_ours_too() -> None:
    before = Route(IPv4Network("172.27.0.0/16"), "br-0123456789ab")
    assert lines(report(routes=(before,), our_bridges=frozenset({before.device}))) == []


def test_a_default_route_in_two_halves_is_a_default_route() -> None:
    halves = tuple(Route(IPv4Network(n), "tun0") for n in ("0.0.0.0/1", "128.0.0.0/1"))
    assert lines(report(routes=halves)) == []


def test_a_port_on_another_address_is_free() -> None:
    local = report(listeners=(Listener("127.0.0.1", 8000, "nginx"),), our_ports=frozenset())
    assert lines(local, public_bind="10.0.2.15") == []


def test_another_port_of_a_program_is_no_problem() -> None:
    assert lines(report(listeners=(Listener("0.0.0.0", 8001, "x"),))) == []


@pytest.mark.parametrize(
    ("setting", "port"),
    [("publish_hub", 8081), ("publish_proxy_api", 8001), ("publish_database", 5432)],
)
def test_a_published_port_must_be_free_too(setting: str, port: int) -> None:
    taken = report(listeners=(Listener("127.0.0.1", port, "x"),))
    assert lines(taken) == []
    (line,) = lines(taken, **{setting: "127.0.0.1"})
    assert line.startswith(f"{setting}: port {port} is taken by x on 127.0.0.1; ")


def test_an_engine_of_debian_12_needs_no_buildx() -> None:
    assert lines(report(engine="20.10.24+dfsg1", engine_package="docker-ce", buildx=False)) == []


def test_debians_engine_gets_its_buildx_from_us() -> None:
    assert lines(report(engine="26.1.5", engine_package="docker.io", buildx=False)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"live_restore": True},
        {"foreign_containers": ()},
        {"daemon_json": CONFIGURED.strip()},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_restart_that_ends_nothing_of_others_is_no_problem(changes: dict[str, Any]) -> None:
    risky = {"foreign_containers": ("wiki",), "live_restore": False}
    assert lines(report(**(risky | changes))) == []


def test_a_host_without_a_time_service_is_warned_about() -> None:
    assert warnings(GOOD) == []
    (line,) = warnings(report(time_service=False))
    assert line.startswith("no time service runs: install systemd-timesyncd or chrony")
