"""Drain: no session starts, and at the deadline those that run are ended; the hub looks itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hubhost.errors import Problem, Problems
from hubhost.paths import DRAIN_STATE

LONGEST_MINUTES = 24 * 60
END_SECONDS = 600
"""How long the hub may take, after the deadline, to archive and end all sessions."""


@dataclass(frozen=True)
class Drain:
    """Whether a hub is drained. `minutes` is what was asked for, `deadline` what came of it.

    The latter is in seconds since 1970, by the host's clock; None: running sessions are left alone.
    """

    drained: bool = False
    minutes: int | None = None
    deadline: int | None = None

    @classmethod
    def parse(cls, text: str) -> Drain:
        """Of the state as it lies on the host; what can't be read drains the hub all the same."""
        if not text.strip():
            return cls()
        try:
            state: dict[str, Any] = json.loads(text)
            return cls(True, state["minutes"], state["deadline"])
        except (ValueError, KeyError, TypeError):
            return cls(True)


def minutes_of(text: str, default: int | None = None) -> int | None:
    """The parameter DEADLINE.

    Raises:
        Problems: it is no number of minutes.
    """
    if not text:
        return default
    if not text.isdecimal() or int(text) > LONGEST_MINUTES:
        remedy = f"give whole minutes, 0 to {LONGEST_MINUTES}: make drain DEADLINE=30"
        raise Problems([Problem("DEADLINE", f"{text!r} is no number of minutes", remedy)])
    return int(text)


def begin(minutes: int | None) -> Iterable[str]:
    """Shell: drained from now on; the hub sees the file when it is whole."""
    new = f"{DRAIN_STATE}.new"
    deadline = "null" if minutes is None else f"$(( $(date +%s) + {60 * minutes} ))"
    state = '{"minutes": %s, "deadline": %s}\\n'
    return (
        f"printf '{state}' {json.dumps(minutes)} \"{deadline}\" > {new}",
        f"chmod 644 {new}; mv {new} {DRAIN_STATE}",
    )
