"""A notebook image in a container with a session's restrictions, on some Docker engine.

For the kernels' own tests and for the image report: no hub, no network; cells run through
jupyter_client inside. That sessions of a hub behave so, other tests show.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCKER = shlex.split(os.environ.get("DOCKER", "docker"))
"""How to reach the engine; `DOCKER="./lab-shell --lab test-x -- docker"` is one in a lab."""
UID = 1_900_000_000
"""A session's user: in no list of users, see docs/decisions/0010-session-users.md."""


def docker(*arguments: str, stdin: bytes = b"", check: bool = True) -> str:
    """Run the Docker client; return what it prints."""
    done = subprocess.run([*DOCKER, *arguments], input=stdin, capture_output=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"docker {arguments[0]}: {done.stderr.decode().strip()}")
    return done.stdout.decode()


def restrictions(uid: int = UID) -> list[str]:
    """What a session may not do, as options of `docker run`."""
    own = f"uid={uid},gid=100"
    return [
        f"--user={uid}:100",
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--network=none",
        *("--memory=1g", "--memory-swap=1g", "--cpus=1", "--pids-limit=256"),
        *("--ulimit=nofile=4096", "--ulimit=core=0", "--no-healthcheck"),
        f"--tmpfs=/home/jovyan:exec,nosuid,nodev,size=256m,mode=0700,{own}",
        "--tmpfs=/tmp:noexec,nosuid,nodev,size=64m,mode=1777",
        "--shm-size=64m",
    ]


@dataclass
class Outcome:
    """What a cell did, as a client sees it."""

    status: str
    seconds: float
    messages: int
    stdout: str = ""
    stderr: str = ""
    result: str = ""
    displays: list[dict[str, str]] = field(default_factory=list)
    name: str = ""
    value: str = ""
    traceback: str = ""


@dataclass
class Session:
    """A running container."""

    name: str

    def run(self, *command: str, stdin: bytes = b"") -> str:
        """Run a program in it; return what it prints."""
        return docker("exec", "-i", self.name, *command, stdin=stdin)

    def kernel(self, name: str, steps: Sequence[dict[str, Any]]) -> list[Any]:
        """Start a kernel, take the steps (see inside.py), and end it."""
        script = (HERE / "inside.py").read_bytes()
        printed = self.run(
            "python3", "-", json.dumps({"kernel": name, "steps": steps}), stdin=script
        )
        return list(json.loads(printed.splitlines()[-1]))

    def cells(self, kernel: str, *cells: str | dict[str, Any]) -> list[Outcome]:
        """Run cells one after the other; a mapping has `run` and, with it, what inside.py knows."""
        steps = [{"run": cell} if isinstance(cell, str) else cell for cell in cells]
        return [Outcome(**found) for found in self.kernel(kernel, steps)]


@contextmanager
def session(image: str, *options: str) -> Iterator[Session]:
    """A container of the image, with a session's restrictions; removed afterwards."""
    name = f"kernels-{secrets.token_hex(4)}"
    docker("run", "--detach", "--name", name, *restrictions(), *options, image, "sleep", "7200")
    try:
        # As start-singleuser.sh does.
        docker("exec", name, "bash", "-c", 'cp -r --update=none /etc/skel/. "$HOME"')
        yield Session(name)
    finally:
        docker("rm", "--force", name, check=False)
