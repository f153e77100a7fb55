"""Operations: what each does to a host where nothing is yet, all is right, or something differs."""

from __future__ import annotations

import base64
import io
import shlex
import stat
import subprocess
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from pyinfra.api.command import StringCommand
from pyinfra.context import ctx_host, ctx_state

from hubhost import facts, operations, services, uninstall
from hubhost.drain import Drain
from hubhost.engine import daemon_configuration
from hubhost.hostfile import SERVICES_GROUP, FileState, HostFile, HostFolder
from hubhost.images import ImageSet, PresentImage, build_files
from hubhost.isolation import JUMPS, JUMPS6, Policy, chains, chains6, listing
from hubhost.logs import Request
from hubhost.migrate import Look
from hubhost.network import Network
from hubhost.operations.patch import _reboot
from hubhost.release import Content, History, Release
from hubhost.rotation import rotations
from hubhost.secrets import ALL_SECRETS
from hubhost.service import ContainerState
from hubhost.tls import names
from tests.backups import members, tarred
from tests.unit.core.sample import settings
from tests.unit.edge.stubs import FakeHost, Programs, commands, defined_in, stdin, text

SETTINGS = settings()
SERVICE = services.hub(SETTINGS)
NETWORK = Network.of(SETTINGS)
POLICY = Policy.of(SETTINGS)
IMAGES = ImageSet.of(SETTINGS)
FILE = HostFile(PurePosixPath("/etc/x/secret file"), "s3cret\n", 0o640, SERVICES_GROUP)

NETWORK_STATE = {
    "Name": NETWORK.name,
    "Driver": "bridge",
    "EnableIPv6": False,
    "Internal": False,
    "IPAM": {"Config": [NETWORK.ipam]},
    "Options": NETWORK.bridge_options,
    "attached": {},
}
LISTING = listing(chains(POLICY) | chains6(POLICY))
RULES = {
    "unit": ["enabled", "active"],
    "reload": ["no", "no"],
    "rule": LISTING,
    "first": [f"-A {chain} -j {target}" for chain, target in (*JUMPS, *JUMPS6)],
    "guard": ["loaded"],
    "frames": ["1"],
}
OLD = [PresentImage(f"hub:{n}", used=False) for n in (1, 2, 3)]
RELEASE = Release("abc", Content({"hub:3": "sha256:3"}), made=1)
HISTORY = History((RELEASE,), current="abc")
SECRETS = {
    ".": "700 0 0",
    **{secret.name: f"640 0 {SERVICES_GROUP}" for secret in ALL_SECRETS},
    "services": "service-admin",
}


DRAINED = Drain(drained=True, minutes=5, deadline=1_800_000_000)
DUE = {facts.Drain: Drain(), facts.Updates: ["libc6"], facts.RebootDue: []}
DONE = {facts.Drain: DRAINED, facts.Updates: [], facts.RebootDue: [], facts.Sessions: 3}
REMOVAL = uninstall.script(settings(), keep_backups=True, daemon="same")


def flat(made: list[StringCommand]) -> str:
    return "\n".join(map(text, made))


def refused(told: str | None, *, executing: bool = True) -> list[StringCommand]:
    """What comes of taking the lock, where that is answered by `told`."""
    with (
        ctx_state.use(SimpleNamespace(is_executing=executing)),
        patch("hubhost.connection.take_lock", return_value=told),
    ):
        return commands(operations.exclusive, {})


def test_a_lock_that_another_has_ends_the_run_in_one_line() -> None:
    (command,) = refused("lock: it's held")
    done = subprocess.run(["sh", "-c", text(command)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "lock: it's held\n")


def test_to_have_the_lock_is_no_change_and_a_plan_does_not_ask_for_it() -> None:
    assert refused(None) == []
    assert refused("lock: held", executing=False) == []


# --- Images of other hosts -------------------------------------------------------------------
ALL = tuple(image.reference for image in IMAGES.all)
ELSEWHERE = dict.fromkeys(ALL, ("first", "hub"))


def received(**arguments: Any) -> list[Any]:
    given = {facts.MissingImages: list(ALL)}
    arguments = {"images": IMAGES.all, "origins": ELSEWHERE} | arguments
    return commands(operations.received_images, given, **arguments)


def test_what_another_host_builds_is_not_built_here_but_taken_from_there() -> None:
    given = {facts.MissingImages: ["x"]}
    more: dict[str, Any] = {"settings": SETTINGS, "origins": ELSEWHERE}
    assert commands(operations.base_image, given, image=IMAGES.base, **more) == []
    assert commands(operations.start_builds, given, images=IMAGES.built, **more) == []
    assert commands(operations.built_image, given, image=IMAGES.built[0], **more) == []
    (command,) = received()
    source, send, receive = command.args
    assert (source, receive) == ("first", "zstd -dc | docker load --quiet")
    assert send.endswith(f"docker save {shlex.join(ALL)} | zstd -1 -T0")


def test_where_the_other_host_is_lost_before_it_came_to_that_it_is_built_here() -> None:
    given = {facts.MissingImages: ["x"]}
    more: dict[str, Any] = {"settings": SETTINGS, "origins": ELSEWHERE, "failed": ("first",)}
    assert len(commands(operations.base_image, given, image=IMAGES.base, **more)) == 1
    assert received(failed=("first",)) == []


def test_where_the_other_host_fails_to_build_it_is_one_line(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubhost.operations.images._elsewhere", lambda reference, origins: "first")
    (command,) = received(failed=("first",))
    done = programs.run(text(command))
    assert done.returncode == 1
    assert done.stderr == (
        "images: first was to build them for this host, and failed; see there, and deploy again\n"
    )


def test_a_host_alone_is_not_asked() -> None:
    assert commands(operations.received_images, {}, images=IMAGES.all, origins={}) == []


@pytest.mark.parametrize(("free", "sent"), [(601, True), (600, False)])
def test_images_are_handed_on_where_a_copy_of_them_has_room(
    programs: Programs, free: int, sent: bool
) -> None:
    programs.add(
        "docker",
        """case "$1" in
        info) echo /var/lib ;;
        image) printf '%s\\n' 300000000 500000000 400000000 ;;
        save) echo saved ;;
        esac""",
    )
    programs.add("zstd", "cat")
    programs.says("df", f"Filesystem 1M-blocks Used Available\n/dev/x 1000 1 {free} 1% /")
    done = programs.run("\n".join(["set -eu", *operations.saved_images(["a", "b", "c"])]))
    assert (done.stdout, done.returncode) == (("saved\n", 0) if sent else ("", 1))
    if not sent:
        assert done.stderr.startswith("disk: to hand on images takes 600 MB, 600 are free; ")


def test_what_is_taken_over_is_not_taken_over_again() -> None:
    done = {facts.Migration: Look.parse(["state done"])}
    assert commands(operations.take_over, done, deadline=0) == []


# Every operation that makes something from nothing, for what is true of them all.
MAKING: dict[str, Callable[[], list[StringCommand]]] = {
    "exclusive": lambda: refused("lock: held by somebody else"),
    "packages": lambda: commands(
        operations.packages, {facts.MissingPackages: ["a"]}, packages=("a", "b")
    ),
    "engine": lambda: commands(
        operations.engine,
        {facts.Engine: ("", "13"), facts.MissingPackages: ["docker.io"]},
        tools=("mmdebstrap",),
    ),
    "engine_configuration": lambda: commands(
        operations.engine_configuration, {facts.Content: ""}, subnet=SETTINGS.network_subnet
    ),
    "show_logs": lambda: commands(
        operations.show_logs, {}, request=Request(("hub",), "-60", follow=False), prefix="h "
    ),
    "fresh_engine": lambda: commands(operations.fresh_engine, {facts.EngineIsStale: True}),
    "file_tree": lambda: commands(operations.file_tree, {facts.Files: {}}, files=(FILE,)),
    "folders": lambda: commands(
        operations.folders, {facts.Folders: []}, folders=services.HUB_FOLDERS
    ),
    "unit": lambda: commands(operations.unit, {facts.Unit: []}, unit="x.path"),
    "forget": lambda: commands(operations.forget, {facts.Kept: 3}, user="u"),
    "no_unit": lambda: commands(
        operations.no_unit,
        {facts.Files: {"/etc/x": FileState("", 0o644, 0, 0)}},
        unit="x.timer",
        files=("/etc/x", "/etc/with blank"),
    ),
    "backup": lambda: commands(operations.backup, {}),
    "unpack_backup": lambda: commands(operations.unpack_backup, {}, lines=["czNjcmV0"]),
    "restore_files": lambda: commands(operations.restore_files, {}),
    "restore_data": lambda: commands(operations.restore_data, {}, hub=SERVICE),
    "docker_network": lambda: commands(
        operations.docker_network, {facts.DockerNetwork: None}, network=NETWORK
    ),
    "firewall": lambda: commands(operations.firewall, {facts.FirewallState: {}}, policy=POLICY),
    "base_image": lambda: commands(
        operations.base_image,
        {facts.MissingImages: ["x"]},
        image=IMAGES.base,
        settings=SETTINGS,
    ),
    "start_builds": lambda: commands(
        operations.start_builds,
        {facts.MissingImages: ["x"]},
        images=IMAGES.built[:1],
        settings=SETTINGS,
    ),
    "built_image": lambda: commands(
        operations.built_image,
        {facts.MissingImages: ["x"]},
        image=IMAGES.built[0],
        settings=SETTINGS,
    ),
    "received_images": lambda: [StringCommand(received()[0].args[1])],
    "take_over": lambda: commands(
        operations.take_over, {facts.Migration: Look.parse(["state begun"])}, deadline=900
    ),
    "bring_back": lambda: commands(operations.bring_back, {}),
    "pulled_image": lambda: commands(
        operations.pulled_image, {facts.MissingImages: ["x"]}, reference="mine:1"
    ),
    "prune_images": lambda: commands(
        operations.prune_images,
        {facts.OurImages: OLD, facts.Releases: HISTORY},
        settings=SETTINGS,
    ),
    "keep_release": lambda: commands(
        operations.keep_release, {facts.Releases: History()}, settings=SETTINGS
    ),
    "rollback": lambda: commands(
        operations.rollback, {facts.Releases: HISTORY}, release=Release("def", Content())
    ),
    "secrets": lambda: commands(
        operations.secrets,
        {facts.Secrets: {}},
        wanted=ALL_SECRETS,
        services=("service-admin",),
    ),
    "discard": lambda: commands(
        operations.discard, {}, rotation=rotations("proxy_token", "", SETTINGS)[0]
    ),
    "self_signed_certificate": lambda: commands(
        operations.self_signed_certificate,
        {facts.Certificate: []},
        directory="/etc/integrable-jupyterhub/tls",
        names=names(SETTINGS),
    ),
    "served_certificate": lambda: commands(
        operations.served_certificate,
        {facts.ServedCertificate: False},
        directory="/etc/integrable-jupyterhub/tls",
        address="172.27.0.4:8000",
    ),
    "forgotten_cluster": lambda: commands(operations.forgotten_cluster, {facts.VolumeAge: 7}),
    "container": lambda: commands(
        operations.container, {facts.Container: ContainerState("sha256:1", "f")}, service=SERVICE
    ),
    "note_before": lambda: commands(operations.note_before, {facts.Noted: False}),
    "held_engine": lambda: commands(operations.held_engine, {facts.Unheld: ["runc"]}),
    "drain": lambda: commands(operations.drain, {facts.Drain: Drain()}, minutes=5),
    "undrain": lambda: commands(operations.undrain, {facts.Drain: Drain(drained=True)}),
    "drain_to_patch": lambda: commands(operations.drain_to_patch, DUE, minutes=5),
    "sessions_ended": lambda: commands(
        operations.sessions_ended, DUE | {facts.Drain: DRAINED, facts.Sessions: 1}
    ),
    "package_lists": lambda: commands(operations.package_lists, {}),
    "updates": lambda: commands(operations.updates, DUE),
    "serving": lambda: commands(
        operations.serving, {facts.NotServing: ["jupyterhub_hub"]}, services=(SERVICE,)
    ),
    "uninstall": lambda: commands(
        operations.uninstall, {facts.Ours: ["volume x"]}, removal=REMOVAL, daemon_json="{}"
    ),
}
# What is done by a function on the controller, for an answer is looked at, or a host goes away.
BY_FUNCTION = {"isolation_check", "reboot"}


def test_every_operation_is_tried_here() -> None:
    defined = {name for name, value in defined_in(operations).items() if hasattr(value, "_inner")}
    assert defined == set(MAKING) | BY_FUNCTION


@pytest.mark.parametrize("name", MAKING)
def test_what_an_operation_runs_is_valid_shell(name: str) -> None:
    made = MAKING[name]()
    assert made
    for command in made:
        subprocess.run(["sh", "-n", "-c", text(command)], check=True)


@pytest.mark.parametrize("name", MAKING)
def test_no_secret_is_in_a_command(name: str) -> None:
    assert "s3cret" not in flat(MAKING[name]())


@pytest.mark.parametrize("name", MAKING)
def test_a_script_of_several_lines_stops_at_its_first_error(name: str) -> None:
    for command in MAKING[name]():
        # (An uninstall goes on, and tells what it could not remove.)
        assert "\n" not in text(command) or text(command).startswith(("set -eu\n", "mode=remove\n"))


# --- Backups ---------------------------------------------------------------------------------
def test_what_is_no_more_wanted_goes_and_what_is_not_there_is_left_alone() -> None:
    assert "rm -f /etc/x '/etc/with blank'\nsystemctl daemon-reload" in flat(MAKING["no_unit"]())
    nothing = commands(operations.no_unit, {facts.Files: {}}, unit="x.timer", files=("/etc/x",))
    assert nothing == []


def test_a_backup_comes_whole_or_the_restore_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`about` is the last in it: tar itself takes an end between two files for the end."""
    monkeypatch.setattr("hubhost.operations.backups.RESTORE_WORK", tmp_path / "work")
    monkeypatch.setattr("hubhost.operations.backups.STATE", tmp_path)
    monkeypatch.setattr("hubhost.operations.backups.TLS", tmp_path / "tls")
    monkeypatch.setattr("hubhost.operations.backups.SECRETS", tmp_path / "secrets")
    tar = tarred(members(SETTINGS))
    for sent, whole in ((tar, True), (tar[: tar.rindex(b"about\0")], False)):
        lines = [
            base64.b64encode(sent[i : i + 300]).decode() + "\n" for i in range(0, len(sent), 300)
        ]
        (command,) = commands(operations.unpack_backup, {}, lines=lines)
        done = subprocess.run(
            ["sh", "-c", text(command)], input="".join(lines), text=True, check=False
        )
        assert (done.returncode == 0) is whole
        assert stat.S_IMODE((tmp_path / "work").stat().st_mode) == 0o700


@pytest.mark.parametrize("fault", ["", "load"])
def test_a_restore_waits_for_sessions_to_go_and_leaves_no_hub_stopped(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Docker refuses to remove what it is removing already."""
    monkeypatch.setattr("hubhost.operations.backups.RESTORE_WORK", tmp_path / "work")
    monkeypatch.setattr("hubhost.operations.backups.ARCHIVE", tmp_path / "archive")
    for folder in ("work", "archive"):
        (tmp_path / folder).mkdir()
    (tmp_path / "work" / "database.dump").touch()
    asked, going = tmp_path / "asked", tmp_path / "going"
    going.write_text("5e\n" * 2)
    programs.add("chown")
    programs.add(
        "docker",
        f"""echo "$1 $2 $3" >> {asked}
case "$*" in
ps*) cat {going} ;;
rm*) sed -i 1d {going}; exit 1 ;;
*load) [ -z "{fault}" ] ;;
esac""",
    )
    (command,) = MAKING["restore_data"]()
    done = programs.run(text(command))
    assert (done.returncode == 0) is (fault == "")
    told = asked.read_text().splitlines()
    assert [line.split()[0] for line in told].count("rm") == 2
    assert told[-1] == "container start jupyterhub_hub"


# --- Packages and the engine -----------------------------------------------------------------
def test_only_missing_packages_are_installed() -> None:
    (command,) = MAKING["packages"]()
    lines = text(command).splitlines()
    (at,) = [
        n for n, line in enumerate(lines) if line.endswith("install --no-install-recommends a")
    ]
    # What it brought along is told from what was there.
    assert "> installing" in lines[at - 1]
    assert "comm -13 installing - >> installed" in lines[at + 1]


@pytest.mark.parametrize("lock", ["/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock"])
def test_the_hosts_own_updates_are_waited_for(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    """DPkg::Lock::Timeout is for two of apt's four locks."""
    monkeypatch.setattr("hubhost.operations.debian.LOCKED", f"exec 9>{tmp_path}/lock-{{}}\n")
    tries = tmp_path / "tries"
    held = f"echo 'E: Could not get lock {lock}. It is held by process 7 (apt-get)' >&2; exit 100"
    programs.add("apt-get", f"echo x >> {tries}; [ $(wc -l < {tries}) -gt 3 ] || {{ {held}; }}")
    programs.add("sleep")
    (command,) = commands(operations.package_lists, {})
    assert programs.run(text(command)).returncode == 0
    assert tries.read_text() == "x\n" * 4


@pytest.mark.parametrize(
    "error",
    [
        "E: no route",
        "E: Could not open lock file /var/lib/apt/lists/lock - open (28: No space left on device)",
    ],
)
def test_another_error_of_apts_is_tried_thrice_and_told(
    programs: Programs, tmp_path: Path, error: str
) -> None:
    tries = tmp_path / "tries"
    programs.add("apt-get", f"echo x >> {tries}; echo '{error}' >&2; exit 100")
    programs.add("sleep")
    (command,) = commands(operations.package_lists, {})
    done = programs.run(text(command))
    assert (done.returncode, done.stderr) == (100, f"{error}\n" * 3)
    assert tries.read_text() == "x\n" * 3


def test_when_nothing_is_missing_no_package_list_is_fetched() -> None:
    assert commands(operations.packages, {facts.MissingPackages: []}, packages=("a",)) == []


@pytest.mark.parametrize(
    ("present", "asked"),
    [
        (("", "13"), ("docker.io", "docker-cli", "docker-buildx", "mmdebstrap")),
        (("", "12"), ("docker.io", "mmdebstrap")),
        (("docker-ce", "13"), ("mmdebstrap",)),
    ],
)
def test_the_engine_is_installed_unless_another_is_there(
    present: tuple[str, str], asked: tuple[str, ...]
) -> None:
    seen = []

    class Host(FakeHost):
        def get_fact(self, fact: type, **arguments: Any) -> Any:
            if fact is facts.MissingPackages:
                seen.append(arguments["packages"])
            return super().get_fact(fact, **arguments)

    with ctx_host.use(Host({facts.Engine: present, facts.MissingPackages: []})):
        assert list(operations.engine._inner(tools=("mmdebstrap",))) == []
    assert seen == [asked]


def test_a_configuration_that_has_what_is_needed_stays() -> None:
    current = daemon_configuration('{"debug": true}', SETTINGS.network_subnet)
    given = {facts.Content: current}
    assert commands(operations.engine_configuration, given, subnet=SETTINGS.network_subnet) == []


def test_a_configuration_is_merged_not_overwritten() -> None:
    given = {facts.Content: '{"data-root": "/srv"}\n'}
    (command,) = commands(operations.engine_configuration, given, subnet=SETTINGS.network_subnet)
    assert b'"data-root": "/srv"' in base64.b64decode(stdin(command))


def test_an_engine_that_is_current_is_not_restarted() -> None:
    assert commands(operations.fresh_engine, {facts.EngineIsStale: False}) == []


def test_live_restore_is_loaded_before_the_restart(programs: Programs, tmp_path: Path) -> None:
    """The reload is a signal: Docker takes it up when it comes to that."""
    (command,) = MAKING["fresh_engine"]()
    done = tmp_path / "done"
    programs.add("systemctl", f'echo "$1" >> {done}')
    programs.add("docker", f"echo look >> {done}; [ $(grep -c look {done}) = 3 ] && echo true")
    assert programs.run(text(command)).returncode == 0
    assert done.read_text().split() == ["reload", "look", "look", "look", "restart"]


# --- Files -----------------------------------------------------------------------------------
def state_of(file: HostFile) -> dict[str, FileState]:
    return {str(file.path): FileState(file.sha256, file.mode, 0, file.group)}


def test_files_that_are_right_are_not_written() -> None:
    assert commands(operations.file_tree, {facts.Files: state_of(FILE)}, files=(FILE,)) == []


def test_only_the_files_that_differ_are_written() -> None:
    other = replace(FILE, path=PurePosixPath("/etc/x/other"))
    (command,) = commands(operations.file_tree, {facts.Files: state_of(FILE)}, files=(FILE, other))
    assert "/etc/x/other" in text(command)


def test_only_folders_that_differ_are_made(programs: Programs, tmp_path: Path) -> None:
    owner = tmp_path.stat()
    right, wrong, missing = (
        HostFolder(PurePosixPath(tmp_path / name), mode, owner.st_uid, owner.st_gid)
        for name, mode in (("a", 0o700), ("b", 0o700), ("c", 0o750))
    )
    Path(wrong.path).mkdir(mode=0o777)
    made = commands(
        operations.folders,
        {facts.Folders: [right, replace(wrong, mode=0o777)]},
        folders=(right, wrong, missing),
    )
    for command in made:
        assert programs.run(text(command)).returncode == 0
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert {name: found.get(name) for name in "abc"} == {"a": None, "b": 0o700, "c": 0o750}
    every = {facts.Folders: [right, wrong, missing]}
    assert commands(operations.folders, every, folders=(right, wrong, missing)) == []


def test_a_unit_that_is_as_it_is_written_is_left_alone() -> None:
    right = ["enabled", "active", "no"]
    assert commands(operations.unit, {facts.Unit: right}, unit="x.path") == []
    for at, word in enumerate(("disabled", "inactive", "yes")):
        state = [*right[:at], word, *right[at + 1 :]]
        assert commands(operations.unit, {facts.Unit: state}, unit="x.path")


def test_to_forget_a_user_says_the_name_in_no_command() -> None:
    (command,) = commands(operations.forget, {facts.Kept: 1}, user="u1234567")
    assert "u1234567" not in text(command)
    assert stdin(command) == "u1234567"
    assert commands(operations.forget, {facts.Kept: 0}, user="u1234567") == []


def test_a_file_is_written_with_content_and_mode(programs: Programs, tmp_path: Path) -> None:
    programs.add("chown", f"echo $@ > {tmp_path}/owner")
    file = replace(FILE, path=PurePosixPath(tmp_path / "new folder" / "file"))
    (command,) = commands(operations.file_tree, {facts.Files: {}}, files=(file,))
    assert programs.run(text(command), stdin(command)).returncode == 0
    assert Path(file.path).read_text() == "s3cret\n"
    assert stat.S_IMODE(Path(file.path).stat().st_mode) == 0o640
    assert (tmp_path / "owner").read_text() == f"0:{SERVICES_GROUP} {file.path}.new\n"
    assert [path.name for path in Path(file.path).parent.iterdir()] == ["file"]


def test_a_file_is_readable_by_nobody_else_before_its_time(
    programs: Programs, tmp_path: Path
) -> None:
    programs.add("chown", f"stat -c %a {tmp_path}/file.new > {tmp_path}/mode")
    file = replace(FILE, path=PurePosixPath(tmp_path / "file"), mode=0o644)
    (command,) = commands(operations.file_tree, {facts.Files: {}}, files=(file,))
    programs.run(text(command), stdin(command))
    assert (tmp_path / "mode").read_text() == "600\n"


def test_a_broken_transfer_leaves_the_old_file(programs: Programs, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    file = replace(FILE, path=PurePosixPath(tmp_path / "file"))
    (command,) = commands(operations.file_tree, {facts.Files: {}}, files=(file,))
    assert programs.run(text(command), "no base64!").returncode != 0
    assert (tmp_path / "file").read_text() == "old"


# --- Network ---------------------------------------------------------------------------------
def test_a_missing_network_is_created() -> None:
    (command,) = MAKING["docker_network"]()
    assert text(command).startswith("docker network create --driver bridge --subnet 172.27.0.0/16 ")
    assert text(command).endswith(" jupyterhub_network")


def test_a_network_that_is_right_stays() -> None:
    given = {facts.DockerNetwork: NETWORK_STATE}
    assert commands(operations.docker_network, given, network=NETWORK) == []


def test_a_wrong_network_is_removed_and_created() -> None:
    given = {facts.DockerNetwork: NETWORK_STATE | {"EnableIPv6": True}}
    removal, creation = commands(operations.docker_network, given, network=NETWORK)
    assert text(removal) == "set -eu\ndocker network rm jupyterhub_network"
    assert text(creation) == text(MAKING["docker_network"]()[0])


def test_a_network_of_ours_by_another_name_gives_way() -> None:
    given = {facts.DockerNetwork: NETWORK_STATE | {"Name": "before"}}
    removal, creation = commands(operations.docker_network, given, network=NETWORK)
    assert text(removal) == "set -eu\ndocker network rm before"
    assert text(creation) == text(MAKING["docker_network"]()[0])


def test_a_wrong_network_with_foreign_containers_is_an_error(programs: Programs) -> None:
    given = {facts.DockerNetwork: NETWORK_STATE | {"Driver": "x", "attached": {"wiki": ""}}}
    removal, _ = commands(operations.docker_network, given, network=NETWORK)
    programs.add("docker", "echo docker was called >&2; exit 0")
    done = programs.run(text(removal))
    assert done.returncode == 1
    assert "docker was called" not in done.stderr
    assert "wiki is attached to it; remove that container" in done.stderr


# --- Firewall --------------------------------------------------------------------------------
def test_rules_that_are_loaded_stay() -> None:
    assert commands(operations.firewall, {facts.FirewallState: RULES}, policy=POLICY) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": LISTING[:-1]},
        {"rule": [*LISTING[:-1], "-A JHUB-INPUT -j ACCEPT"]},
        {"rule": []},
        {"first": ["-A DOCKER-USER -j RETURN", "-A INPUT -j JHUB-INPUT"]},
        {"first": ["-A DOCKER-USER -j JHUB-FORWARD"]},
        {"guard": []},
        {"frames": ["0"]},
    ],
    ids=[
        "one missing",
        "one changed",
        "all gone",
        "jump not first",
        "jump gone",
        "guard changed",
        "frames pass by",
    ],
)
def test_rules_that_differ_are_loaded_again(changes: dict[str, Any]) -> None:
    given = {facts.FirewallState: RULES | changes}
    (command,) = commands(operations.firewall, given, policy=POLICY)
    assert text(command).startswith("set -eu\nsystemctl reload integrable-jupyterhub-firewall || {")


@pytest.mark.parametrize("reload", [["yes", "no"], ["no", "yes"]], ids=["ours", "docker's"])
def test_an_edited_unit_is_read_again(reload: list[str]) -> None:
    given = {facts.FirewallState: RULES | {"reload": reload}}
    (command,) = commands(operations.firewall, given, policy=POLICY)
    assert "systemctl daemon-reload" in text(command)
    assert "systemctl reload-or-restart" in text(command)


@pytest.mark.parametrize("unit", [["disabled", "active"], ["enabled", "inactive"], ["", "failed"]])
def test_a_unit_that_does_not_run_is_enabled_and_started(unit: list[str]) -> None:
    given = {facts.FirewallState: RULES | {"unit": unit}}
    (command,) = commands(operations.firewall, given, policy=POLICY)
    _, reread, enable, load = text(command).splitlines()
    assert reread == "systemctl daemon-reload"
    assert enable == "systemctl enable integrable-jupyterhub-firewall"
    assert load.startswith("systemctl reload-or-restart integrable-jupyterhub-firewall || {")


def test_rules_that_do_not_load_end_the_run_with_the_reason(programs: Programs) -> None:
    given = {facts.FirewallState: RULES | {"guard": []}}
    (command,) = commands(operations.firewall, given, policy=POLICY)
    programs.add("systemctl", "exit 1")
    programs.says("journalctl", "guard.nft:3:1-5: Error: syntax error")
    done = programs.run(text(command))
    assert done.returncode == 1
    reason, told = done.stderr.splitlines()
    assert reason == "guard.nft:3:1-5: Error: syntax error"
    assert told.startswith("firewall: the rules do not load and those of before still stand; ")


# --- Images ----------------------------------------------------------------------------------
def test_missing_images_are_built_in_the_background(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operation ends before the build does, and the build gets its whole context."""
    monkeypatch.setattr("hubhost.operations.images.STATE", PurePosixPath(tmp_path))
    programs.add("flock")
    programs.add(
        "docker",
        f"""[ "$1" = build ] || exit 1
until [ -e {tmp_path}/go ]; do sleep 0.05; done
cat > {tmp_path}/part; mv {tmp_path}/part {tmp_path}/context""",
    )
    (command,) = MAKING["start_builds"]()
    done = programs.run(text(command).replace("/run/lock/", f"{tmp_path}/"), stdin(command))
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "go").touch()
    deadline = time.monotonic() + 10
    while not (tmp_path / "context").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    wanted = IMAGES.built[0].context(build_files(SETTINGS))
    assert (tmp_path / "context").read_bytes() == wanted


def test_no_build_starts_for_images_that_are_there() -> None:
    given: dict[Any, Any] = {facts.MissingImages: []}
    assert commands(operations.start_builds, given, images=IMAGES.built, settings=SETTINGS) == []


def test_the_context_of_a_background_build_is_not_left_on_the_host(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold the password of a mirror."""
    monkeypatch.setattr("hubhost.operations.images.STATE", PurePosixPath(tmp_path / "state"))
    programs.add("flock")
    programs.add("docker", f'[ "$1" = build ] || exit 1\ncat > /dev/null; touch {tmp_path}/built')
    (command,) = MAKING["start_builds"]()
    programs.run(text(command).replace("/run/lock/", f"{tmp_path}/"), stdin(command))
    deadline = time.monotonic() + 10
    while not (tmp_path / "built").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.1)
    assert list((tmp_path / "state").iterdir()) == []


@pytest.mark.parametrize("operation", [operations.base_image, operations.built_image])
def test_an_image_that_is_there_is_not_made(operation: Any) -> None:
    image = IMAGES.base if operation is operations.base_image else IMAGES.built[0]
    given: dict[Any, Any] = {facts.MissingImages: []}
    assert commands(operation, given, image=image, settings=SETTINGS) == []


def test_a_pulled_image_that_is_there_is_not_pulled() -> None:
    given: dict[Any, Any] = {facts.MissingImages: []}
    assert commands(operations.pulled_image, given, reference="mine:1") == []


def test_the_base_image_is_made_in_a_folder_that_may_have_devices() -> None:
    (command,) = MAKING["base_image"]()
    assert IMAGES.base
    assert "export TMPDIR=/var/lib/integrable-jupyterhub/build" in text(command)
    assert text(command).splitlines()[-1].endswith(f" $TMPDIR/base.tar {IMAGES.base.reference}")
    assert "LABEL integrable-jupyterhub.image=base" in text(command)


def test_extra_certificates_reach_the_base_image_by_standard_input(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("PEM\n")
    given = settings(extra_ca_certificates=[str(tmp_path / "ca.crt")])
    (command,) = commands(
        operations.base_image, {facts.MissingImages: ["x"]}, image=IMAGES.base, settings=given
    )
    assert stdin(command) == "PEM\n"
    assert "PEM" not in text(command)


def test_a_build_gets_its_context_by_standard_input(programs: Programs, tmp_path: Path) -> None:
    programs.add(
        "docker",
        f"""[ "$1" = build ] || exit 1
cat > {tmp_path}/context
printf '%s\\n' "$@" > {tmp_path}/words""",
    )
    programs.add("flock")
    (command,) = MAKING["built_image"]()
    script = text(command).replace("/run/lock/", f"{tmp_path}/")
    assert programs.run(script, stdin(command)).returncode == 0
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "context").read_bytes())) as tar:
        assert {"Dockerfile", ".build/env"} <= set(tar.getnames())
    image = IMAGES.built[0]
    words = (tmp_path / "words").read_text().splitlines()
    assert f"BASE={image.base}" in words
    assert image.reference in words
    assert "integrable-jupyterhub.image=database" in words
    assert "--target" not in words


def test_a_build_of_a_stage_names_it() -> None:
    notebook = IMAGES.built[-1]
    given = {facts.MissingImages: [notebook.reference]}
    (command,) = commands(operations.built_image, given, image=notebook, settings=SETTINGS)
    assert f" --target full --tag {notebook.reference} " in text(command)


def test_a_failed_build_shows_its_last_lines(programs: Programs, tmp_path: Path) -> None:
    said = "#9 [2/4] RUN apt-get install x\n#9 0.51 E: no such package\nERROR: failed to solve"
    programs.add("docker", f"[ $1 = build ] && cat <<'END'\n{said}\nEND\nexit 1")
    programs.add("flock")
    programs.add("systemctl")
    (command,) = MAKING["built_image"]()
    script = text(command).replace("/run/lock/", f"{tmp_path}/")
    done = programs.run(script, stdin(command))
    assert done.returncode == 1
    assert done.stderr == (
        f"{said}\nimage database: not built: E: no such package; no service was replaced;"
        " mend it and deploy again\n"
    )


def test_a_context_that_nobody_needs_any_more_is_read_to_its_end(
    programs: Programs, tmp_path: Path
) -> None:
    """Or whoever sends it finds the connection closed."""
    programs.add("docker")  # the image is there by now
    programs.add("flock")
    (command,) = MAKING["built_image"]()
    script = text(command).replace("/run/lock/", f"{tmp_path}/")
    with subprocess.Popen(
        ["sh", "-c", script],
        stdin=subprocess.PIPE,
        env={"PATH": f"{programs.folder}:/usr/bin:/bin"},
    ) as run:
        assert run.stdin
        for _ in range(100):
            run.stdin.write(b"A" * 100_000)
            run.stdin.flush()
        run.stdin.close()
    assert run.returncode == 0


def test_builds_leave_half_of_the_cores(programs: Programs, tmp_path: Path) -> None:
    programs.add("nproc", "echo 6")
    for program in ("docker", "systemctl"):
        programs.add(program, f'echo "{program} $*" >> {tmp_path}/said; [ $1 != image ]')
    programs.add("flock")
    (command,) = MAKING["built_image"]()
    assert programs.run(text(command).replace("/run/lock/", f"{tmp_path}/")).returncode == 0
    said = (tmp_path / "said").read_text().splitlines()
    assert said[1].startswith(
        "systemctl set-property --runtime jupyterhubbuilds.slice CPUQuota=300%"
    )
    assert said[2] == "systemctl start jupyterhubbuilds.slice"
    assert " --cgroup-parent jupyterhubbuilds.slice " in said[3]


def test_an_image_that_another_run_made_meanwhile_is_not_built_again(
    programs: Programs, tmp_path: Path
) -> None:
    programs.add("docker", '[ "$1 $2" = "image inspect" ] || { echo built >&2; exit 1; }')
    programs.add("flock")
    (command,) = MAKING["built_image"]()
    done = programs.run(text(command).replace("/run/lock/", f"{tmp_path}/"), stdin(command))
    assert (done.returncode, done.stderr) == (0, "")


def test_an_image_that_nobody_has_is_one_line(programs: Programs) -> None:
    programs.add("docker", "exit 1")
    (command,) = MAKING["pulled_image"]()
    done = programs.run(text(command))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("notebook_image: mine:1 ")


def test_old_images_are_deleted_and_old_build_caches_with_them() -> None:
    assert list(map(text, MAKING["prune_images"]())) == [
        "docker image rm hub:1 hub:2",
        "docker builder prune --force --filter until=168h",
    ]


def test_with_nothing_old_nothing_is_deleted() -> None:
    given = {facts.OurImages: OLD[2:], facts.Releases: HISTORY}
    assert commands(operations.prune_images, given, settings=SETTINGS) == []


# --- The database of before ----------------------------------------------------------------------
@pytest.mark.parametrize("age", [None, 0, 6])
def test_the_cluster_of_before_is_kept_for_a_week(age: int | None) -> None:
    assert commands(operations.forgotten_cluster, {facts.VolumeAge: age}) == []
    gone = MAKING["forgotten_cluster"]()
    assert list(map(text, gone)) == ["docker volume rm jupyterhub_db_before"]


# --- Releases --------------------------------------------------------------------------------
def test_what_runs_is_recorded_once() -> None:
    *_, keep = MAKING["keep_release"]()
    release = text(keep).split()[-1]
    recorded = History(current=release)
    assert commands(operations.keep_release, {facts.Releases: recorded}, settings=SETTINGS) == []


def test_containers_of_before_are_removed_at_the_end() -> None:
    *_, keep = MAKING["keep_release"]()
    recorded = History(current=text(keep).split()[-1], previous=("jupyterhub_hub",))
    assert commands(operations.keep_release, {facts.Releases: recorded}, settings=SETTINGS)


def test_the_oldest_records_are_deleted() -> None:
    many = tuple(Release(f"r{n}", Content(), made=-n) for n in range(7))
    *_, remove = commands(
        operations.keep_release, {facts.Releases: History(many)}, settings=SETTINGS
    )
    folder = "/var/lib/integrable-jupyterhub/releases"
    assert text(remove) == f"rm -rf {folder}/r4 {folder}/r5 {folder}/r6"


def test_what_runs_already_needs_no_rollback() -> None:
    given = {facts.Releases: HISTORY}
    assert commands(operations.rollback, given, release=RELEASE) == []


# --- Secrets and certificates ----------------------------------------------------------------
def secrets_for(services: tuple[str, ...], changes: dict[str, str]) -> list[StringCommand]:
    given = {facts.Secrets: SECRETS | changes}
    return commands(operations.secrets, given, wanted=ALL_SECRETS, services=services)


def test_secrets_that_are_there_stay() -> None:
    assert secrets_for(("service-admin",), {}) == []


@pytest.mark.parametrize(
    "changes",
    [
        {".": "755 0 0"},
        {"proxy_token": ""},
        {"proxy_token": f"644 0 {SERVICES_GROUP}"},
        {"cookie_secret": f"640 1000 {SERVICES_GROUP}"},
        {"services": "service-admin lms"},
    ],
)
def test_secrets_that_differ_are_mended(changes: dict[str, str]) -> None:
    assert len(secrets_for(("service-admin",), changes)) == 1


def test_a_new_service_is_a_change() -> None:
    assert len(secrets_for(("service-admin", "lms"), {})) == 1


class Host:
    """Programs of a host where the TLS folder is a temporary one."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        programs.add("chown")
        self.programs = programs
        self.folder = str(folder)

    def certificate(self) -> list[str]:
        """What the fact says now; the owner is whoever runs this test."""
        fact = facts.Certificate()
        found = fact.process(self.programs.output(str(fact.command(directory=self.folder))))
        return [f"640 0 {SERVICES_GROUP}" if line.startswith("640 ") else line for line in found]

    def deploy(self, url: str, *, keep: bool = False) -> int:
        """Run the operation for real; return how many commands it took."""
        made = commands(
            operations.self_signed_certificate,
            {facts.Certificate: self.certificate()},
            directory=self.folder,
            names=names(settings(public_url=url)),
            keep=keep,
        )
        for command in made:
            quick = text(command).replace("rsa:3072", "rsa:2048")
            done = self.programs.run(quick)
            assert done.returncode == 0, done.stderr
        return len(made)


@pytest.fixture
def tls_host(programs: Programs, tmp_path: Path) -> Host:
    return Host(programs, tmp_path / "tls")


@pytest.mark.parametrize(
    "url",
    [
        "https://hub.example.org",
        "https://192.0.2.7:8443",
        "https://[2001:db8::7]",
    ],
)
def test_a_certificate_is_made_once(url: str, tls_host: Host) -> None:
    assert tls_host.deploy(url) == 1
    assert tls_host.deploy(url) == 0


def test_another_public_name_needs_another_certificate(tls_host: Host) -> None:
    tls_host.deploy("https://hub.example.org")
    assert tls_host.deploy("https://other.example.org") == 1
    assert "DNS:other.example.org" in tls_host.certificate()[1]


def test_a_key_of_another_certificate_is_replaced(tls_host: Host) -> None:
    tls_host.deploy("https://hub.example.org")
    key = Path(tls_host.folder) / "tls.key"
    key.write_text(
        subprocess.check_output(["openssl", "genpkey", "-algorithm", "ED25519"], text=True)
    )
    assert tls_host.deploy("https://hub.example.org") == 1


def test_a_key_that_others_may_read_is_replaced(tls_host: Host) -> None:
    tls_host.deploy("https://hub.example.org")
    (Path(tls_host.folder) / "tls.key").chmod(0o644)
    assert tls_host.deploy("https://hub.example.org") == 1


def test_a_certificate_is_renewed_before_it_expires(tls_host: Host) -> None:
    tls_host.deploy("https://hub.example.org")
    (command,) = MAKING["self_signed_certificate"]()
    days = int(shlex.split(text(command))[shlex.split(text(command)).index("-days") + 1])
    later = 'openssl() { command openssl "$@"; }\n'
    check = str(facts.Certificate().command(directory=tls_host.folder))
    seconds = (days - 29) * 86400
    aged = check.replace("-checkend 2592000", f"-checkend {seconds + 2592000}")
    assert aged != check
    assert "valid" not in tls_host.programs.output(later + aged)


def test_a_certificate_of_the_hosts_own_stays_while_it_fits_its_key(tls_host: Host) -> None:
    tls_host.deploy("https://hub.example.org")
    other = "https://other.example.org"
    assert tls_host.deploy(other, keep=True) == 0
    key = Path(tls_host.folder) / "tls.key"
    key.unlink()
    assert tls_host.deploy(other, keep=True) == 1


@pytest.mark.parametrize(("days", "word"), [(31, "valid"), (29, "ending"), (20, "expiring")])
def test_a_certificate_is_warned_of_before_it_ends(tls_host: Host, days: int, word: str) -> None:
    made = text(MAKING["self_signed_certificate"]()[0]).replace("-days 825", f"-days {days}")
    quick = made.replace("rsa:3072", "rsa:2048")
    folder = "/etc/integrable-jupyterhub/tls"
    assert tls_host.programs.run(quick.replace(folder, tls_host.folder)).returncode == 0
    assert tls_host.certificate()[0] == word


def test_a_served_certificate_needs_nothing() -> None:
    given = {facts.ServedCertificate: True}
    assert commands(operations.served_certificate, given, directory="/x", address="a:1") == []


# --- Containers ------------------------------------------------------------------------------
DIGEST = SERVICE.digest("sha256:1", "f")
RUNNING = ContainerState("sha256:1", "f", DIGEST, True, "healthy")


def test_a_container_as_it_should_be_is_left_alone() -> None:
    host = FakeHost({facts.Container: RUNNING})
    with ctx_host.use(host):
        assert list(operations.container._inner(service=SERVICE)) == []
    assert host.noops == ["jupyterhub_hub is as it should be"]


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": None, "running": None, "health": None},
        {"files_digest": "edited"},
        {"running": False},
        {"health": "unhealthy"},
    ],
)
def test_any_other_is_for_the_program_that_hands_over(changes: dict[str, Any]) -> None:
    given = {facts.Container: replace(RUNNING, **changes)}
    (command,) = commands(operations.container, given, service=SERVICE)
    assert text(command).endswith("/etc/integrable-jupyterhub/release.sh run")
    assert stdin(command) == SERVICE.definition()


# --- Maintenance -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("state", "changes"),
    [
        (Drain(), True),
        (Drain(drained=True, minutes=5, deadline=1), False),
        (Drain(drained=True, minutes=6, deadline=1), True),
        (Drain(drained=True), True),
    ],
)
def test_to_drain_again_moves_no_deadline_but_for_another_one(state: Drain, changes: bool) -> None:
    made = commands(operations.drain, {facts.Drain: state}, minutes=5)
    assert bool(made) == changes


def test_a_hub_that_is_not_drained_need_not_be_undrained() -> None:
    assert commands(operations.undrain, {facts.Drain: Drain()}) == []
    assert commands(operations.undrain, {facts.Drain: None}) == []


def test_where_nothing_is_to_be_patched_nobody_is_bothered() -> None:
    calm = DONE | {facts.Drain: Drain()}
    assert commands(operations.drain_to_patch, calm, minutes=5) == []
    assert commands(operations.sessions_ended, DONE) == []
    assert commands(operations.updates, calm) == []
    assert commands(operations.reboot, calm) == []


@pytest.mark.parametrize("due", [{facts.Updates: ["x"]}, {facts.RebootDue: ["a kernel"]}])
def test_an_update_or_a_reboot_is_due(due: dict[Any, Any]) -> None:
    assert commands(operations.drain_to_patch, DONE | {facts.Drain: Drain()} | due, minutes=5)


def test_a_patch_that_goes_on_keeps_the_deadline() -> None:
    assert commands(operations.drain_to_patch, DUE | {facts.Drain: DRAINED}, minutes=5) == []
    without = Drain(drained=True)
    assert commands(operations.drain_to_patch, DUE | {facts.Drain: without}, minutes=5)


def test_the_engines_hold_comes_back_whatever_the_update_does() -> None:
    (command,) = MAKING["updates"]()
    lines = text(command).splitlines()
    (held,) = [n for n, line in enumerate(lines) if "trap 'hold hold' EXIT; hold unhold" in line]
    assert lines[held + 1].endswith("full-upgrade")


def test_what_is_noted_is_not_noted_again_and_what_is_held_not_held() -> None:
    assert commands(operations.note_before, {facts.Noted: True}) == []
    assert commands(operations.held_engine, {facts.Unheld: []}) == []


def test_what_goes_down_is_told_to_and_never_the_one_that_tells(tmp_path: Path) -> None:
    """A service that does not run has the pid 0: everybody of the caller's, for `kill`."""
    programs = Programs(tmp_path / "bin")
    programs.says("docker", "0\n4194305")
    programs.add("systemctl", f'echo "$*" >> {tmp_path}/asked')
    programs.add("sleep")
    done = programs.run(f'kill() {{ echo kill "$@" >> {tmp_path}/asked; }}\n{operations.GO_DOWN}')
    asked = (tmp_path / "asked").read_text().splitlines()
    assert (done.returncode, asked[:2]) == (0, ["stop docker.socket docker", "kill -TERM 4194305"])
    assert asked[-1] == "reboot"


def test_a_reboot_is_ordered_as_the_operation_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyinfra's own arguments, sudo for one, reach no command of a function by themselves."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    boots, given = iter(["1", "2"]), []
    rebooting = SimpleNamespace(
        current_op_global_arguments={"_sudo": True, "name": "Reboot"},
        get_fact=lambda fact: next(boots),
        run_shell_command=lambda command, **arguments: given.append(arguments),
        connector_data={},
        connected=True,
        connect=lambda **options: None,
        disconnect=lambda: None,
    )
    assert _reboot(None, rebooting, 9)
    assert given == [{"_sudo": True}]


def test_services_that_serve_are_not_waited_for() -> None:
    assert commands(operations.serving, {facts.NotServing: []}, services=(SERVICE,)) == []


@pytest.mark.parametrize("told", [[], ["stays: backups in /x"]])
def test_a_host_without_anything_of_ours_is_left_alone(told: list[str]) -> None:
    made = commands(operations.uninstall, {facts.Ours: told}, removal=REMOVAL, daemon_json="")
    assert made == []


def test_what_daemon_json_becomes_is_in_no_argument() -> None:
    made = commands(
        operations.uninstall, {facts.Ours: ["x"]}, removal=REMOVAL, daemon_json='{"proxy": "pw"}'
    )
    assert "pw" not in flat(made)
    assert stdin(made[0]) == '{"proxy": "pw"}'
