"""Who starts now, who waits, and who is sent away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from integrable_jupyterhub.admission import STARTING_MB, Admission, Full, available_mb

from tests.unit.images.samples import in_loop

PLENTY = 10**6


def admission(
    at_once: int = 1,
    waiting: int = 1,
    seconds: float = 5,
    headroom_mb: int = 0,
    available: Callable[[], int] = lambda: PLENTY,
) -> Admission:
    return Admission(at_once, waiting, seconds, headroom_mb, available)


class Start:
    """A session's start, which ends when it is told to."""

    def __init__(self, admission: Admission) -> None:
        self.begun, self.serves = asyncio.Event(), asyncio.Event()
        self.task = asyncio.ensure_future(self._run(admission))

    async def _run(self, admission: Admission) -> None:
        async with admission.turn():
            self.begun.set()
            await self.serves.wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@in_loop
async def test_one_waits_for_the_other_and_the_third_is_sent_away() -> None:
    place = admission()
    first, second = Start(place), Start(place)
    await settle()
    assert first.begun.is_set()
    assert not second.begun.is_set()
    with pytest.raises(Full, match="2 sessions are starting or waiting"):
        await Start(place).task
    first.serves.set()
    await asyncio.wait_for(second.begun.wait(), 1)
    third = Start(place)  # a place is free again
    second.serves.set()
    third.serves.set()
    await asyncio.gather(first.task, second.task, third.task)


@in_loop
async def test_who_waits_too_long_is_sent_away_and_leaves_its_place() -> None:
    place = admission(seconds=0.05)
    first = Start(place)
    await settle()
    with pytest.raises(Full, match="turn did not come"):
        await Start(place).task
    place.seconds = 5
    second = Start(place)
    await settle()
    first.serves.set()
    second.serves.set()
    await asyncio.gather(first.task, second.task)


@in_loop
async def test_who_is_called_off_leaves_its_place() -> None:
    place = admission()
    first, second = Start(place), Start(place)
    await settle()
    for start in (second, first):
        start.task.cancel()
    await settle()
    third = Start(place)
    third.serves.set()
    await asyncio.wait_for(third.task, 1)


@in_loop
async def test_memory_for_those_before_counts_too() -> None:
    place = admission(at_once=5, headroom_mb=500, available=lambda: 500 + 2 * STARTING_MB)
    starts = [Start(place), Start(place)]
    await settle()
    assert all(start.begun.is_set() for start in starts)
    with pytest.raises(Full, match="memory"):
        await Start(place).task
    for start in starts:
        start.serves.set()
        await start.task


def test_the_hosts_memory_is_read(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal: 2048000 kB\nMemFree: 1 kB\nMemAvailable:  1536000 kB\n")
    assert available_mb(file) == 1500
    assert available_mb() > 0
