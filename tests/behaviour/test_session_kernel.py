"""What a session can ask of the kernel and of Docker's resolver.

Each probe runs in a session that the hub has spawned, and again in containers of the same image
that nothing confines: what is refused here is there.
"""

from __future__ import annotations

import errno
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import docker
import pytest
from docker.models.containers import Container

from tests.lab import Host
from tests.lab.client import Session
from tests.sessions import address_of, name_of, never_lost, session_containers

HUB, DATABASE, PROXY = "172.27.0.2", "172.27.0.3", "172.27.0.4"
NETWORK = "jupyterhub_network"

# Prints {probe: errno, 0, or minus the signal that ended it}.
SYSTEM_CALLS = """
import ctypes, errno, json, mmap, os, signal, socket, struct, threading, time
libc = ctypes.CDLL(None, use_errno=True)
none = ctypes.c_long(0)

def call(number, *arguments):
    padded = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return 0 if libc.syscall(ctypes.c_long(number), *padded) >= 0 else ctypes.get_errno()

def sock(family, kind, protocol=0):
    try:
        socket.socket(family, kind, protocol).close()
        return 0
    except OSError as error:
        return error.errno

def child(act):  # in a process of its own: it may be killed, or change what it is part of
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(act())
        finally:
            os._exit(99)
    status = os.waitpid(pid, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

def machine_code(code):
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex(code))
    at = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return 0 if ctypes.CFUNCTYPE(ctypes.c_int)(at)() > 0 else errno.ENOSYS

def trace(request):
    target = os.fork()
    if target == 0:
        time.sleep(30)
        os._exit(0)
    result = call(101, request, target, none, none)
    os.kill(target, signal.SIGKILL)
    return result

def peek():
    own = ctypes.create_string_buffer(8)
    vector = (ctypes.c_long * 2)(ctypes.addressof(own), 8)
    return call(310, os.getppid(), vector, 0, vector, 0, 0)

room = ctypes.create_string_buffer(4096)
perf = ctypes.create_string_buffer(struct.pack("IIQ", 1, 128, 0), 128)  # software: CPU clock
print(json.dumps({
    "AF_ALG": sock(38, socket.SOCK_SEQPACKET),
    "AF_VSOCK": sock(40, socket.SOCK_STREAM),
    "AF_PACKET": sock(17, socket.SOCK_RAW, 0x300),
    "AF_PACKET cooked": sock(17, socket.SOCK_DGRAM, 0x300),
    "raw ICMP": sock(socket.AF_INET, socket.SOCK_RAW, 1),
    "raw IP": sock(socket.AF_INET, socket.SOCK_RAW, 255),
    "raw ICMPv6": sock(socket.AF_INET6, socket.SOCK_RAW, 58),
    "ping": sock(socket.AF_INET, socket.SOCK_DGRAM, 1),
    "MPTCP": sock(socket.AF_INET, socket.SOCK_STREAM, 262),
    "NETLINK_NETFILTER": sock(16, socket.SOCK_RAW, 12),
    "NETLINK_XFRM": sock(16, socket.SOCK_RAW, 6),
    "io_uring_setup": call(425, 4, room),
    "bpf": call(321, 0, room, 72),
    "userfaultfd": call(323, 1),
    "keyctl": call(250, 0, -3, 1),
    "add_key": call(248, b"user", b"x", b"y", 1, -3),
    "perf_event_open": call(298, perf, 0, -1, -1, 0),
    "unshare CLONE_NEWUSER": child(lambda: call(272, 0x10000000)),
    "clone CLONE_NEWUSER": child(lambda: call(56, 0x10000011, none, none, none, none)),
    "setns": child(lambda: call(308, os.open("/proc/self/ns/uts", os.O_RDONLY), 0)),
    "clone3": call(435, none, 0),
    "mount": child(lambda: call(165, b"none", b"/mnt", b"tmpfs", 0, none)),
    "fsopen": call(430, b"tmpfs", 0),
    "open_tree": call(428, -100, b"/", 1),
    "ptrace attach": child(lambda: trace(16)),
    "ptrace seize": child(lambda: trace(0x4206)),
    "process_vm_readv": child(peek),
    "io_setup": call(206, 1, ctypes.create_string_buffer(8)),
    "personality without randomisation": child(lambda: call(135, 0x0040000)),
    "modify_ldt": call(154, 0, room, 16),
    "memfd_secret": call(447, 0),
    "32-bit": child(lambda: machine_code("b814000000cd80c3")),  # getpid by int 0x80
    "x32": child(lambda: machine_code("b8270000400f05c3")),  # getpid, with x32's bit
    # and what a session needs
    "+ TCP": sock(socket.AF_INET, socket.SOCK_STREAM),
    "+ UDP over IPv6": sock(socket.AF_INET6, socket.SOCK_DGRAM),
    "+ Unix": sock(socket.AF_UNIX, socket.SOCK_SEQPACKET),
    "+ NETLINK_ROUTE": sock(16, socket.SOCK_RAW, 0),
    "+ thread": (lambda t: t.start() or t.join() or 0)(threading.Thread(target=int)),
    "+ process": child(lambda: 0),
    "+ inotify": call(294, 0),
    "+ memfd_create": call(319, b"x", 0),
}))
"""
NEEDED = "+ "
EXPECTED = {
    # A library then takes the older way.
    "clone3": errno.ENOSYS,
    "io_setup": errno.ENOSYS,
    "32-bit": -signal.SIGSYS,
    "x32": -signal.SIGSYS,
}
NOT_IN_THE_KERNEL = {errno.ENOSYS, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, -signal.SIGSEGV}


def in_session(session: Session, code: str) -> Any:
    """What a script prints in a kernel of the session, as JSON."""
    result = session.run(code)
    assert result.error is None, result.text
    return json.loads(result.stdout)


def image_of(session: Session, containers: docker.DockerClient) -> str:
    image: str = session_containers(containers)[name_of(session)].attrs["Image"]
    return image


@dataclass(frozen=True)
class Unconfined:
    """A container of the session's image, on its network, without any of its confinement."""

    container: Container

    def run(self, code: str) -> Any:
        done = self.container.exec_run(["python3", "-c", code])
        assert done.exit_code == 0, done.output
        return json.loads(cast(bytes, done.output))


@pytest.fixture
def unconfined(
    session: Session, containers: docker.DockerClient
) -> Iterator[Callable[..., Unconfined]]:
    made: list[Container] = []
    image = image_of(session, containers)

    def make(**options: Any) -> Unconfined:
        made.append(
            containers.containers.create(
                image, ["sleep", "60"], entrypoint=[], network=NETWORK, **options
            )
        )
        never_lost(made[-1].start)
        return Unconfined(made[-1])

    yield make
    for container in made:
        container.remove(force=True)


def test_the_kernel_refuses_a_session_what_it_does_not_need(
    session: Session, unconfined: Callable[..., Unconfined]
) -> None:
    found = in_session(session, SYSTEM_CALLS)
    controls = {
        "same rights": unconfined(
            user="1900000999:100", cap_drop=["ALL"], security_opt=["seccomp=unconfined"]
        ).run(SYSTEM_CALLS),
        "all rights": unconfined(user="0", privileged=True).run(SYSTEM_CALLS),
    }
    print(f"\n{'':36}{'session':>8}{'same rights':>14}{'all rights':>14}   without our profile")
    for probe, told in found.items():
        others = "".join(f"{control[probe]:>14}" for control in controls.values())
        print(f"{probe:36}{told:>8}{others}")

    refused = {probe for probe in found if not probe.startswith(NEEDED)}
    assert {p: found[p] for p in refused} == {p: EXPECTED.get(p, errno.EPERM) for p in refused}
    assert {p: told for p, told in found.items() if p not in refused and told} == {}
    # The positive control: something else answers where nothing confines. A kernel that does not
    # have it at all says so, which is another answer than the profile's.
    unproven = [
        p for p in refused if all(c[p] in (found[p], errno.EPERM) for c in controls.values())
    ]
    lacking = [p for p in unproven if controls["all rights"][p] in NOT_IN_THE_KERNEL]
    assert unproven == lacking
    assert len(lacking) <= 2, lacking


def test_a_session_runs_under_our_profile_only(
    session: Session, containers: docker.DockerClient
) -> None:
    told = in_session(
        session,
        "import json; print(json.dumps(dict(line.rstrip().split(':\\t', 1) for line in"
        " open('/proc/self/status') if line.startswith(('Seccomp', 'NoNewPrivs', 'Cap')))))",
    )
    assert {told[key] for key in told if key.startswith("Cap")} == {"0000000000000000"}
    assert (told["NoNewPrivs"], told["Seccomp"]) == ("1", "2")
    host = session_containers(containers)[name_of(session)].attrs["HostConfig"]
    assert host["Runtime"] == "integrable-jupyterhub-session"


# --- Names ---------------------------------------------------------------------------------
# Prints what Docker's resolver answers, by UDP and TCP, at port 53 and at the ports behind it.
RESOLVER = """
import json, pathlib, socket, struct, time
def query(name):
    labels = b"".join(bytes([len(p)]) + p.encode() for p in name.split("."))
    return struct.pack(">6H", 4711, 0x100, 1, 0, 0, 0) + labels + bytes([0, 0, 1, 0, 1])
def ask(kind, port):
    started, message = time.monotonic(), query("jupyterhub_db")
    try:
        with socket.socket(socket.AF_INET, kind) as s:
            s.settimeout(10)
            s.connect(("127.0.0.11", port))
            tcp = kind == socket.SOCK_STREAM
            s.send((struct.pack(">H", len(message)) if tcp else b"") + message)
            told = "answered" if s.recv(512)[2 if tcp else 0:][:2] == message[:2] else "garbled"
    except OSError as error:
        told = type(error).__name__
    return told if time.monotonic() - started < 5 else told + " late"
def ports(table):
    lines = pathlib.Path("/proc/net", table).read_text().splitlines()[1:]
    local = [line.split()[1].split(":") for line in lines]
    return [int(port, 16) for address, port in local if address == "0B00007F"]
def name(what, *arguments):
    started = time.monotonic()
    try:
        told = what(*arguments)
    except OSError:
        told = None
    return told if time.monotonic() - started < 5 else "late"
print(json.dumps({
    "udp 53": ask(socket.SOCK_DGRAM, 53),
    "tcp 53": ask(socket.SOCK_STREAM, 53),
    "udp behind": [ask(socket.SOCK_DGRAM, port) for port in ports("udp")],
    "tcp behind": [ask(socket.SOCK_STREAM, port) for port in ports("tcp")],
    "names": {n: name(socket.gethostbyname, n) for n in NAMES},
    "addresses": {a: (name(socket.gethostbyaddr, a) or [None])[0] for a in ADDRESSES},
}))
"""
DEAD = {"ConnectionRefusedError", "PermissionError"}


def test_dockers_resolver_is_dead_and_hub_and_proxy_have_their_names(
    session: Session,
    open_session: Callable[[], Session],
    containers: docker.DockerClient,
    unconfined: Callable[..., Unconfined],
) -> None:
    neighbour = open_session()
    container = session_containers(containers)[name_of(neighbour)]
    names = ["jupyterhub_hub", "jupyterhub_proxy", "jupyterhub_db", container.name, "example.org"]
    addresses = [DATABASE, address_of(neighbour, containers)]
    code = f"NAMES, ADDRESSES = {names!r}, {addresses!r}\n{RESOLVER}"

    found = in_session(session, code)
    assert {found["udp 53"], found["tcp 53"], *found["udp behind"], *found["tcp behind"]} <= DEAD
    assert len(found["udp behind"]) == len(found["tcp behind"]) == 1  # it does listen
    assert found["names"] == dict.fromkeys(names) | {
        "jupyterhub_hub": HUB,
        "jupyterhub_proxy": PROXY,
    }
    assert found["addresses"] == dict.fromkeys(addresses)

    # The positive control: it answers any other container of the network, and tells all names.
    control = unconfined().run(code.replace("'example.org'", "'jupyterhub_proxy'"))
    assert (control["udp 53"], control["tcp 53"]) == ("answered", "answered")
    assert control["udp behind"] == control["tcp behind"] == ["answered"]
    assert control["names"][container.name] == addresses[1]
    assert control["names"]["jupyterhub_db"] == DATABASE
    assert control["addresses"][DATABASE].startswith("jupyterhub_db")


def test_a_container_without_its_firewall_does_not_start(
    session: Session, containers: docker.DockerClient, host: Host
) -> None:
    image = image_of(session, containers)
    rules = "/etc/integrable-jupyterhub/session/network.nft"
    options: dict[str, Any] = {
        "entrypoint": [],
        "runtime": "integrable-jupyterhub-session",
        "network": NETWORK,
    }
    echo = partial(containers.containers.run, image, ["echo", "runs"], remove=True, **options)
    assert never_lost(echo) == b"runs\n"
    before = {container.id for container in containers.containers.list(ignore_removed=True)}
    host.sh(f"cp -p {rules} {rules}.kept; echo nonsense > {rules}")
    try:
        broken = containers.containers.create(image, ["echo", "runs"], **options)
        with pytest.raises(docker.errors.APIError, match="the session's firewall can't be loaded"):
            broken.start()
        assert broken.logs(stdout=True, stderr=False) == b""
        broken.remove(force=True)
    finally:
        host.sh(f"mv {rules}.kept {rules}")
    assert {container.id for container in containers.containers.list(ignore_removed=True)} <= before
    assert never_lost(echo) == b"runs\n"
