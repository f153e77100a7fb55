"""Facts: their commands are valid shell that really runs, and what it prints is understood."""

from __future__ import annotations

import hashlib
import os
import shlex
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from pyinfra.api.facts import FactBase

from hubhost import doctor, facts, services, uninstall
from hubhost.facts.base import Lines
from hubhost.hostfile import FileState, HostFolder
from hubhost.images import PresentImage
from hubhost.isolation import JUMPS, JUMPS6, Policy, chains, chains6, listing
from hubhost.paths import ARCHIVE, ETC
from hubhost.preflight import HostReport, Listener, problems
from hubhost.service import ContainerState, Mount
from tests.unit.core.sample import settings
from tests.unit.edge.stubs import Programs, defined_in

SERVICE = services.hub(settings())
OURS = chains(Policy.of(settings())) | chains6(Policy.of(settings()))
CHAINS = tuple(OURS)

# Each fact with arguments that need quoting where a person chooses them.
FACTS: dict[type[FactBase[Any]], dict[str, Any]] = {
    facts.Host: {
        "images": ("a:1",),
        "mirrors": (("pypi_index", "pypi.org", 443),),
        "network": "jupyterhub_network",
        "others_image": "b:1",
    },
    facts.Files: {"paths": ("/etc/x", "/etc/with blank")},
    facts.Folders: {"paths": ("/etc/x", "/etc/with blank")},
    facts.Unit: {"unit": "x.path"},
    facts.Kept: {},
    facts.Content: {"path": "/etc/with blank"},
    facts.Engine: {},
    facts.MissingPackages: {"packages": ("a", "b")},
    facts.EngineIsStale: {},
    facts.DockerNetwork: {"network": "x"},
    facts.FirewallState: {"chains": CHAINS},
    facts.MissingImages: {"references": ("a:1", "b:2")},
    facts.OurImages: {},
    facts.Secrets: {},
    facts.Certificate: {"directory": "/etc/x"},
    facts.ServedCertificate: {"directory": "/etc/x", "address": "172.27.0.4:8000"},
    facts.Container: {"service": SERVICE},
    facts.VolumeAge: {"volume": "jupyterhub_db_before"},
    facts.Status: {},
    facts.Evidence: {"script": doctor.script(settings(), "evidence")},
    facts.Collected: {"script": doctor.script(settings(), "collect")},
    facts.NewestBackup: {},
    facts.BackupFolder: {"path": "/mnt/with blank"},
    facts.RestoreTarget: {},
    facts.Migration: {},
    facts.ServiceTokens: {"services": ("lms", "grader.v2")},
    facts.Releases: {"others_image": "mine:1"},
    facts.Drain: {},
    facts.Listens: {},
    facts.Noted: {},
    facts.DaemonBefore: {},
    facts.Ours: {"script": uninstall.script(settings(), keep_backups=True, daemon="same")},
    facts.Lost: {},
    facts.Unheld: {},
    facts.Updates: {},
    facts.RebootDue: {},
    facts.Boot: {},
    facts.Sessions: {},
    facts.NotServing: {"services": (SERVICE,)},
}


def command(fact: type[FactBase[Any]], **arguments: Any) -> str:
    return str(fact().command(**(arguments or FACTS[fact])))


def test_there_are_arguments_for_every_fact() -> None:
    kinds = {value for value in defined_in(facts).values() if isinstance(value, type)}
    defined = {kind for kind in kinds if issubclass(kind, FactBase)} - {Lines}
    assert defined == set(FACTS)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_a_facts_command_is_valid_shell(fact: type[FactBase[Any]]) -> None:
    subprocess.run(["sh", "-n", "-c", command(fact)], check=True)


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_a_fact_of_a_bare_host_is_no_failure(fact: type[FactBase[Any]], programs: Programs) -> None:
    """Docker, iptables and the rest are there but know nothing: no fact may fail the host."""
    for name in ("docker", "iptables", "systemctl", "dpkg-query", "openssl"):
        programs.add(name, "echo $0: unknown >&2; exit 1")
    needs = fact().requires_command(**FACTS[fact])
    done = programs.run(command(fact))
    if fact is not facts.OurImages:  # the Docker it needs does answer
        assert done.returncode == 0
    fact().process(done.stdout.splitlines())
    assert needs in (None, "docker", "dockerd", "iptables", "openssl")


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_a_fact_has_a_default_for_a_host_without_its_program(fact: type[FactBase[Any]]) -> None:
    if fact().requires_command(**FACTS[fact]):
        default = fact.default()
        assert default is None or default == type(default)()


# --- Host ------------------------------------------------------------------------------------
def host_report(programs: Programs, **arguments: Any) -> HostReport:
    wanted = {"images": (), "mirrors": (), "network": "jupyterhub_network"} | arguments
    return facts.Host().process(programs.run(command(facts.Host, **wanted)).stdout.splitlines())


DOCKER = r"""
case "$*" in
version | "buildx version") ;;
info*) printf 'engine 26.1.5+dfsg1\nswarm inactive\nlive_restore true\n%s' "$SECURITY"
    printf 'security name=seccomp,profile=builtin\nsecurity name=cgroupns\n\n' ;;
"ps --format"*) printf 'wiki \njupyterhub_hub service\njupyterhub_session-x session\n' ;;
"ps -aq --filter label=integrable-jupyterhub.role=service") echo 0123456789ab ;;
inspect*0123456789ab) printf 'our_port 8000\n\n' ;;
"network inspect jupyterhub_network"*) printf 'our_bridge br-5f0c\nour_bridge br-jhub\n' ;;
"image inspect there:1") ;;
*) exit 1 ;;
esac
"""


@pytest.fixture
def docker_host(programs: Programs) -> Programs:
    """A Debian 13 with Docker, as its programs tell of it."""
    programs.add("dockerd")
    programs.add("docker", DOCKER)
    programs.add("dpkg-query", '[ "$3" = docker.io ] && printf installed')
    programs.add("systemctl", '[ "$1 $2" = "is-active chrony" ] && echo active')
    programs.says("ss", 'LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))')
    programs.says("ip", "172.17.0.0/16 dev docker0 proto kernel scope link src 172.17.0.1")
    programs.says("uname", "x86_64")
    return programs


def test_a_look_at_this_very_machine_is_understood(programs: Programs) -> None:
    programs.add("docker", "exit 1")
    report = host_report(programs)
    assert report.os_id
    assert report.user_id == os.geteuid()
    assert report.memory_mb > 100
    assert report.disk_mb > 0
    assert report.state_options
    assert abs(report.clock - time.time()) < 60
    assert report.engine is None


def test_a_hosts_docker_is_described(docker_host: Programs) -> None:
    report = host_report(docker_host, images=("there:1",))
    assert report.engine == "26.1.5+dfsg1"
    assert report.engine_package == "docker.io"
    assert report.engine_kind == frozenset()
    assert report.live_restore
    assert report.buildx
    assert not report.swarm
    assert report.foreign_containers == ("wiki",)
    assert report.our_ports == {8000}
    assert report.our_bridges == {"br-5f0c", "br-jhub"}
    assert report.time_service
    assert report.listeners == (Listener("0.0.0.0", 22, "sshd"),)
    assert [str(route.network) for route in report.routes] == ["172.17.0.0/16"]


def test_a_rootless_engine_is_told_by_its_security_options(docker_host: Programs) -> None:
    docker_host.add("docker", "SECURITY='security name=rootless\n'" + DOCKER)
    assert host_report(docker_host).engine_kind == {"rootless"}


def test_an_engine_that_filters_by_nftables_is_told(docker_host: Programs) -> None:
    told = """"info --format {{json .}}") echo '{"FirewallBackend":{"Driver":"nftables"}}' ;;"""
    docker_host.add("docker", DOCKER.replace("info*)", f"{told}\ninfo*)"))
    assert host_report(docker_host).engine_kind == {"nftables"}


def test_swarm_mode_is_told(docker_host: Programs) -> None:
    docker_host.add("docker", DOCKER.replace("swarm inactive", "swarm active"))
    assert host_report(docker_host).swarm


@pytest.mark.parametrize(("image", "unknown"), [("there:1", None), ("nowhere:1", "nowhere:1")])
def test_a_session_image_that_is_nowhere_is_told(
    image: str, unknown: str | None, docker_host: Programs
) -> None:
    assert host_report(docker_host, others_image=image).unknown_image == unknown


def test_podmans_docker_is_told(docker_host: Programs) -> None:
    docker_host.add("dpkg-query", '[ "$3" = podman-docker ] && printf installed')
    assert host_report(docker_host).engine_kind == {"podman"}


def test_a_package_that_was_removed_but_not_purged_is_not_the_engines(
    docker_host: Programs,
) -> None:
    docker_host.add("dpkg-query", '[ "$1" != -S ] && printf "deinstall ok config-files"')
    report = host_report(docker_host)
    assert report.engine_package == "other"  # for there is a dockerd
    assert report.engine_kind == frozenset()


def test_the_hosts_daemon_json_is_read(
    docker_host: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "daemon.json"
    path.write_text('{\n  "iptables": false\n}\n')
    monkeypatch.setattr("hubhost.facts.overview.DAEMON_JSON", PurePosixPath(path))
    report = host_report(docker_host)
    found = [p.message for p in problems(settings(), report, report.clock)]
    assert '"iptables": false leaves sessions unisolated' in found


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_mirrors_are_tried_when_an_image_is_missing(
    docker_host: Programs, closed_port: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_port = server.getsockname()[1]
        mirrors = (
            ("pypi_index", "127.0.0.1", closed_port),
            ("npm_registry", "127.0.0.1", open_port),
        )
        report = host_report(docker_host, images=("there:1", "missing:1"), mirrors=mirrors)
    assert report.missing
    assert report.unreachable == ("pypi_index",)


def test_mirrors_are_left_alone_when_nothing_must_be_fetched(
    docker_host: Programs, closed_port: int
) -> None:
    mirrors = (("pypi_index", "127.0.0.1", closed_port),)
    report = host_report(docker_host, images=("there:1",), mirrors=mirrors)
    assert not report.missing
    assert report.unreachable == ()


# --- Files -----------------------------------------------------------------------------------
def test_files_that_exist_are_described(programs: Programs, tmp_path: Path) -> None:
    path = tmp_path / "with blank"
    path.write_text("content\n")
    path.chmod(0o640)
    paths = (str(path), str(tmp_path / "missing"))
    found = facts.Files().process(programs.output(command(facts.Files, paths=paths)))
    owner = path.stat()
    digest = hashlib.sha256(b"content\n").hexdigest()
    assert found == {str(path): FileState(digest, 0o640, owner.st_uid, owner.st_gid)}


def test_folders_are_told_with_mode_and_owner(programs: Programs, tmp_path: Path) -> None:
    folder, file = tmp_path / "a folder", tmp_path / "file"
    folder.mkdir(mode=0o700)
    file.touch()
    paths = (str(folder), str(file), str(tmp_path / "missing"))
    found = facts.Folders().process(programs.output(command(facts.Folders, paths=paths)))
    owner = folder.stat()
    assert found == [HostFolder(PurePosixPath(folder), 0o700, owner.st_uid, owner.st_gid)]


def test_a_unit_is_told_in_three_words(programs: Programs) -> None:
    programs.add("systemctl", "case $1 in is-*) echo ${1#is-} ;; *) echo no ;; esac")
    found = facts.Unit().process(programs.output(command(facts.Unit, unit="x.path")))
    assert found == ["enabled", "active", "no"]


def test_what_there_is_of_a_user_is_added_up() -> None:
    assert facts.Kept().process(["3", "4"]) == 7
    assert facts.Kept().process(["0"]) == 0
    assert facts.Kept().process(["unknown"]) is None


@pytest.mark.parametrize("content", ["", "one\n", "one\n\n two\n"])
def test_a_files_content_is_read_whole(content: str, programs: Programs, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(content)
    output = programs.output(command(facts.Content, path=str(tmp_path / "file")))
    assert facts.Content().process(output) == content


def test_a_missing_file_has_no_content(programs: Programs, tmp_path: Path) -> None:
    output = programs.output(command(facts.Content, path=str(tmp_path / "missing")))
    assert facts.Content().process(output) == ""


# --- Docker ----------------------------------------------------------------------------------
@pytest.mark.parametrize("package", ["", "docker.io", "docker-ce"])
def test_the_engines_package_and_debians_version_are_told(package: str, programs: Programs) -> None:
    programs.add("dpkg-query", f'[ "$3" = "{package}" ] && printf installed')
    found, version = facts.Engine().process(programs.output(command(facts.Engine)))
    assert found == package
    assert version == subprocess.check_output(
        ["sh", "-c", '. /etc/os-release; printf %s "$VERSION_ID"'], text=True
    )


def test_an_engine_from_no_package_is_told(programs: Programs) -> None:
    programs.add("dpkg-query", "exit 1")
    programs.add("dockerd")
    found, _ = facts.Engine().process(programs.output(command(facts.Engine)))
    assert found not in ("", "docker.io")


def test_an_engine_half_installed_by_a_killed_run_is_still_debians(programs: Programs) -> None:
    programs.add("dockerd")
    programs.add(
        "dpkg-query", 'case "$1" in -Wf) printf "install ok half-configured" ;; esac'
    )  # -S knows what package the file is from
    found, _ = facts.Engine().process(programs.output(command(facts.Engine)))
    assert found in ("", "docker.io")


def test_only_packages_that_are_not_installed_are_missing(programs: Programs) -> None:
    programs.add(
        "dpkg-query",
        'case "$3" in a) printf installed;; b) printf "deinstall ok config-files";;'
        " *) exit 1;; esac",
    )
    output = programs.output(command(facts.MissingPackages, packages=("a", "b", "c")))
    assert facts.MissingPackages().process(output) == ["b", "c"]


@pytest.mark.parametrize(
    ("started", "stale"), [("2030-01-01 00:00:10 UTC", False), ("2029-12-31 23:59:50 UTC", True)]
)
def test_an_engine_older_than_its_configuration_is_stale(
    started: str,
    stale: bool,
    programs: Programs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "daemon.json"
    path.touch()
    os.utime(path, (1893456000, 1893456000))  # 2030-01-01 00:00:00 UTC
    monkeypatch.setattr("hubhost.facts.docker.DAEMON_JSON", PurePosixPath(path))
    programs.says("systemctl", started)
    assert facts.EngineIsStale().process(programs.output(command(facts.EngineIsStale))) is stale


@pytest.mark.parametrize(
    ("kernel", "options", "stale"),
    [
        (True, "[name=seccomp]", True),
        (True, "[name=apparmor name=seccomp]", False),
        (False, "", False),
    ],
)
def test_an_engine_that_does_not_know_of_apparmors_new_parser_is_stale(
    kernel: bool, options: str, stale: bool, programs: Programs, tmp_path: Path
) -> None:
    if kernel:
        (tmp_path / "apparmor").mkdir()
    (tmp_path / "parser").touch()
    programs.says("systemctl", "2001-01-01 00:00:00 UTC")
    programs.says("docker", options)
    asked = command(facts.EngineIsStale).replace("/sbin/apparmor_parser", str(tmp_path / "parser"))
    asked = asked.replace("/sys/kernel/security", str(tmp_path))
    assert facts.EngineIsStale().process(programs.output(asked)) is stale


def test_an_engine_without_configuration_is_not_stale(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubhost.facts.docker.DAEMON_JSON", PurePosixPath(tmp_path / "none"))
    programs.says("systemctl", "2030-01-01 00:00:10 UTC")
    assert facts.EngineIsStale().process(programs.output(command(facts.EngineIsStale))) is False


def test_a_network_is_told_with_the_roles_of_what_is_attached(programs: Programs) -> None:
    programs.add(
        "docker",
        """case "$1" in
network) echo '{"Driver": "bridge", "EnableIPv6": false}' ;;
ps) printf 'jupyterhub_hub service\\nwiki \\n' ;;
esac""",
    )
    assert facts.DockerNetwork().process(programs.output(command(facts.DockerNetwork))) == {
        "Driver": "bridge",
        "EnableIPv6": False,
        "attached": {"jupyterhub_hub": "service", "wiki": ""},
    }


def test_a_network_that_we_made_by_another_name_is_told(programs: Programs) -> None:
    programs.add(
        "docker",
        """case "$*" in
"network ls --filter label=integrable-jupyterhub.role=network"*) echo before ;;
"network inspect before"*) echo '{"Name": "before"}' ;;
"network inspect"*) exit 1 ;;
"ps -a --filter network=before"*) echo 'jupyterhub_hub service' ;;
esac""",
    )
    found = facts.DockerNetwork().process(programs.output(command(facts.DockerNetwork)))
    assert found == {"Name": "before", "attached": {"jupyterhub_hub": "service"}}


@pytest.mark.parametrize("output", [[], [""]])
def test_a_network_that_is_not_there_is_none(output: list[str]) -> None:
    assert facts.DockerNetwork().process(output) is None


def test_images_that_are_not_there_are_told(programs: Programs) -> None:
    programs.add("docker", '[ "$*" = "image inspect a:1" ]')
    assert facts.MissingImages().process(programs.output(command(facts.MissingImages))) == ["b:2"]


def test_our_images_are_told_with_their_use() -> None:
    output = [
        "used integrable-jupyterhub-hub:aaa",
        "used registry.example.org/wiki:1",
        "image integrable-jupyterhub-hub:aaa",
        "image integrable-jupyterhub-hub:latest",
        "image integrable-jupyterhub-notebook:bbb",
        "image own-notebook:1",  # built on ours, with our labels
    ]
    prefix = "integrable-jupyterhub-"
    assert facts.OurImages().process(output) == [
        PresentImage(f"{prefix}hub:aaa", True),
        PresentImage(f"{prefix}notebook:bbb", False),
    ]


# --- Containers ------------------------------------------------------------------------------
def test_a_container_and_what_it_should_be_made_of_are_told(programs: Programs) -> None:
    programs.add(
        "docker",
        """case "$1" in
container) echo '{"digest": "abc", "running": true, "health": "healthy"}' ;;
image) echo '{"image_id": "sha256:1"}' ;;
esac""",
    )
    state = facts.Container().process(programs.output(command(facts.Container)))
    nothing = hashlib.sha256(b"").hexdigest()
    assert state == ContainerState("sha256:1", nothing, "abc", True, "healthy")


def test_a_container_that_is_not_there_has_no_digest(programs: Programs) -> None:
    programs.add("docker", "echo; exit 1")
    state = facts.Container().process(programs.output(command(facts.Container)))
    assert (state.digest, state.running, state.health, state.image_id) == (None, None, None, "")


def test_a_container_of_others_by_that_name_has_an_empty_digest() -> None:
    output = ['{"digest": null, "running": true, "health": ""}', '{"files_digest": "x"}']
    assert facts.Container().process(output) == ContainerState("", "x", "", True, "")


def test_the_content_of_mounted_files_is_in_the_digest(programs: Programs, tmp_path: Path) -> None:
    programs.add("docker", "exit 1")
    for name in ("first", "second"):
        (tmp_path / name).write_text(name)
    mounts = tuple(Mount(str(tmp_path / name), f"/{name}") for name in ("first", "second"))
    script = command(facts.Container, service=replace(SERVICE, mounts=mounts))
    state = facts.Container().process(programs.output(script))
    assert state.files_digest == hashlib.sha256(b"firstsecond").hexdigest()


def test_docker_is_asked_in_its_own_template_language(programs: Programs, tmp_path: Path) -> None:
    programs.add("docker", f'printf "%s\\n" "$4" >> {tmp_path}/asked')
    programs.output(command(facts.Container))
    assert (tmp_path / "asked").read_text().splitlines() == [
        (
            '{"digest": {{json (index .Config.Labels "integrable-jupyterhub.digest")}},'
            ' "running": {{.State.Running}}, "health":'
            ' {{if .State.Health}}{{json .State.Health.Status}}{{else}}""{{end}}}'
        ),
        '{"image_id": {{json .Id}}}',
    ]


# --- Firewall --------------------------------------------------------------------------------
def test_our_rules_and_their_jumps_are_told(programs: Programs) -> None:
    for program, jumps in (("iptables", JUMPS), ("ip6tables", JUMPS6)):
        mine = [chain for chain in OURS if chain.endswith("6") == (program == "ip6tables")]
        shown = {chain: listing({chain: OURS[chain]}) for chain in mine}
        for chain, target in jumps:
            shown[chain] = [f"-N {chain}", f"-A {chain} -j {target}", f"-A {chain} -j RETURN"]
        cases = [f"{name}) printf '%s\\n' {shlex.join(lines)} ;;" for name, lines in shown.items()]
        programs.add(program, "\n".join(['case "$3" in', *cases, "*) exit 1 ;;", "esac"]))
    programs.add("nft", "exit 1")
    programs.add(
        "systemctl",
        'case "$1" in is-enabled) echo enabled;; is-active) echo active;; show) echo no;; esac',
    )
    told = facts.FirewallState().process(programs.output(command(facts.FirewallState)))
    assert len(told.pop("frames")) == 1  # of this machine's kernel
    assert told == {
        "rule": listing(OURS),
        "first": [f"-A {chain} -j {target}" for chain, target in (*JUMPS, *JUMPS6)],
        "unit": ["enabled", "active"],
        "reload": ["no", "no"],
    }


def test_a_guard_that_is_not_as_it_was_loaded_is_told(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = tmp_path / "digest"
    monkeypatch.setattr("hubhost.facts.isolation.GUARD_DIGEST", digest)
    programs.add("iptables", "exit 1")
    programs.add("ip6tables", "exit 1")
    programs.says("nft", "table inet jhub { }")
    digest.write_text(programs.run(facts.GUARD_STATE).stdout)

    def guard() -> list[str] | None:
        lines = programs.output(command(facts.FirewallState))
        return facts.FirewallState().process(lines).get("guard")

    assert guard() == ["loaded"]
    programs.says("nft", "table inet jhub { accept }")
    assert guard() is None


# --- Secrets ---------------------------------------------------------------------------------
@pytest.fixture
def secrets_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr("hubhost.facts.credentials.SECRETS", PurePosixPath(folder))
    return folder


def test_secrets_are_told_by_name_mode_and_owner(programs: Programs, secrets_folder: Path) -> None:
    for name, content in (("proxy_token", "s3cret"), ("empty", ""), ("service_tokens", "a:s3;b:t")):
        (secrets_folder / name).write_text(content)
        (secrets_folder / name).chmod(0o640)
    owner = f"{os.geteuid()} {secrets_folder.stat().st_gid}"
    assert facts.Secrets().process(programs.output(command(facts.Secrets))) == {
        ".": f"700 {owner}",
        "proxy_token": f"640 {owner}",
        "service_tokens": f"640 {owner}",
        "services": "a b",
    }


def test_no_secret_leaves_the_host(programs: Programs, secrets_folder: Path) -> None:
    (secrets_folder / "proxy_token").write_text("s3cret")
    (secrets_folder / "service_tokens").write_text("lms:s3cret;grader:s3cret")
    assert "s3cret" not in "\n".join(programs.output(command(facts.Secrets)))


# --- Maintenance -----------------------------------------------------------------------------
def test_sockets_of_the_host_and_its_addresses_are_understood(programs: Programs) -> None:
    programs.says(
        "ss",
        """
LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))
LISTEN 0 4096 127.0.0.53%lo:53 0.0.0.0:*
LISTEN 0 128 [::]:22 [::]:* users:(("sshd",pid=1,fd=4))
""",
    )
    programs.says(
        "ip",
        """
1: lo    inet 127.0.0.1/8 scope host lo
2: eth0    inet 192.0.2.7/24 brd 192.0.2.255 scope global eth0
""",
    )
    found = facts.Listens().process(programs.output(command(facts.Listens)))
    assert found.addresses == ("192.0.2.7",)
    assert list(found.ports()) == [("192.0.2.7", 22, "sshd")]


def test_a_package_that_is_held_is_installed(programs: Programs) -> None:
    """dpkg's own word for it is "hold ok installed"."""
    programs.add("dpkg-query", 'case "$*" in *db:Status-Status*) printf installed ;; esac')
    asked = command(facts.MissingPackages, packages=("docker.io",))
    assert programs.output(asked) == []


def test_engine_packages_that_are_installed_and_not_held(programs: Programs) -> None:
    programs.add("dpkg-query", 'case "$3" in docker.io | runc) printf installed ;; esac')
    programs.says("apt-mark", "docker.io\nothers")
    assert programs.output(command(facts.Unheld)) == ["runc"]


def test_updates_and_those_left_half_done_are_told_once(programs: Programs) -> None:
    programs.says(
        "apt-get",
        """
Inst libc6 [2.41-1] (2.41-2 Debian:13/stable [amd64])
Conf libc6 (2.41-2 Debian:13/stable [amd64])
Conf broken (1.0 Debian:13/stable [all])
""",
    )
    assert programs.output(command(facts.Updates)) == ["broken", "libc6"]


@pytest.mark.parametrize(
    ("version", "due"), [("6.12.57-1", []), ("6.12.63-1", ["linux-image-6.12.57 is 6.12.63-1 now"])]
)
def test_a_kernel_of_the_same_name_may_be_another(
    programs: Programs, version: str, due: list[str]
) -> None:
    programs.add("uname", '[ "$1" = -r ] && echo 6.12.57 || echo "#1 SMP Debian 6.12.57-1 (2025)"')
    programs.says("dpkg-query", version)
    told = programs.output(
        command(facts.RebootDue).replace("/boot", "/none").replace("/run", "/no")
    )
    assert told == due


@pytest.mark.parametrize(
    ("running", "due"),
    [
        ("6.1.0-39-amd64", ["6.1.0-40-amd64 is installed, 6.1.0-39-amd64 runs"]),
        ("6.1.0-40-amd64", []),
        ("6.0.12-0.deb12.4-amd64", ["6.1.0-40-amd64 is installed, 6.0.12-0.deb12.4-amd64 runs"]),
        ("6.12.48+deb13-rt-amd64", []),
        ("6.0.9+bpo-cloud-amd64", []),
    ],
)
def test_a_newer_kernel_is_one_of_the_same_flavour(
    programs: Programs, tmp_path: Path, running: str, due: list[str]
) -> None:
    for name in ("6.1.0-39-amd64", "6.1.0-40-amd64", "6.12.48+deb13-rt-amd64"):
        (tmp_path / f"vmlinuz-{name}").touch()
    programs.says("uname", running)
    programs.add("dpkg-query")
    asked = command(facts.RebootDue).replace("/boot", str(tmp_path)).replace("/run/", "/no/")
    assert programs.output(asked) == due


def test_archives_that_go_are_counted(programs: Programs, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "about.json").touch()
    programs.says("docker", "7")
    asked = command(facts.Lost).replace(str(ARCHIVE), str(tmp_path)).replace(f"[ -d {ETC} ]", ":")
    assert programs.output(asked) == ["1 running sessions, 7 users, 2 archives"]
