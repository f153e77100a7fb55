"""One change at a time on a host: a lock that lives as long as the connection of who holds it.

A process on the host holds it, at the other end of a channel of the very SSH connection that the
run uses. It reads a beat every few seconds: no stale lock is left by a run that was killed, nor by
a network that was lost, where nobody tells the host that the other end is gone.
"""

from __future__ import annotations

import getpass
import shlex
import socket
from collections.abc import Callable
from typing import Any

from hubhost.paths import LOCK

BEAT_SECONDS = 5
FREE_AFTER_SECONDS = 30
"""Without a beat for so long, the lock is free, and the run that held it ends."""

LOST = (
    "the connection, or the lock that it held, is lost: this run ends here, while what it has begun"
    f" on the host may go on; run it again, in {FREE_AFTER_SECONDS} s at the earliest"
)
TAKEN, HELD = "taken", "held"

# bash, not sh: `read -t`. The file is written in place, so that its age is that of the last beat.
_HOLDER = f"""
told="$1, since $(date -u '+%F %T UTC')"; umask 077
exec 9<> {LOCK}
flock -n 9 || {{ echo {HELD} $(( $(date +%s) - $(stat -c %Y {LOCK}) )) "$(cat {LOCK})"; exit; }}
printf '%s\\n' "$told" > {LOCK}; echo {TAKEN}
while read -r -t {FREE_AFTER_SECONDS} _; do printf '%s\\n' "$told" 1<> {LOCK}; echo; done
"""


def who() -> str:
    """The person at the controller, as the host shall know them."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def holder(name: str) -> str:
    """Shell: take the lock for `name`, say whether, and hold it while standard input beats."""
    return f"exec bash -c {shlex.quote(_HOLDER)} lock {shlex.quote(name)}"


def refusal(answer: str) -> str | None:
    """What a person reads when the holder's first line tells that the lock is another's."""
    first, _, rest = answer.strip().partition(" ")
    if first == TAKEN:
        return None
    if first != HELD:
        return f"lock: {LOCK} can't be taken: {answer.strip() or 'no answer'}; look at it"
    age, _, other = rest.partition(" ")
    silent = max(0, int(age))
    return (
        f"lock: held by {other or 'somebody'}, last heard of {silent} s ago; wait until"
        " that run ends, and try again (if it was cut off, the lock is free within"
        f" {max(1, FREE_AFTER_SECONDS - silent)} s)"
    )


def keep(channel: Any, lost: Callable[[], None]) -> None:
    """Beat until the other end is gone, or does not answer any more; then say that it is `lost`.

    `channel` is paramiko's. It ends with the process, too: then nobody is left to be told.
    """
    channel.settimeout(BEAT_SECONDS)
    unanswered = 0
    try:
        while unanswered * BEAT_SECONDS < FREE_AFTER_SECONDS:
            try:
                if not channel.recv(64):
                    break
                unanswered = 0
            except TimeoutError:
                unanswered += 1
                channel.sendall(b"\n")
    except OSError:
        pass
    lost()
