"""What the hub may ask, and what becomes of it. Pure: bytes in, decisions out.

Nothing that the hub sends is passed on. A request becomes one of five small values or is refused;
a container is composed here, from the policy, with the hub's name, image and environment in it.
"""

import json
import posixpath
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from docker_filter.policy import Policy

ROLE_LABEL, SESSION = "integrable-jupyterhub.role", "session"
UID_LABEL = "integrable-jupyterhub.uid"

FIRST_UID, GID = 1_900_000_000, 100
"""systemd keeps 1879048192 to 2147483647 free of everybody (https://systemd.io/UIDS-GIDS/)."""

HOME = "/home/jovyan"
MIB = 1024 * 1024
SHM_MB = 64
INODES_PER_MB = 200

MAX_BODY = 256 * 1024
MAX_ENV = 256
MAX_ENV_ENTRY = 64 * 1024
MAX_NAME = 63


class Refused(Exception):
    """The request is not forwarded; the text says why, and holds nothing of an environment."""

    def __init__(self, reason: str, status: int = 403) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Ping:
    """Does Docker answer?"""


@dataclass(frozen=True)
class List:
    """Which sessions there are? Running or not; there is nothing to choose."""


@dataclass(frozen=True)
class Create:
    """A new session: all that the hub chooses of it."""

    name: str
    image: str
    env: tuple[str, ...]


@dataclass(frozen=True)
class Touch:
    """Something done with a container that exists: `verb` is inspect, start or remove.

    `container` is a name or an id. Whether it is a session, only Docker knows.
    """

    verb: str
    container: str


Request = Ping | List | Create | Touch

# A version in front is the client's habit. To Docker the filter speaks the engine's own.
_CONTAINER = "/containers/(?P<container>[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127})"
_ROUTES = {
    "ping": ("GET", "/_ping"),
    # As the hub's library asks; whatever it says, the list is that of all sessions.
    "list": ("GET", r"/containers/json\?limit=-1&all=1&size=0&trunc_cmd=0"),
    "create": ("POST", r"/containers/create\?name=(?P<name>[a-zA-Z0-9_.-]+)"),
    "inspect": ("GET", f"{_CONTAINER}/json"),
    "start": ("POST", f"{_CONTAINER}/start"),
    # How to remove is not the client's choice either.
    "remove": ("DELETE", rf"{_CONTAINER}(?:\?[a-zA-Z0-9=&]*)?"),
}
ROUTES = {
    verb: (method, re.compile(rf"(?:/v1\.[0-9]{{1,3}})?{target}"))
    for verb, (method, target) in _ROUTES.items()
}
"""Method and whole request target of all that is allowed: no ``%``, no ``//``, no ``..``."""

_ENTRY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=[^\0]*", re.DOTALL)


def parse(method: str, target: str, body: bytes, policy: Policy) -> Request:
    """What is asked for; `method`, `target` and `body` are as sent, undecoded.

    Raises:
        Refused: it is none of what the hub needs.
    """
    for verb, (allowed, pattern) in ROUTES.items():
        found = pattern.fullmatch(target) if method == allowed else None
        if found and verb == "create":
            return _create(found["name"], body, policy)
        if found and body:
            raise Refused("a body, where none belongs")
        if found:
            if verb in ("ping", "list"):
                return Ping() if verb == "ping" else List()
            return Touch(verb, found["container"])
    raise Refused("no such request is allowed")


def _create(name: str, body: bytes, policy: Policy) -> Create:
    own = name.removeprefix(policy.name_prefix)
    if own in ("", name) or len(name) > MAX_NAME:
        raise Refused("not a session's name")
    sent = _object(body)
    if unknown := sorted(sent.keys() - {"Image", "Env"}):
        raise Refused(f"{ascii(unknown[0])[:40]} is not the hub's to choose")
    image, env = sent.get("Image"), sent.get("Env")
    if not isinstance(image, str) or image not in policy.images:
        raise Refused("not an image for sessions")
    if not isinstance(env, list) or len(env) > MAX_ENV:
        raise Refused(f"Env is not a list of at most {MAX_ENV}")
    return Create(name, image, tuple(map(_entry, env)))


def _entry(entry: object) -> str:
    """An entry of the environment."""
    if not isinstance(entry, str) or len(entry) > MAX_ENV_ENTRY or not _ENTRY.fullmatch(entry):
        raise Refused("an entry of Env is not NAME=VALUE")
    try:
        entry.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: Docker would make something else of it
        raise Refused("an entry of Env is not Unicode") from None
    return entry


def _object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`, in UTF-8, which every parser would read the same way (RFC 8259).

    Keys that differ in case only are one key for Docker, so they are refused as twins, like equal
    ones; at any depth.
    """

    def no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key.casefold() for key, _ in pairs}) < len(pairs):
            raise ValueError
        return dict(pairs)

    def no_constant(name: str) -> None:
        raise ValueError(name)  # NaN and Infinity are Python's, not JSON's

    if len(body) > MAX_BODY:
        raise Refused(f"a body of more than {MAX_BODY} bytes", 413)
    try:
        found = json.loads(body.decode(), object_pairs_hook=no_twins, parse_constant=no_constant)
    except (ValueError, RecursionError):
        raise Refused("the body is not plain JSON") from None
    if not isinstance(found, dict):
        raise Refused("the body is not an object")
    return found


def room(sessions: Iterable[Mapping[str, Any]], name: str, policy: Policy) -> int:
    """The uid for one more session, by Docker's list of all sessions: the lowest that is free.

    A uid of its own keeps a session's share of what the kernel counts by user (inotify, pipes,
    pending signals) from the others.

    Raises:
        Refused: 429, as many as allowed exist, ended ones included; 409, one has that name.
    """
    sessions = list(sessions)
    if any(f"/{name}" in session["Names"] for session in sessions):
        raise Refused("a session of that name exists", 409)
    if len(sessions) >= policy.max_sessions:
        raise Refused(f"as many sessions as allowed exist ({policy.max_sessions})", 429)
    taken = {session["Labels"].get(UID_LABEL) for session in sessions}
    uids = range(FIRST_UID, FIRST_UID + policy.max_sessions)
    return next(uid for uid in uids if str(uid) not in taken)


def told(sessions: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the hub hears of Docker's list: no addresses, mounts or commands."""
    return [
        {"Id": s["Id"], "Names": s["Names"], "Labels": s["Labels"], "State": s["State"]}
        for s in sessions
        if s["Labels"].get(ROLE_LABEL) == SESSION
    ]


def is_session(container: Mapping[str, Any]) -> bool:
    """Whether an inspected container is one of ours for sessions."""
    labels = container["Config"]["Labels"] or {}
    return bool(labels.get(ROLE_LABEL) == SESSION)


def compose(
    wanted: Create, uid: int, volumes: Collection[str], policy: Policy, seccomp: str
) -> dict[str, Any]:
    """The body for Docker's API: a session's container.

    `volumes` are those that the image declares; each becomes memory, or Docker would make a volume
    on disk, without limit. Source of the fields: https://docs.docker.com/reference/api/engine/
    """
    memory = policy.memory_mb * MIB
    return {
        "Image": wanted.image,
        "Env": list(wanted.env),
        "User": f"{uid}:{GID}",
        "Labels": {ROLE_LABEL: SESSION, UID_LABEL: str(uid)},
        # The hub looks itself; an image's own check would be a process of every session.
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "Runtime": policy.runtime,
            "NetworkMode": policy.network,
            # Names resolve to nothing but these, and nothing asks Docker's resolver.
            "Binds": [f"{policy.resolv_conf}:/etc/resolv.conf:ro"],
            "Dns": ["127.0.0.1"],
            "ExtraHosts": [f"{name}:{address}" for name, address in policy.hosts.items()],
            "Privileged": False,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp}"],
            "ReadonlyRootfs": True,
            "Tmpfs": _tmpfs(uid, volumes, policy),
            # No shared memory but that of /dev/shm, which is limited.
            "IpcMode": "none",
            "Memory": memory,
            "MemorySwap": memory,
            "NanoCpus": int(policy.cpus * 1_000_000_000),
            # A quarter of what services have, and the first to be killed when the host is full.
            "CpuShares": 256,
            "OomScoreAdj": 500,
            "PidsLimit": policy.pids,
            "Ulimits": [
                {"Name": "nofile", "Soft": 4096, "Hard": 4096},
                {"Name": "core", "Soft": 0, "Hard": 0},
            ],
            # A flood is dropped where it arises; one file can't be compressed.
            "LogConfig": {
                "Type": "local",
                "Config": {
                    "max-size": "1m",
                    "max-file": "1",
                    "compress": "false",
                    "mode": "non-blocking",
                },
            },
            "RestartPolicy": {"Name": "no"},
            "AutoRemove": True,
            "Init": False,
        },
    }


def _tmpfs(uid: int, volumes: Collection[str], policy: Policy) -> dict[str, str]:
    """All that a session can write: memory, limited in size and in number of files.

    People run what they build in their home, so that is not noexec.
    """
    size = f"nosuid,nodev,size={policy.home_mb}m,nr_inodes={policy.home_mb * INODES_PER_MB}"
    own = f"mode=0700,uid={uid},gid={GID}"
    shm = f"nosuid,nodev,size={SHM_MB}m,nr_inodes={SHM_MB * INODES_PER_MB}"
    return {
        **{posixpath.normpath(path): f"noexec,{size},{own}" for path in volumes},
        HOME: f"exec,{size},{own}",
        "/tmp": f"noexec,{size},mode=1777",
        "/dev/shm": f"noexec,{shm},mode=1777",
    }
