"""What operations are made of, and the host's lock, which each run takes first."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from typing import Any

from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from hubhost import connection

Commands = Generator[StringCommand | FunctionCommand]
LOCKED = "exec 9>/run/lock/integrable-jupyterhub-{}; flock 9\n"


def script(*lines: str, stdin: str | list[str] | None = None) -> StringCommand:
    """A shell script that stops at its first error."""
    arguments: dict[str, Any] = {"_stdin": stdin} if stdin is not None else {}
    return StringCommand("\n".join(["set -eu", *lines]), **arguments)


LOCKING = "Take the host's lock"


@operation()
def exclusive() -> Commands:
    """Have the host for this run alone, until its connection ends; first of all that changes it.

    Nothing on the host changes by it, and a plan (`--dry`) does not take the lock.
    """
    if state.is_executing and (refusal := connection.take_lock(state, host)):
        yield script(f"echo {shlex.quote(refusal)} >&2; exit 1")


def wait_until(condition: str, container: str, seconds: int, told: str) -> tuple[str, ...]:
    """Shell: wait until `condition` holds; else the container's last lines, what is `told`, exit.

    All but `container` and `told` are commands.
    """
    return (
        f"end=$(( $(date +%s) + {seconds} ))",
        f"until {condition}; do",
        '  if [ "$(date +%s)" -ge $end ]; then',
        f"    docker logs --tail 20 {container} >&2 2>&1 || true",
        f"    echo '{container}: {told}' >&2; exit 1",
        "  fi; sleep 0.2",
        "done",
    )
