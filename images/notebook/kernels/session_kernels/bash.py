"""Bash: cells run in one interactive shell, through pipes and not through a terminal.

bash_kernel (PyPI) types cells into a terminal and waits 50 ms before each line; of its start that
takes 2 s, for the 40 lines of its own functions. It also answers "ok" to cells that failed, hangs
in `read`, and cuts lines at 4096 characters. Its functions for notebooks are here: `display`,
`displayHTML`, `displayJS`.
"""

from __future__ import annotations

import re
from pathlib import Path

from session_kernels.language import About, Completion, WorkerLanguage
from session_kernels.worker import PromptWorker

WORKER = Path(__file__).with_name("worker.bash")
LINE = (
    '__receive; case $__kind in run) __again "$__status"; eval "$__body" </dev/null;;'
    ' *) "__$__kind";; esac'
)
SEPARATORS = re.compile(r"[\s;&|<>()`\"'=]")


class Bash(WorkerLanguage):
    """The language of Debian's shell."""

    about = About("bash", "Bash", "5.2", "text/x-sh", ".sh", "shell", "bash")

    def start(self) -> PromptWorker:
        # Interactive: only such a shell returns to its prompt when interrupted. What it says about
        # the terminal that it does not have is for nobody; WORKER takes the errors back from 9.
        shell = 'exec bash --noprofile --noediting --rcfile "$0" -i 9>&2 2>/dev/null'
        return PromptWorker(["bash", "-c", shell, str(WORKER)], LINE)

    def complete(self, code: str, cursor: int) -> Completion:
        before = code[:cursor]
        word = SEPARATORS.split(before)[-1]
        start = cursor - len(word)
        command = re.search(
            r"(?:^|[;&|(`\n]|\b(?:do|then|else))\s*$", before[: len(before) - len(word)]
        )
        frame = self.ask("complete", f"{word}\n{'command' if command else 'word'}", "matches")
        matches = sorted({*frame.body.split("\n")} - {""}) if frame else []
        return Completion(start, cursor, tuple(matches))

    def inspect(self, code: str, cursor: int) -> str:
        word = re.split(r"[\s;&|<>()`\"'=$]", code[:cursor])[-1]
        word += re.split(r"[\s;&|<>()`\"'=]", code[cursor:])[0]
        frame = self.ask("inspect", word, "text") if word else None
        return frame.body.strip() if frame else ""

    def is_complete(self, code: str) -> str:
        frame = self.ask("check", code, "status")
        return frame.body if frame else "unknown"
