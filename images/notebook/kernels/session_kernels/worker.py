"""A process that user code runs in, as the kernel sees it: from its start to its end."""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from session_kernels.frames import Frame

Emit = Callable[[str, str], None]
"""Takes the name of a stream ("stdout", "stderr") and text."""

BEFORE = ("env", "--default-signal=INT", "setpriv", "--pdeathsig", "KILL")
"""What a worker's process begins as: ipykernel ignores interrupts between cells, and a process
inherits that; and it shall end with the kernel."""
READ = 65536
GATHER_SECONDS = 0.05
"""How long output is gathered before it is sent: a message for each line would choke a browser."""
BURST, RATE = 1_000_000, 500_000
"""Bytes that are sent at once, and bytes a second afterwards. Jupyter's server drops what is more
than a megabyte a second for three seconds (`iopub_data_rate_limit`, `rate_limit_window`), counted
in JSON; so the process waits instead."""
ANSWERS = ("line", "end")
"""Kinds of frames that answer a worker's question; all others ask it to do something."""
GRACE_SECONDS = 1.0
"""How long a process may take to stop after an interrupt before it is killed."""


class Pace:
    """How long to wait before so many bytes may be sent."""

    def __init__(self, burst: float = BURST, rate: float = RATE) -> None:
        self._burst, self._rate = burst, rate
        self._free, self._at = burst, time.monotonic()

    def delay(self, size: int) -> float:
        """Seconds; the bytes count as sent after them."""
        now = time.monotonic()
        self._free = min(self._burst, self._free + (now - self._at) * self._rate) - size
        self._at = now
        return max(0.0, -self._free / self._rate)


class Output:
    """Gathers what a process writes, and sends it in pieces of some size or age."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._decoders = {
            name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")
        }
        self._name = "stdout"
        self._text: list[str] = []
        self._size = 0
        self._since = 0.0
        self._pace = Pace()

    def add(self, name: str, data: bytes) -> None:
        """Take bytes of a stream; send what was gathered of the other one first."""
        if name != self._name:
            self.flush()
            self._name = name
        if not self._text:
            self._since = time.monotonic()
        self._text.append(self._decoders[name].decode(data))
        self._size += len(data)
        if self._size >= READ or self.age() >= GATHER_SECONDS:
            self.flush()

    def age(self) -> float:
        """Seconds since the first byte that is not sent yet."""
        return time.monotonic() - self._since if self._text else 0.0

    @property
    def waits(self) -> bool:
        """Whether anything is not sent yet."""
        return bool(self._text)

    def flush(self) -> None:
        """Send what was gathered."""
        text, size = "".join(self._text), self._size
        self._text, self._size = [], 0
        if text:
            time.sleep(self._pace.delay(size))
            self._emit(self._name, text)


class Worker:
    """A process with two pipes to the kernel, besides its output.

    The process finds the numbers of the pipes in KERNEL_IN and KERNEL_OUT. It has no standard
    input. It leads a session of its own: the kernel's signals are not its signals, and an interrupt
    reaches whatever it started. It ends with the kernel, however the kernel ends.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        stdin: int = subprocess.DEVNULL,
        cwd: Path | None = None,
    ) -> None:
        to_worker, self._to_worker = os.pipe()
        self._from_worker, from_worker = os.pipe()
        pipes = {"KERNEL_IN": str(to_worker), "KERNEL_OUT": str(from_worker)}
        self.process = subprocess.Popen(
            [*BEFORE, *command],
            env={**os.environ, **(env or {}), **pipes},
            pass_fds=(to_worker, from_worker, *pass_fds),
            stdin=stdin,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        os.close(to_worker)
        os.close(from_worker)
        assert self.process.stdout
        assert self.process.stderr
        self._names = {
            self.process.stdout.fileno(): "stdout",
            self.process.stderr.fileno(): "stderr",
            self._from_worker: "",
        }
        for descriptor in self._names:
            os.set_blocking(descriptor, False)
        self._partial = b""

    def send(self, frame: Frame) -> None:
        """Tell the worker something; one that has ended is not told."""
        data = memoryview(frame.encode())
        with contextlib.suppress(BrokenPipeError):
            while data:
                data = data[os.write(self._to_worker, data) :]

    def receive(self, output: Output, seconds: float | None = None) -> Frame | None:
        """The next frame; what the process writes before it goes to `output`.

        None: the process has ended, or it said nothing for so many `seconds`.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while b"\0" not in self._partial:
            ended = self.process.poll() is not None
            if not self._read(output, 0 if ended else self._patience(output, deadline)):
                output.flush()
                if ended or (deadline is not None and time.monotonic() >= deadline):
                    return None
        raw, _, self._partial = self._partial.partition(b"\0")
        # Whatever was written before the frame was sent is in the pipes by now.
        while self._read(output, 0):
            pass
        output.flush()
        return Frame.decode(raw)

    def _patience(self, output: Output, deadline: float | None) -> float:
        """How long to wait for more: so long that gathered output is sent in time."""
        # What it started may keep the pipes open when the worker ends: look now and then. When
        # nobody has them, it is about to end.
        patience = 0.2 if self._names else 0.005
        if output.waits:
            patience = min(patience, max(0.0, GATHER_SECONDS - output.age()))
        if deadline is not None:
            patience = min(patience, max(0.0, deadline - time.monotonic()))
        return patience

    def _read(self, output: Output, patience: float) -> bool:
        """Read what there is; False if there was nothing."""
        readable, _, _ = select.select(list(self._names), [], [], patience)
        found = False
        for descriptor in readable:
            try:
                data = os.read(descriptor, READ)
            except BlockingIOError:
                continue
            name = self._names[descriptor]
            if not data:
                del self._names[descriptor]
            elif name:
                output.add(name, data)
            else:
                self._partial += data
            found = found or bool(data)
        return found

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and to all it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self) -> int:
        """End it, and all it started; return how it ended, as `subprocess` tells."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.signal(signal.SIGKILL)
        for stream in (self.process.stdout, self.process.stderr, self.process.stdin):
            if stream:
                with contextlib.suppress(BrokenPipeError):  # of what was typed and is read no more
                    stream.close()
        for descriptor in (self._to_worker, self._from_worker):
            os.close(descriptor)
        return self.process.returncode


def how_it_ended(code: int) -> tuple[str, str]:
    """A short name and a sentence's end for a return code of `subprocess`."""
    if code >= 0:
        return "Exit", f"ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = ": out of memory?" if name == "SIGKILL" else ""
    return name, f"was ended by {name}{hint}"


class PromptWorker(Worker):
    """An interactive interpreter that reads `line` from its standard input for every frame to run.

    That is how an interpreter stops a cell and goes on: an interrupt takes it back to its prompt.
    """

    def __init__(self, command: Sequence[str], line: str) -> None:
        super().__init__(command, stdin=subprocess.PIPE)
        self._line = line

    def send(self, frame: Frame) -> None:
        if frame.kind not in ANSWERS:
            self.type(self._line)  # first, for a frame may be longer than a pipe takes at once
        super().send(frame)

    def type(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line.encode(errors="replace") + b"\n")
            self.process.stdin.flush()
