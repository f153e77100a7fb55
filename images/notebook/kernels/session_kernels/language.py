"""What a kernel needs of a language, and how one does it whose cells run in a worker."""

from __future__ import annotations

import contextlib
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

from session_kernels.frames import Frame
from session_kernels.worker import GRACE_SECONDS, Output, Worker, how_it_ended

NOBODY_ANSWERS = (
    "Standard input: nobody can be asked here, so the program is told that the input has ended.\n"
)


class Front(Protocol):
    """What a cell shows, and whom it asks."""

    def stream(self, name: str, text: str) -> None:
        """Show text of "stdout" or "stderr"."""

    def result(self, text: str) -> None:
        """Show the value of the cell."""

    def display(self, data: Mapping[str, Any], display_id: str) -> None:
        """Show or, by a known `display_id`, replace something that is not text."""

    def ask(self) -> str | None:
        """A line from the person; None where nobody can be asked."""


@dataclass(frozen=True)
class Failure:
    """Why a cell failed: an error's name and value, and what a person reads."""

    name: str
    value: str
    traceback: tuple[str, ...] = ()

    @classmethod
    def parse(cls, body: str) -> Failure:
        """From a frame's body: name, value, and lines for the person."""
        name, value, *traceback = [*body.split("\n"), ""] if "\n" not in body else body.split("\n")
        return cls(name, value, tuple(traceback))


@dataclass(frozen=True)
class Completion:
    """What may stand at `start` to `end` of the code."""

    start: int
    end: int
    matches: tuple[str, ...] = ()


@dataclass(frozen=True)
class About:
    """What Jupyter is told of a language."""

    name: str
    title: str
    version: str
    mimetype: str
    extension: str
    highlighter: str
    lexer: str


class Language(ABC):
    """A language whose cells run in some process of their own."""

    about: ClassVar[About]

    @abstractmethod
    def run(self, code: str, front: Front, count: int) -> Failure | None:
        """Run a cell, the `count`th. KeyboardInterrupt: the person wants it to stop."""

    def complete(self, code: str, cursor: int) -> Completion:
        """What may stand at the cursor."""
        return Completion(cursor, cursor)

    def inspect(self, code: str, cursor: int) -> str:
        """What is known of the name at the cursor; nothing: an empty text."""
        return ""

    def is_complete(self, code: str) -> str:
        """One of "complete", "incomplete", "invalid", "unknown"."""
        return "complete"

    def close(self) -> None:  # noqa: B027  (of some, nothing runs between cells)
        """End what runs."""


LOST = "what earlier cells defined is gone"
STOPPED = Failure("KeyboardInterrupt", "the cell was stopped")


@dataclass
class Talk:
    """One cell in one process: forwards output, answers questions, stops it when asked to."""

    worker: Worker
    front: Front
    output: Output = field(init=False)

    def __post_init__(self) -> None:
        self.output = Output(self.front.stream)

    def until(self, *kinds: str) -> Frame | None:
        """The first frame of these kinds; None: the process has ended.

        Raises:
            KeyboardInterrupt: the person stopped it; the worker has been asked to stop and has not
                within a second.
        """
        try:
            return self._until(kinds, None)
        except KeyboardInterrupt:
            self.worker.signal(signal.SIGINT)
            frame = self._until((*kinds, "stopped"), GRACE_SECONDS)
            if frame is None:
                raise
            return Frame("interrupted", frame.body)

    def _until(self, kinds: Sequence[str], seconds: float | None) -> Frame | None:
        while frame := self.worker.receive(self.output, seconds):
            if frame.kind in kinds:
                return frame
            self._serve(frame)
        return None

    def _serve(self, frame: Frame) -> None:
        if frame.kind == "result":
            self.front.result(frame.body)
        elif frame.kind == "display":
            mimetype, display_id, data = frame.body.split("\n", 2)
            self.front.display({mimetype: data}, display_id)
        elif frame.kind == "input":
            line = self.front.ask()
            if line is None:
                self.front.stream("stderr", NOBODY_ANSWERS)
            self.worker.send(Frame("end") if line is None else Frame("line", line))


class WorkerLanguage(Language):
    """A language whose cells run one after the other in one worker, which keeps their state."""

    def __init__(self) -> None:
        self._worker: Worker | None = self.start()
        self._ready = False

    @abstractmethod
    def start(self) -> Worker:
        """A fresh worker; it says "ready" when it is."""

    def run(self, code: str, front: Front, count: int) -> Failure | None:
        title = self.about.title
        try:
            talk = self._talk(front)
            if talk:
                talk.worker.send(Frame("run", f"{count}\n{code}"))
                frame = talk.until("ok", "error")
                if frame and frame.kind == "ok":
                    return None
                if frame and frame.kind == "error":
                    return Failure.parse(frame.body)
                if frame:
                    return STOPPED
        except KeyboardInterrupt:
            self.close()
            return replace(
                STOPPED, value=f"the cell was stopped, and the {title} process with it: {LOST}"
            )
        name, how = how_it_ended(self._end())
        return Failure(name, f"the {title} process {how} and was started anew: {LOST}")

    def _talk(self, front: Front) -> Talk | None:
        """A talk with a worker that is ready; None: it ended."""
        if self._worker is None:
            self._worker, self._ready = self.start(), False
        talk = Talk(self._worker, front)
        if not self._ready:
            frame = talk.until("ready")
            if frame is None:
                return None
            if frame.kind == "interrupted":
                raise KeyboardInterrupt
            self._ready = True
        return talk

    def ask(self, kind: str, body: str, *answers: str) -> Frame | None:
        """The worker's answer to a question between cells; None: it has none."""
        with contextlib.suppress(KeyboardInterrupt):
            if talk := self._talk(_Silent()):
                talk.worker.send(Frame(kind, body))
                return talk.until(*answers)
        self.close()
        return None

    def complete(self, code: str, cursor: int) -> Completion:
        if frame := self.ask("complete", f"{cursor}\n{code}", "matches"):
            start, end, *matches = frame.body.split("\n")
            return Completion(int(start), int(end), tuple(filter(None, matches)))
        return Completion(cursor, cursor)

    def inspect(self, code: str, cursor: int) -> str:
        frame = self.ask("inspect", f"{cursor}\n{code}", "text")
        return frame.body if frame else ""

    def close(self) -> None:
        self._end()

    def _end(self) -> int:
        """End the worker, if there is one; return how it ended. The next cell gets a fresh one."""
        worker, self._worker, self._ready = self._worker, None, False
        return worker.end() if worker else 0


class _Silent:
    """Nobody to show anything to."""

    def stream(self, name: str, text: str) -> None: ...
    def result(self, text: str) -> None: ...
    def display(self, data: Mapping[str, Any], display_id: str) -> None: ...
    def ask(self) -> str | None:
        return None
