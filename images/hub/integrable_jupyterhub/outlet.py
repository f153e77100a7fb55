"""A log that never waits: what nobody takes is dropped, and counted.

While Docker is away nobody reads its containers' output; the pipe takes 64 kB, and whoever writes
more stands still, in the midst of the hub's only thread.
https://docs.docker.com/engine/daemon/live-restore/#impact-of-live-restore-on-running-containers
"""

import io
import os
import select
import sys

PIECE = select.PIPE_BUF
"""A pipe that poll() calls writable takes so many bytes at once."""


class Outlet(io.TextIOBase):
    """Text for a file descriptor, a pipe for one, in UTF-8."""

    encoding = "utf-8"

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self.dropped = descriptor, 0
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.dropped and self._put(f"[{self.dropped} lines were dropped: nobody took them]\n"):
            self.dropped = 0
        if not self._put(text):
            self.dropped += text.count("\n")
        return len(text)

    def _put(self, text: str) -> bool:
        data = text.encode(errors="backslashreplace")
        for start in range(0, len(data), PIECE):
            if not self._poll.poll(0):
                return False
            os.write(self._descriptor, data[start : start + PIECE])
        return True


def install() -> None:
    """For all that this process says; those that it starts have their own."""
    sys.stdout, sys.stderr = Outlet(1), Outlet(2)
