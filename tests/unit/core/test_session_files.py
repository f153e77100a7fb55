"""What a session's container is made of on the host's side, as text; and what it then may do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hubhost.engine import SESSION_RUNTIME_PATH
from hubhost.sessions import session_files
from hubhost.templates import FILES
from tests.unit.core.sample import settings

FILES_OF_SESSIONS = {file.path.name: file for file in session_files(settings())}

# --- Files ---------------------------------------------------------------------------------
NETWORK = """\
table inet session {
    chain before {
        type filter hook output priority raw; policy accept;
        ip daddr 127.0.0.11 meta l4proto tcp reject with tcp reset
        ip daddr 127.0.0.11 reject
        oif lo notrack
    }
    chain opened {
        type filter hook output priority mangle; policy accept;
        ip daddr 172.27.0.2 tcp dport 8081 limit rate over 16 kbytes/second burst 128 kbytes drop
        ip daddr 172.27.0.4 tcp dport 8000 limit rate over 16 kbytes/second burst 128 kbytes drop
        ct state != new accept
        limit rate over 20/second burst 60 packets drop
        meta l4proto tcp ct count over 64 reject with tcp reset
    }
    chain answered {
        type filter hook input priority filter; policy accept;
        ip saddr 172.27.0.2 tcp sport 8081 limit rate over 1024 kbytes/second burst 4096 kbytes drop
        ip saddr 172.27.0.4 tcp sport 8000 limit rate over 1024 kbytes/second burst 4096 kbytes drop
    }
}
"""


def without_comments(text: str) -> str:
    return "".join(line for line in text.splitlines(True) if not line.lstrip().startswith("#"))


def test_only_the_runtime_is_a_program_and_only_root_changes_them() -> None:
    modes = {name: (file.mode, file.group) for name, file in FILES_OF_SESSIONS.items()}
    assert modes == {
        "runtime": (0o755, 0),
        "network.nft": (0o644, 0),
        "resolv.conf": (0o644, 0),
        "seccomp.json": (0o644, 0),
    }


def test_the_runtime_is_where_docker_looks_for_it() -> None:
    assert FILES_OF_SESSIONS["runtime"].path == SESSION_RUNTIME_PATH


def test_the_firewall_of_a_session_to_the_letter() -> None:
    assert without_comments(FILES_OF_SESSIONS["network.nft"].content) == NETWORK


def test_the_doors_are_those_of_the_settings() -> None:
    changed = settings(hub_ip="172.27.5.6", proxy_ip="172.27.7.8")
    (network,) = [f for f in session_files(changed) if f.path.name == "network.nft"]
    assert re.findall(r"ip daddr (172\S+ tcp dport \d+)", network.content) == [
        "172.27.5.6 tcp dport 8081",
        "172.27.7.8 tcp dport 8000",
    ]


def test_names_fail_at_once_and_dockers_resolver_is_not_asked() -> None:
    assert without_comments(FILES_OF_SESSIONS["resolv.conf"].content) == (
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"
    )


# --- System calls: the profile, evaluated as libseccomp does ---------------------------------
PROFILE: dict[str, Any] = json.loads(FILES_OF_SESSIONS["seccomp.json"].content)
RULES: list[dict[str, Any]] = PROFILE["syscalls"]
ALLOWED, EPERM, ENOSYS = "allowed", 1, 38


def holds(condition: dict[str, Any], arguments: tuple[int, ...]) -> bool:
    value = arguments[condition["index"]]
    if condition["op"] == "SCMP_CMP_EQ":
        return bool(value == condition["value"])
    assert condition["op"] == "SCMP_CMP_MASKED_EQ"
    return bool(value & condition["value"] == condition["valueTwo"])


def verdict(name: str, *arguments: int) -> str | int:
    """What a call comes to: ALLOWED, or an errno. `arguments` are as wide as registers."""
    given = (*arguments, 0, 0, 0, 0, 0, 0)
    found: set[str | int] = {
        ALLOWED if rule["action"] == "SCMP_ACT_ALLOW" else rule["errnoRet"]
        for rule in RULES
        if name in rule["names"] and all(holds(c, given) for c in rule.get("args", ()))
    }
    assert len(found) <= 1, f"rules for {name} contradict each other"
    return found.pop() if found else EPERM


UNIX, INET, INET6, NETLINK, PACKET, ALG, VSOCK = 1, 2, 10, 16, 17, 38, 40
STREAM, DGRAM, RAW, RDM, SEQPACKET, DCCP = 1, 2, 3, 4, 5, 6
CLOEXEC, NONBLOCK, HIGH = 0o2000000, 0o4000, 1 << 32
THREAD = 0x3D0F00  # what glibc makes a thread with
NEWUSER, NEWNET, NEWNS = 0x10000000, 0x40000000, 0x20000

CALLS: list[tuple[str, tuple[int, ...], str | int]] = [
    ("openat", (), ALLOWED),
    ("execve", (), ALLOWED),
    ("rseq", (), ALLOWED),
    ("fchmodat2", (), ALLOWED),
    ("inotify_add_watch", (), ALLOWED),
    # threads and processes, but no namespaces
    ("clone", (THREAD,), ALLOWED),
    ("clone", (17,), ALLOWED),
    ("clone", (17 | NEWUSER,), EPERM),
    ("clone", (17 | NEWNET | NEWUSER,), EPERM),
    ("clone", (17 | NEWNS,), EPERM),
    ("clone3", (), ENOSYS),
    ("unshare", (NEWUSER,), EPERM),
    ("setns", (), EPERM),
    # sockets
    ("socket", (UNIX, STREAM | CLOEXEC | NONBLOCK, 0), ALLOWED),
    ("socket", (UNIX, DGRAM, 0), ALLOWED),
    ("socket", (UNIX, SEQPACKET, 0), ALLOWED),
    ("socket", (INET, STREAM, 0), ALLOWED),
    ("socket", (INET, STREAM | CLOEXEC, 6), ALLOWED),
    ("socket", (INET6, DGRAM | NONBLOCK, 17), ALLOWED),
    ("socket", (INET6, STREAM, 6), ALLOWED),
    ("socket", (INET, RAW, 1), EPERM),
    ("socket", (INET, RAW | CLOEXEC, 255), EPERM),
    ("socket", (INET6, RAW, 58), EPERM),
    ("socket", (INET, DGRAM, 1), EPERM),  # ICMP without a capability
    ("socket", (INET, STREAM, 262), EPERM),  # MPTCP
    ("socket", (INET, STREAM, 132), EPERM),  # SCTP
    ("socket", (INET, SEQPACKET, 0), EPERM),
    ("socket", (INET, DCCP, 33), EPERM),
    ("socket", (INET, RDM, 0), EPERM),
    ("socket", (INET | HIGH, STREAM, 0), EPERM),
    ("socket", (NETLINK, RAW | CLOEXEC, 0), ALLOWED),  # NETLINK_ROUTE
    ("socket", (NETLINK, DGRAM, 0), ALLOWED),
    ("socket", (NETLINK, RAW, 12), EPERM),  # NETLINK_NETFILTER
    ("socket", (NETLINK, RAW, HIGH), EPERM),
    ("socket", (PACKET, RAW, 0x300), EPERM),
    ("socket", (PACKET, DGRAM, 0x300), EPERM),
    ("socket", (ALG, SEQPACKET, 0), EPERM),
    ("socket", (VSOCK, STREAM, 0), EPERM),
    ("socketpair", (UNIX, STREAM, 0), ALLOWED),
    ("socketpair", (30, STREAM, 0), EPERM),  # TIPC
    # personalities: not the one that switches address randomisation off, nor another system's
    ("personality", (0,), ALLOWED),
    ("personality", (8,), ALLOWED),
    ("personality", (0xFFFFFFFF,), ALLOWED),
    ("personality", (0x0040000,), EPERM),
    ("personality", (0x0040008,), EPERM),
    ("personality", (2,), EPERM),
]
REFUSED = (
    "add_key bpf delete_module fanotify_init finit_module fsmount fsopen init_module"
    " io_uring_enter io_uring_register io_uring_setup kexec_file_load kexec_load keyctl"
    " mount mount_setattr move_mount open_by_handle_at open_tree perf_event_open pidfd_getfd"
    " pivot_root process_vm_readv process_vm_writev ptrace request_key setns swapon syslog"
    " umount2 unshare userfaultfd modify_ldt memfd_secret chroot quotactl reboot"
)


@pytest.mark.parametrize(("name", "arguments", "expected"), CALLS)
def test_a_system_call(name: str, arguments: tuple[int, ...], expected: str | int) -> None:
    assert verdict(name, *arguments) == expected


def test_no_other_family_of_sockets_exists() -> None:
    kinds = (STREAM, DGRAM, RAW, RDM, SEQPACKET, DCCP)
    families = {f for f in range(64) for kind in kinds if verdict("socket", f, kind, 0) == ALLOWED}
    assert families == {UNIX, INET, INET6, NETLINK}


@pytest.mark.parametrize("name", REFUSED.split())
def test_what_a_session_never_needs_is_refused_whatever_the_arguments(name: str) -> None:
    allowing = [r for r in RULES if name in r["names"] and r["action"] == "SCMP_ACT_ALLOW"]
    assert allowing == []
    assert verdict(name) == EPERM


@pytest.mark.parametrize("name", ["io_setup", "io_submit", "get_mempolicy", "statmount"])
def test_what_a_library_falls_back_from_does_not_exist(name: str) -> None:
    assert verdict(name) == ENOSYS


def test_all_else_is_refused_and_there_is_no_other_architecture() -> None:
    assert PROFILE["defaultAction"] == "SCMP_ACT_ERRNO"
    assert PROFILE["architectures"] == ["SCMP_ARCH_X86_64"]
    assert set(PROFILE) == {"defaultAction", "architectures", "syscalls"}


def test_the_profile_is_the_same_whatever_capabilities_and_kernel() -> None:
    keys = {key for rule in RULES for key in rule}
    assert keys == {"comment", "names", "action", "errnoRet", "args"}


def test_no_call_is_in_two_groups_unless_told_apart_by_its_arguments() -> None:
    plain = [name for rule in RULES if "args" not in rule for name in rule["names"]]
    conditional = {name for rule in RULES if "args" in rule for name in rule["names"]}
    assert len(plain) == len(set(plain))
    assert conditional == {"clone", "personality", "socket", "socketpair"}
    assert not conditional & set(plain)


def test_names_are_in_order() -> None:
    assert [rule["comment"] for rule in RULES if rule["names"] != sorted(rule["names"])] == []


# --- The runtime, with programs that only remember ------------------------------------------
PROGRAM = (
    rf"#!{sys.executable} -IS"
    r"""
import os, pathlib, sys
folder = pathlib.Path(os.environ["FOLDER"])
name = pathlib.Path(sys.argv[0]).name
with open(folder / "log", "a") as log:
    log.write(" ".join([name, *sys.argv[1:]]) + "\n")
if name == "runc" and "--bundle" in sys.argv:
    pathlib.Path(sys.argv[sys.argv.index("--pid-file") + 1]).write_text("4711")
    logged = folder / "session's log"  # the container's first process has runc's descriptors
    os.write(1, logged.read_bytes() if logged.exists() else b"")
failing = folder / f"{name} fails"
if failing.exists():
    sys.exit(failing.read_text())
"""
)
GLOBALS = ("--root", "/run/runc", "--log", "LOG", "--log-format", "json", "--systemd-cgroup")


class Runtime:
    """The script in a folder with its rules, beside a runc and an nsenter that stand in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("runc", "nsenter"):
            (folder / name).write_text(PROGRAM)
            (folder / name).chmod(0o755)
        self.script = folder / "session" / "runtime"
        self.script.parent.mkdir()
        self.script.write_bytes((FILES / "session" / "runtime").read_bytes())
        self.script.chmod(0o755)

    def call(self, *arguments: str) -> tuple[int, list[str], str]:
        """(exit code, what was called, what was said)."""
        (self.folder / "log").write_text("")
        words = [str(self.folder / "log.json") if word == "LOG" else word for word in arguments]
        environment = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "FOLDER": str(self.folder),
        }
        done = subprocess.run(
            [self.script, *words], env=environment, capture_output=True, text=True, check=False
        )
        log = (self.folder / "log").read_text().replace(str(self.folder), "")
        return done.returncode, log.splitlines(), done.stdout + done.stderr

    def create(self) -> tuple[int, list[str], str]:
        pid = str(self.folder / "pid")
        return self.call(*GLOBALS, "create", "--bundle", "/b", "--pid-file", pid, "0a1b2c")

    def fails(self, name: str, told: str) -> None:
        (self.folder / f"{name} fails").write_text(told)


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return Runtime(tmp_path)


CREATE = (
    "runc --root /run/runc --log /log.json --log-format json --systemd-cgroup create --bundle /b"
    " --pid-file /pid 0a1b2c"
)
LOAD = "nsenter --target 4711 --net nft --file /session/network.nft"


def test_the_firewall_is_loaded_when_the_container_is_made(runtime: Runtime) -> None:
    assert runtime.create() == (0, [CREATE, LOAD], "")


def test_without_its_firewall_there_is_no_container_and_docker_says_why(runtime: Runtime) -> None:
    runtime.fails("nsenter", 'line 1: "x" \\ is unknown\nmore')
    code, called, said = runtime.create()
    assert code == 1
    assert called == [CREATE, LOAD, "runc --root /run/runc delete --force 0a1b2c"]
    line = "the session's firewall can't be loaded: line 1: x  is unknown"
    assert said == f"{line}\n"
    (logged,) = (runtime.folder / "log.json").read_text().splitlines()
    assert json.loads(logged) == {"level": "error", "msg": line}


def test_a_sessions_log_goes_to_docker_no_faster_than_64_kb_a_second(runtime: Runtime) -> None:
    log = "a line\n" * 6000
    (runtime.folder / "session's log").write_text(log)
    started = time.monotonic()
    assert runtime.create() == (0, [CREATE, LOAD], log)
    assert time.monotonic() - started >= len(log) / 65536
    assert not (runtime.folder / "pid.log").exists()


def test_a_container_that_cant_be_made_gets_no_firewall(runtime: Runtime) -> None:
    runtime.fails("runc", "no such bundle")
    code, called, said = runtime.create()
    assert (code, called, said) == (1, [CREATE], "no such bundle\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("features",),
        (*GLOBALS[:2], "start", "0a1b2c"),
        ("--root", "create", "delete", "--force", "0a1b2c"),
        ("--log", "create", "state", "create"),
        ("exec", "--process", "/p", "--pid-file", "/pid", "0a1b2c"),
        ("kill", "--all", "0a1b2c", "9"),
    ],
    ids=" ".join,
)
def test_all_else_is_for_runc(runtime: Runtime, arguments: tuple[str, ...]) -> None:
    code, called, said = runtime.call(*arguments)
    words = ["/log.json" if word == "LOG" else word for word in arguments]
    assert (code, called, said) == (0, [" ".join(["runc", *words])], "")


@pytest.mark.parametrize("command", ["run", "restore"])
def test_nothing_starts_in_one_step(runtime: Runtime, command: str) -> None:
    code, called, said = runtime.call(command, "--bundle", "/b", "0a1b2c")
    assert (code, called) == (1, [])
    assert said.endswith(f"{command} would start without the session's firewall\n")


def test_without_runc_it_says_so(runtime: Runtime) -> None:
    script = runtime.script.read_text()
    assert "there is no runc in" in script
    (runtime.folder / "runc").unlink()
    path = re.sub(r"^PATH=.*$", "PATH=/nowhere", script, flags=re.MULTILINE)
    runtime.script.write_text(path)
    code, _, said = runtime.call("state", "x")
    assert code == 1
    assert said.endswith("there is no runc in /nowhere\n")
