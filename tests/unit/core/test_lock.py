"""The lock of a host: who gets it, who is refused and told why, and when it is free again."""

from __future__ import annotations

import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hubhost import lock
from hubhost.paths import LOCK

Holder = subprocess.Popen[str]


@pytest.fixture
def take(tmp_path: Path) -> Iterator[Callable[[str], tuple[Holder, str]]]:
    """Runs the holder as a host would, with a file of the test's own; and its first line."""
    started: list[Holder] = []

    def run(who: str, free_after: str = "30") -> tuple[Holder, str]:
        script = lock.holder(who).replace(str(LOCK), str(tmp_path / "lock"))
        script = script.replace("-t 30 ", f"-t {free_after} ")
        holder = subprocess.Popen(
            ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(holder)
        assert holder.stdout
        return holder, holder.stdout.readline()

    yield run
    for holder in started:
        holder.communicate(timeout=10)


def test_one_gets_it_and_the_next_is_told_who_and_since_when(
    take: Callable[[str], tuple[Holder, str]], tmp_path: Path
) -> None:
    _, first = take("ada o'neill@laptop")
    assert lock.refusal(first) is None
    _, second = take("bob@desk")
    told = lock.refusal(second)
    assert told
    assert told.startswith("lock: held by ada o'neill@laptop, since 20")
    assert "UTC, last heard of " in told
    assert len(told.splitlines()) == 1
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_it_is_free_when_the_holder_hears_no_more(
    take: Callable[[str], tuple[Holder, str]],
) -> None:
    holder, _ = take("ada@laptop")
    holder.communicate(timeout=10)  # the connection's end
    assert lock.refusal(take("bob@desk")[1]) is None


def test_it_is_free_when_nobody_beats(take: Callable[..., tuple[Holder, str]]) -> None:
    holder, _ = take("ada@laptop", "3")
    assert holder.stdin
    assert holder.stdout
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "\n", "a beat is not answered"
    assert lock.refusal(take("bob@desk")[1]), "a beat does not count"
    holder.wait(10)  # though its standard input is open
    assert lock.refusal(take("bob@desk")[1]) is None


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("held 12 ada@laptop, since then\n", "last heard of 12 s ago; wait until that run ends"),
        ("held 12 ada@laptop, since then\n", "if it was cut off, the lock is free within 18 s)"),
        ("held 3600 ada@laptop, since then\n", "the lock is free within 1 s)"),
        ("held -7 ada@laptop, since then\n", "last heard of 0 s ago"),
        ("held 0 \n", "lock: held by somebody"),
        ("", "lock: /run/integrable-jupyterhub.lock can't be taken: no answer;"),
        ("sudo: a password is required\n", "can't be taken: sudo: a password is required;"),
    ],
)  # fmt: skip
def test_a_refusal_is_one_line(answer: str, told: str) -> None:
    line = lock.refusal(answer)
    assert line
    assert told in line
    assert "\n" not in line


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(lock, "FREE_AFTER_SECONDS", 0.2)


def test_a_lock_that_is_lost_is_told(quick: None) -> None:
    for other_end in ("closed", "silent"):
        ours, theirs = socket.socketpair()  # what paramiko's channel is like
        told: list[str] = []
        if other_end == "closed":
            theirs.close()
        lock.keep(ours, lambda told=told: told.append("lost"))  # type: ignore[misc]
        assert told == ["lost"], other_end
        if other_end == "silent":
            assert theirs.recv(64) == b"\n" * 4
        theirs.close()
        ours.close()


def test_the_name_is_a_shell_word() -> None:
    words = shlex.split(lock.holder("a; b"))
    assert words[-1] == "a; b"
