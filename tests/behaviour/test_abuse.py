"""What one session does to the others, the hub and the host, when it tries.

Every abuse is bounded: SECONDS long, in one container. Meanwhile a neighbour works: the answers
of its server through the proxy, cells in its kernel, the hub's API and the host's Docker are timed,
and compared with the time before.
"""

from __future__ import annotations

import errno
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import docker
import pytest
from docker.models.containers import Container

from tests.lab import Host
from tests.lab.client import Hub, Session
from tests.sessions import name_of, session_containers

SECONDS = 8
TARGET, LIMIT = 2, 10
"""How much slower a neighbour may become: what we aim at, and what fails on a busy machine too."""

UNNOTICED = 0.1
"""Seconds that nobody notices, so that 6 ms may become 60 on a busy machine."""

PREPARE = f"""
import ctypes, fcntl, json, os, resource, signal, socket, ssl, struct, sys, threading, time
END = time.monotonic() + {SECONDS}
PLACES = ("/home/jovyan", "/tmp", "/dev/shm")
HUB, PROXY = ("172.27.0.2", 8081), ("172.27.0.4", 8000)
def going():
    return time.monotonic() < END
def each(n, act):
    threads = [threading.Thread(target=act, daemon=True) for _ in range(n)]
    for t in threads: t.start()
    for t in threads: t.join()
print("begun", flush=True)
"""


@dataclass
class Abuse:
    """A program that runs in a session, and what it printed at its end, if it lived to see it."""

    container: Container
    code: str
    told: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Abuse:
        command = ["python3", "-c", PREPARE + self.code]
        stream = cast(Iterator[bytes], self.container.exec_run(command, stream=True).output)
        first = next(stream).decode()
        assert first.startswith("begun"), first
        self._reader = threading.Thread(target=self._read, args=(first, stream))
        self._reader.start()
        return self

    def _read(self, first: str, stream: Iterator[bytes]) -> None:
        lines = (first + b"".join(stream).decode(errors="replace")).splitlines()
        for line in lines:
            if line.startswith("{"):
                self.told |= json.loads(line)

    @property
    def goes_on(self) -> bool:
        return self._reader.is_alive()

    def __exit__(self, *_: object) -> None:
        self._reader.join(timeout=3 * SECONDS)
        assert not self._reader.is_alive(), "the abuse is not over"


@dataclass(frozen=True)
class Times:
    """How long something took, in seconds, again and again."""

    values: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def p95(self) -> float:
        return statistics.quantiles([*self.values, *self.values], n=20)[-1]


@dataclass(frozen=True)
class Neighbour:
    """Somebody who works with a session of their own."""

    session: Session
    kernel: str
    hub: Hub
    host: Host

    def _once(self) -> dict[str, Callable[[], object]]:
        return {
            "status": self.session.status,
            "cell": lambda: self.session.run("6*7", kernel=self.kernel),
            "hub": lambda: self.hub.call("GET", f"/users/{name_of(self.session)}", 200),
        }

    def work(self, goes_on: Callable[[], bool]) -> dict[str, Times]:
        """How long each kind of work takes, while it goes on; at least ten times each."""
        taken: dict[str, list[float]] = {kind: [] for kind in (*self._once(), "host")}
        while goes_on() or len(taken["status"]) < 10:
            for kind, act in self._once().items():
                taken[kind].append(_seconds(act))
            if len(taken["status"]) % 2 == 1:
                taken["host"].append(_seconds(lambda: self.host.run("docker", "ps", "-q")))
        return {kind: Times(values) for kind, values in taken.items()}


def _seconds(act: Callable[[], object]) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


@pytest.fixture
def neighbour(open_session: Callable[[], Session], hub: Hub, host: Host) -> Neighbour:
    session = open_session()
    kernel = session.start_kernel()
    assert session.run("6*7", kernel=kernel).value == "42"
    return Neighbour(session, kernel, hub, host)


@pytest.fixture
def attacker(open_session: Callable[[], Session], containers: docker.DockerClient) -> Container:
    session = open_session()
    return session_containers(containers)[name_of(session)]


Suffer = Callable[..., Abuse]


@pytest.fixture
def suffer(neighbour: Neighbour, attacker: Container, request: pytest.FixtureRequest) -> Suffer:
    """Runs an abuse beside a neighbour who works; fails if that one is slowed down too much."""

    def run(code: str, meanwhile: Callable[[], None] = lambda: None) -> Abuse:
        until = time.monotonic() + SECONDS / 2
        before = neighbour.work(lambda: time.monotonic() < until)
        with Abuse(attacker, code) as abuse:
            meanwhile()
            during = neighbour.work(lambda: abuse.goes_on)
        told = []
        for kind, times in during.items():
            ratio = times.p95 / before[kind].p95
            over = "" if ratio < TARGET else ", over the target"
            told.append(
                f"{kind} {before[kind].p95 * 1000:.0f} → {times.p95 * 1000:.0f} ms"
                f" (×{ratio:.1f}{over})"
            )
        print(f"\n{request.node.name}: {abuse.told}\n    p95 before → during: {', '.join(told)}")
        # The p95 of ten tries is the slowest of them, and a busy machine's: the middle decides.
        harmed = {
            kind
            for kind, times in during.items()
            if times.median >= LIMIT * before[kind].median and times.median > UNNOTICED
        }
        assert harmed == set()
        return abuse

    return run


# --- Inside the container ------------------------------------------------------------------
def test_a_fork_bomb(suffer: Suffer) -> None:
    abuse = suffer("""
me, refused = os.getpid(), {}
while going():
    try:
        os.fork()
    except OSError as error:
        refused[error.errno] = refused.get(error.errno, 0) + 1
if os.getpid() != me:
    os._exit(0)
print(json.dumps({"refused": refused}))
""")
    assert abuse.told["refused"].keys() == {str(errno.EAGAIN)}


def test_a_memory_hog(suffer: Suffer) -> None:
    abuse = suffer("""
killed = 0
while going():
    pid = os.fork()
    if pid == 0:
        hold = []
        while going():
            hold.append(b"x" * (16 << 20))
        os._exit(0)
    killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
print(json.dumps({"killed": killed}))
""")
    assert abuse.told["killed"] >= 1


def test_a_disk_filler(suffer: Suffer, attacker: Container) -> None:
    before = attacker.diff()
    abuse = suffer("""
full = {}
while going():
    for place in PLACES:
        name, size = f"{place}/filler", 0
        try:
            with open(name, "wb", buffering=0) as file:
                while going():
                    size += file.write(b"x" * (1 << 20))
        except OSError as error:
            full[place] = [error.errno, size >> 20]
        os.unlink(name)
print(json.dumps(full))
""")
    assert {code for code, _ in abuse.told.values()} == {errno.ENOSPC}
    assert all(megabytes <= 256 for _, megabytes in abuse.told.values())
    assert attacker.diff() == before  # nothing of it on the host's disk


def test_an_inode_filler(suffer: Suffer, attacker: Container) -> None:
    before = attacker.diff()
    abuse = suffer("""
full = {}
for place in PLACES:
    n = 0
    try:
        while going():
            os.close(os.open(f"{place}/{n}", os.O_CREAT))
            n += 1
    except OSError as error:
        full[place] = [error.errno, n]
print(json.dumps(full))
""")
    assert {code for code, _ in abuse.told.values()} == {errno.ENOSPC}
    assert all(files < 100_000 for _, files in abuse.told.values())
    assert attacker.diff() == before


def test_open_files(suffer: Suffer) -> None:
    abuse = suffer("""
code, most, pids = 0, 0, []
for _ in range(50):
    pids.append(os.fork())
    if pids[-1] == 0:
        break
try:
    for most in range(10_000):
        os.open("/dev/null", os.O_RDONLY)
except OSError as error:
    code = error.errno
while going():
    time.sleep(0.1)
if pids[-1] == 0:
    os._exit(0)
print(json.dumps({"errno": code, "opened": most}))
""")
    assert abuse.told["errno"] == errno.EMFILE
    assert abuse.told["opened"] < 4096


# What sessions of one uid would share: an attacker takes all there is, a neighbour has its own.
PER_USER = {
    "inotify instances": (
        """
held = []
try:
    while going() and len(held) < 4000:
        held.append(ctypes.CDLL(None, use_errno=True).inotify_init())
        if held[-1] < 0:
            raise OSError(ctypes.get_errno(), "")
except OSError as error:
    told = error.errno
""",
        errno.EMFILE,
        "assert ctypes.CDLL(None).inotify_init() >= 0",
    ),
    "pending signals": (
        """
libc, number = ctypes.CDLL(None, use_errno=True), signal.SIGRTMIN
signal.pthread_sigmask(signal.SIG_BLOCK, {number})
while going():
    if libc.sigqueue(os.getpid(), number, ctypes.c_void_p(0)) < 0:
        told = ctypes.get_errno()
        break
""",
        errno.EAGAIN,
        (
            "signal.pthread_sigmask(signal.SIG_BLOCK, {40});"
            "assert ctypes.CDLL(None).sigqueue(os.getpid(), 40, None) == 0"
        ),
    ),
    "room in pipes": (
        """
pipes = []
while going() and len(pipes) < 2000:
    pipes.append(os.pipe())
    size = fcntl.fcntl(pipes[-1][1], 1032)
    os.set_blocking(pipes[-1][1], False)
    os.write(pipes[-1][1], b"x" * size)
    if size < 65536:
        told = size
""",
        4096,
        "assert fcntl.fcntl(os.pipe()[1], 1032) == 65536",
    ),
}


@pytest.mark.parametrize(("code", "end", "own"), PER_USER.values(), ids=PER_USER.keys())
def test_what_the_kernel_counts_by_user(
    suffer: Suffer, neighbour: Neighbour, code: str, end: int, own: str
) -> None:
    def the_neighbour_has_its_own() -> None:
        script = f"import ctypes, fcntl, os, signal; {own}"
        code = f"__import__('subprocess').run(['python3', '-c', {script!r}]).returncode"
        assert neighbour.session.run(code, kernel=neighbour.kernel).value == "0"

    hold = "\nprint(json.dumps({'end': told}), flush=True)\nwhile going():\n    time.sleep(0.1)\n"
    abuse = suffer(f"told = None\n{code}{hold}", the_neighbour_has_its_own)
    the_neighbour_has_its_own()
    assert abuse.told["end"] <= 2 * end if end == 4096 else abuse.told["end"] == end


def test_inotify_watches(suffer: Suffer) -> None:
    abuse = suffer("""
libc, told, watches, files = ctypes.CDLL(None, use_errno=True), 0, 0, 4000
for n in range(files):
    os.close(os.open(f"/tmp/{n}", os.O_CREAT))
while going() and not told:
    instance = libc.inotify_init()
    for n in range(files):
        if instance < 0 or libc.inotify_add_watch(instance, f"/tmp/{n}".encode(), 2) < 0:
            told = ctypes.get_errno()
            break
        watches += 1
while going():
    time.sleep(0.1)
print(json.dumps({"errno": told, "watches": watches}))
""")
    assert abuse.told["errno"] in (0, errno.ENOSPC, errno.EMFILE, errno.ENOMEM)


def test_a_flood_of_log_lines_drops_none_of_the_services(
    suffer: Suffer, attacker: Container, hub: Hub, host: Host, containers: docker.DockerClient
) -> None:
    names = [f"flood{n}" for n in range(5)]

    def services_log() -> None:
        for name in names:
            hub.create_user(name)  # the hub logs it
            hub.delete_user(name)

    abuse = suffer(
        """
line, n = b"x" * 4095 + b"\\n", 0
with open("/proc/1/fd/1", "wb", buffering=0) as log:
    while going():
        n += log.write(line)
print(json.dumps({"kilobytes": n >> 10}))
""",
        services_log,
    )
    # It is made to wait: what it wrote would be work for Docker's daemon, outside of its limits.
    assert 100 <= abuse.told["kilobytes"] <= 64 * (SECONDS + 4)
    kept = int(host.sh(f"du -sm /var/lib/docker/containers/{attacker.id} | cut -f1"))
    assert kept <= 3
    log = containers.containers.get("jupyterhub_hub").logs(tail=2000).decode()
    assert [name for name in names if f"/users/{name} " not in log] == []


# --- At the allowed doors ------------------------------------------------------------------
def test_a_flood_of_connections(suffer: Suffer) -> None:
    abuse = suffer("""
opened, failed = [0], {}
def flood():
    while going():
        for door in (HUB, PROXY):
            try:
                with socket.create_connection(door, timeout=1):
                    opened[0] += 1
            except OSError as error:
                name = type(error).__name__
                failed[name] = failed.get(name, 0) + 1
each(32, flood)
print(json.dumps({"opened": opened[0], "failed": failed}))
""")
    assert 60 <= abuse.told["opened"] <= 60 + 20 * (SECONDS + 4)


def test_a_flood_of_syns(suffer: Suffer, host: Host) -> None:
    entries = "cat /proc/sys/net/netfilter/nf_conntrack_count"
    before = int(host.sh(entries))
    abuse = suffer("""
tried = 0
while going():
    for door in (HUB, PROXY):
        with socket.socket() as s:
            s.setblocking(False)
            s.connect_ex(door)
            tried += 1
print(json.dumps({"tried": tried}))
""")
    assert abuse.told["tried"] > 1000
    assert int(host.sh(entries)) - before < 2000


def test_connections_that_never_ask(suffer: Suffer) -> None:
    abuse = suffer("""
held, refused = [], 0
while going() or not refused and time.monotonic() < END + 8:
    door = (HUB, PROXY)[len(held) % 2]
    try:
        s = socket.create_connection(door, timeout=2)
        s.send(b"POST /hub/api/users HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1000000\\r\\n")
        held.append(s)
    except OSError as error:
        refused += 1
    for s in held:  # a byte now and then: it is not dead
        try:
            s.send(b"x")
        except OSError:
            held.remove(s)
    time.sleep(0.05)
print(json.dumps({"held": len(held), "refused": refused}))
""")
    assert abuse.told["held"] <= 64
    assert abuse.told["refused"] > 0


REQUESTS = """
answers = [0]
def ask():
    while going():
        try:
            with CONNECT() as s:
                s.settimeout(2)
                while going():
                    s.send(b"GET /hub/api/ HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" * 40)
                    answers[0] += s.recv(1 << 16).count(b"HTTP/1.1 ")
        except OSError:
            pass
each(16, ask)
print(json.dumps({"answers": answers[0]}))
"""
TLS = """
context = ssl._create_unverified_context()
def CONNECT():
    return context.wrap_socket(socket.create_connection(PROXY, timeout=2))
"""


@pytest.mark.parametrize(
    "connect",
    ["def CONNECT():\n    return socket.create_connection(HUB, timeout=2)\n", TLS],
    ids=["hub", "proxy"],
)
def test_a_flood_of_requests(suffer: Suffer, connect: str) -> None:
    abuse = suffer(connect + REQUESTS)
    assert abuse.told["answers"] > 10


def test_a_flood_of_websockets(suffer: Suffer, attacker: Container) -> None:
    environment = dict(pair.split("=", 1) for pair in attacker.attrs["Config"]["Env"])
    path = f"/user/{environment['JUPYTERHUB_USER']}/api/events/subscribe"
    abuse = suffer(f"""{TLS}
opened, sent = [0], [0]
HEAD = "GET {path} HTTP/1.1\\r\\nHost: x\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n"
HEAD += "Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\n"
HEAD += "Authorization: token " + os.environ["JUPYTERHUB_API_TOKEN"] + "\\r\\n\\r\\n"
FRAME = b"\\x82\\xfe" + struct.pack(">H", 8192) + b"\\0" * 4 + b"x" * 8192
def flood():
    while going():
        try:
            with CONNECT() as s:
                s.settimeout(2)
                s.send(HEAD.encode())
                opened[0] += s.recv(4096).startswith(b"HTTP/1.1 101")
                while going():
                    sent[0] += s.send(FRAME)
        except OSError:
            pass
each(64, flood)
print(json.dumps({{"opened": opened[0], "kilobytes": sent[0] >> 10}}))
""")
    assert abuse.told["opened"] > 0


def test_big_answers_through_the_proxy(suffer: Suffer, attacker: Container) -> None:
    """A small request for a big file of its own makes the proxy work, not the session."""
    environment = dict(pair.split("=", 1) for pair in attacker.attrs["Config"]["Env"])
    path = f"/user/{environment['JUPYTERHUB_USER']}/files/big"
    abuse = suffer(f"""{TLS}
with open("/home/jovyan/big", "wb") as file:
    file.truncate(100 << 20)
got = [0]
ASK = "GET {path} HTTP/1.1\\r\\nHost: x\\r\\nAuthorization: token "
ASK += os.environ["JUPYTERHUB_API_TOKEN"] + "\\r\\n\\r\\n"
def fetch():
    while going():
        try:
            with CONNECT() as s:
                s.settimeout(2)
                s.send(ASK.encode())
                while going():
                    got[0] += len(s.recv(1 << 16))
        except OSError:
            pass
each(4, fetch)
print(json.dumps({{"kilobytes": got[0] >> 10}}))
""")
    # Dropped packets make TCP slower than the limit, how much depends on the machine.
    assert 100 <= abuse.told["kilobytes"] <= (4 + SECONDS + 4) << 10


def test_a_flood_of_tracked_connections(suffer: Suffer, host: Host) -> None:
    entries = "cat /proc/sys/net/netfilter/nf_conntrack_count"
    before = int(host.sh(entries))
    abuse = suffer("""
listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
tried = 0
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
    while going():
        with socket.socket() as s:
            s.setblocking(False)
            s.connect_ex(listener.getsockname())
        listener.accept()[0].close()
        for address in ("127.0.0.1", "172.27.0.2", "172.27.0.4", f"172.27.99.{tried % 250}"):
            try:
                udp.sendto(b"x", (address, 1024 + tried % 60000))
            except OSError:
                pass
        tried += 1
with open("/proc/sys/net/netfilter/nf_conntrack_count") as file:
    own = int(file.read())
print(json.dumps({"tried": tried, "own": own}))
""")
    assert abuse.told["tried"] > 1000
    assert abuse.told["own"] < 500
    assert int(host.sh(entries)) - before < 2000


# --- What it must not disturb ---------------------------------------------------------------
def test_what_a_session_answers_is_not_limited(session: Session) -> None:
    content = "x" * (20 << 20)
    body = {"type": "file", "format": "text", "content": content}
    up = _seconds(lambda: session.request("PUT", "/api/contents/big.txt", body=body))
    answer = session.request("GET", "/files/big.txt")
    assert answer.text == content
    down = _seconds(lambda: session.request("GET", "/files/big.txt"))
    print(f"\n20 MB through the proxy: up {up:.1f} s, down {down:.1f} s")
    assert max(up, down) < 20
