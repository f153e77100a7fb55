"""C++17: cells run in Cling, the interpreter of cppyy, in a process of its own."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from session_kernels.language import About, Failure, Front, WorkerLanguage
from session_kernels.worker import Worker

HERE = Path(__file__).parent
THROWN = re.compile(r"compilation failed(?:: .*| with unknown error)\n?\Z", re.DOTALL)


class Cpp(WorkerLanguage):
    """C++ as Cling has it."""

    about = About("c++", "C++17", "17", "text/x-c++src", ".cpp", "text/x-c++src", "cpp")

    def start(self) -> Worker:
        preload = f"LD_PRELOAD={HERE / 'native.so'}:{HERE / 'cling.so'}"
        return Worker(["env", preload, sys.executable, "-P", "-m", "session_kernels.cpp_worker"])

    def run(self, code: str, front: Front, count: int) -> Failure | None:
        held = _HoldsBack(front)
        failure = super().run(code, held, count)
        thrown = failure and failure.traceback and failure.name != "CompileError"
        if not thrown:
            held.release()
        return failure

    def is_complete(self, code: str) -> str:
        frame = self.ask("check", code, "status")
        return frame.body if frame else "unknown"


class _HoldsBack:
    """Cling calls an exception that nobody caught "compilation failed": that is not shown."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._held = ""

    def stream(self, name: str, text: str) -> None:
        self.release()
        if name == "stderr" and (found := THROWN.search(text)):
            text, self._held = text[: found.start()], found[0]
        if text:
            self._front.stream(name, text)

    def release(self) -> None:
        """Show what was held back."""
        held, self._held = self._held, ""
        if held:
            self._front.stream("stderr", held)

    def result(self, text: str) -> None:
        self.release()
        self._front.result(text)

    def display(self, data: Mapping[str, Any], display_id: str) -> None:
        self._front.display(data, display_id)

    def ask(self) -> str | None:
        self.release()
        return self._front.ask()
