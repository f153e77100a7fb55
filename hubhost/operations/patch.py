"""Operations of a patch: drain the hub, and reboot its host."""

from __future__ import annotations

import time
from logging import CRITICAL, getLogger
from typing import Any

from pyinfra import logger
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from hubhost import connection, facts
from hubhost.drain import END_SECONDS, begin
from hubhost.operations.base import Commands, script
from hubhost.paths import DRAIN_STATE
from hubhost.service import HUB_NAME, SERVICE_NAMES


@operation()
def drain(minutes: int | None) -> Commands:
    """Have no session start, and end those that run in so many minutes (None: leave them alone).

    The same again changes nothing: the deadline stays.
    """
    state = host.get_fact(facts.Drain)
    if state is None or not state.drained or state.minutes != minutes:
        yield script(*begin(minutes))


@operation()
def undrain() -> Commands:
    """Let sessions start again."""
    state = host.get_fact(facts.Drain)
    if state and state.drained:
        yield StringCommand(f"rm -f {DRAIN_STATE}")


def _due() -> bool:
    """Whether the host has updates to install, or to reboot for: else nobody need be bothered."""
    return bool(host.get_fact(facts.Updates) or host.get_fact(facts.RebootDue))


@operation()
def drain_to_patch(minutes: int) -> Commands:
    """Drain, where there is something to patch; a deadline of before stays."""
    state = host.get_fact(facts.Drain)
    if _due() and (state is None or state.deadline is None):
        yield script(*begin(minutes))


@operation()
def sessions_ended() -> Commands:
    """Wait for the deadline, and until the hub has ended what ran, where there is to patch."""
    state = host.get_fact(facts.Drain)
    if _due() and state and state.deadline is not None and host.get_fact(facts.Sessions):
        yield script(
            f'until [ -z "$({facts.SESSIONS})" ]; do',
            f'  if [ "$(date +%s)" -ge {state.deadline + END_SECONDS} ]; then',
            f"    echo 'sessions: the hub did not end them; look why: docker logs {HUB_NAME}' >&2",
            "    exit 1",
            "  fi; sleep 2",
            "done",
        )


# Docker leaves containers to systemd (live-restore), which waits 90 s for those that don't hear
# SIGTERM. `docker stop` is no way: what it stops does not come back at boot. (What does not run has
# the pid 0, by which `kill` means this very script.)
GO_DOWN = f"""
pids=$(docker container inspect -f '{{{{.State.Pid}}}}' {" ".join(SERVICE_NAMES)} | grep -vx 0)
systemctl stop docker.socket docker
kill -TERM $pids
for _ in 1 2 3 4 5 6 7 8 9 10; do
  left=; for pid in $pids; do ! kill -0 $pid || left=yes; done; [ -n "$left" ] || break; sleep 1
done
kill -KILL $pids
systemctl reboot
"""


@operation()
def reboot(seconds: int = 900) -> Commands:
    """Reboot where that is due, and wait so long for the host to answer again."""
    if not host.get_fact(facts.RebootDue):
        return
    yield FunctionCommand(_reboot, (seconds,), {})


def _reboot(state: Any, host: Any, seconds: int) -> bool:
    """pyinfra's own looks at the uptime, which in a system container is its machine's."""
    before = host.get_fact(facts.Boot)
    # Detached, so that the answer comes before the connection ends.
    whom = connection.as_whom(host.current_op_global_arguments)
    host.run_shell_command(f"({GO_DOWN}) </dev/null >/dev/null 2>&1 &", **whom)
    connection.release_lock(host)  # which the next step that asks for it takes again
    # A port that is forwarded to a host that is off answers, and ends: no news to anybody.
    getLogger("paramiko").setLevel(CRITICAL)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(2)
        try:
            host.disconnect()
            host.connect(show_errors=False)
            if host.connected and host.get_fact(facts.Boot) not in ("", before):
                return True
        except Exception as error:  # noqa: BLE001  (half gone, or half there: next time)
            logger.debug("not back yet: %s", error)
    logger.error(
        "%sit does not answer %d s after its reboot; look at its console",
        host.print_prefix,
        seconds,
    )
    return False
