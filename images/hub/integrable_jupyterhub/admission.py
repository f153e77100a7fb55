"""Who starts now, who waits for it, and who is sent away with 429."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

STARTING_MB = 160
"""What a session takes when it has started, and one with a kernel: 109 and 148 MB, measured."""


class Full(Exception):
    """No session can start now; the text says why."""


def available_mb(meminfo: Path = Path("/proc/meminfo")) -> int:
    """The host's memory that programs could still get (a container sees the host's)."""
    line = next(line for line in meminfo.open() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) // 1024


class Admission:
    """Lets `at_once` sessions start at a time; up to `waiting` others wait their turn, `seconds`.

    A session starts only while the host has `headroom_mb` free beside what it and those before it
    will take: an allowance, for their limits are far above what they use.
    """

    def __init__(
        self,
        at_once: int,
        waiting: int,
        seconds: float,
        headroom_mb: int,
        available: Callable[[], int] = available_mb,
    ) -> None:
        self.seconds = seconds
        self._places, self._inside = at_once + waiting, 0
        self._turns = asyncio.Semaphore(at_once)
        self._headroom_mb, self._available = headroom_mb, available

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Holds from its turn until the session serves; in order of arrival. Raises Full."""
        if self._inside >= self._places:
            raise Full(f"{self._inside} sessions are starting or waiting to")
        if self._available() < self._headroom_mb + STARTING_MB * (self._inside + 1):
            raise Full("the host has not enough memory left")
        self._inside += 1
        try:
            try:
                async with asyncio.timeout(self.seconds):
                    await self._turns.acquire()
            except TimeoutError:
                raise Full(f"its turn did not come within {self.seconds:g} s") from None
            try:
                yield
            finally:
                self._turns.release()
        finally:
            self._inside -= 1
