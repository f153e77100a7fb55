"""Logs of the services: where they are kept, and `make logs`, which shows them.

Docker deletes a container's log with it: so the log is moved away before a container is removed.
`python -m hubhost.logs` has pyinfra run ops/logs.py, and prints what the hosts say, and no more.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from hubhost.errors import Problem, Problems
from hubhost.paths import LOGS, LOGS_SCRIPT
from hubhost.service import SERVICE_NAMES
from hubhost.verbs import pyinfra

PREFIX = "jupyterhub_"
SERVICES = tuple(name.removeprefix(PREFIX) for name in SERVICE_NAMES)
"""What a person calls them."""

MARK = "\x1e"
"""Begins a line of a log, in what pyinfra says; the command, which it says too, spells it out."""

NOT_DEPLOYED = "logs: the host is not deployed; deploy"
DEFAULT_SINCE = "24h"
UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
TIME = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?")


KEEP_LOG = f"""\
keep_log() {{ # the log of container $1, which is to be removed, is one of service $2
    log=$(docker container inspect -f '{{{{.LogPath}}}}' "$1" 2>/dev/null || true)
    [ -f "$log" ] || return 0
    kept={LOGS}/$2/$(date -u +%Y%m%dT%H%M%SZ)
    (umask 077; mkdir -p "$kept"; mv "$log"* "$kept") || true
}}"""
"""Shell: a function that moves the log of a container to where logs are kept."""


@dataclass(frozen=True)
class Request:
    """What a person wants to see. `since`: as the script on the host takes it."""

    services: tuple[str, ...]
    since: str
    follow: bool

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Request:
        """Of the variables SERVICE, SINCE and FOLLOW.

        Raises:
            Problems: no such service, no such time.
        """
        service = variables.get("SERVICE", "")
        since = variables.get("SINCE", "") or DEFAULT_SINCE
        found = []
        if service and service not in SERVICES:
            remedy = f"name one of {', '.join(SERVICES)}, or none for all"
            found.append(Problem("SERVICE", f"there is no {service!r}", remedy))
        span = re.fullmatch(rf"(\d{{1,9}})({'|'.join(UNITS)})", since)
        if not span and not TIME.fullmatch(since):
            remedy = "such as 30min, 12h, 7d, or 2030-01-31T11:00 (UTC)"
            found.append(Problem("SINCE", f"{since!r} is no time", remedy))
        if found:
            raise Problems(found)
        seconds = int(span[1]) * UNITS[span[2]] if span else 0
        return cls(
            (service,) if service else SERVICES,
            f"-{seconds}" if span else since.replace(" ", "T"),
            follow=variables.get("FOLLOW", "") not in ("", "0"),
        )

    def command(self, prefix: str) -> list[str]:
        """Shell that prints the lines, each with the mark and `prefix`."""
        mode = "follow" if self.follow else "show"
        return [
            f"[ -x {LOGS_SCRIPT} ] || {{ echo '{NOT_DEPLOYED}' >&2; exit 1; }}",
            f"export LINE_PREFIX=\"$(printf '\\036')\"{shlex.quote(prefix)}",
            f"{LOGS_SCRIPT} {mode} {self.since} {shlex.join(self.services)}",
        ]


def main() -> int:
    """Print the logs; what else pyinfra says, only where it fails."""
    try:
        Request.of(os.environ)
    except Problems as error:
        print(error, file=sys.stderr)
        return 1
    said: list[str] = []
    with subprocess.Popen(
        pyinfra("ops/logs.py", "-y", "-vvv"),
        env={**os.environ, "PYINFRA_PROGRESS": "off"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as running:
        assert running.stdout
        try:
            for line in running.stdout:
                _, mark, text = line.partition(MARK)
                if not mark:
                    said.append(line)
                elif text.strip():  # an empty one asks only whether anybody listens
                    print(text, end="", flush=True)
        except (KeyboardInterrupt, BrokenPipeError):
            running.terminate()
            return 0
    if running.returncode:
        print(*said, sep="", end="", file=sys.stderr)
    return running.returncode


if __name__ == "__main__":
    sys.exit(main())
