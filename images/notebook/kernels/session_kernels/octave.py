"""Octave: cells run in one interactive Octave, through pipes and not through a terminal.

octave_kernel (PyPI) types cells into a terminal: a failed cell answers "ok", and 20,000 lines are
20,000 messages.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

from session_kernels.frames import Frame
from session_kernels.language import About, Completion, WorkerLanguage
from session_kernels.worker import ANSWERS, PromptWorker

FUNCTIONS = Path(__file__).with_name("octave")
OCTAVE = (
    *("octave-cli", "--interactive", "--quiet", "--no-history", "--no-init-file"),
    *("--no-line-editing", "--path", str(FUNCTIONS), "--eval", "session_start", "--persist"),
)
OPENED = re.compile(
    r"^\s*(?:if|for|while|do|parfor|function|switch|try|unwind_protect|classdef)\b(?!.*\bend)",
    re.MULTILINE,
)
CLOSED = re.compile(r"^\s*(?:end\w*|until)\b", re.MULTILINE)


class Octave(WorkerLanguage):
    """GNU Octave."""

    about = About("octave", "Octave", "9", "text/x-octave", ".m", "octave", "octave")

    def start(self) -> PromptWorker:
        return _Octave(OCTAVE, "session_stopped")

    def complete(self, code: str, cursor: int) -> Completion:
        begun = re.search(r"[A-Za-z_]\w*$", code[:cursor])
        if not begun:
            return Completion(cursor, cursor)
        frame = self.ask("complete", begun[0], "matches")
        matches = frame.body.split("\n") if frame else []
        return Completion(
            begun.start(), cursor, tuple(sorted(filter(None, map(str.strip, matches))))
        )

    def inspect(self, code: str, cursor: int) -> str:
        word = next((m[0] for m in re.finditer(r"\w+", code) if m.start() <= cursor <= m.end()), "")
        frame = self.ask("inspect", word, "text") if word else None
        return plain(frame.body).strip() if frame else ""

    def is_complete(self, code: str) -> str:
        code = re.sub(r"[%#].*", "", code)
        return "incomplete" if len(OPENED.findall(code)) > len(CLOSED.findall(code)) else "complete"


class _Octave(PromptWorker):
    """Octave reads what to do from its standard input, as a call of one of our functions."""

    def send(self, frame: Frame) -> None:
        if frame.kind in ANSWERS:
            super().send(frame)
        else:
            body = frame.body.partition("\n")[2] if frame.kind == "run" else frame.body
            self.type(f"session_{frame.kind} ({quoted(body)});")

    def signal(self, number: signal.Signals) -> None:
        super().signal(number)
        if number == signal.SIGINT:
            # Back at its prompt, it has nothing to say of itself.
            self.type("session_stopped")


def quoted(text: str) -> str:
    """A text as Octave's double-quoted string, on one line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\\n") + '"'


def plain(texinfo: str) -> str:
    """Help as text: Octave's own way needs makeinfo, and 50 MB of Perl for that."""
    text = re.sub(r"@c(?:omment)?\s.*\n|-\*- texinfo -\*-\n?", "", texinfo)
    text = re.sub(r"^@(?:deftypefnx?|deftypevr)\s+\{[^}]*\}\s*", "    ", text, flags=re.MULTILINE)
    text = re.sub(
        r"^@(?:end|example|group|itemize|table|seealso|noindent|cindex|findex).*\n?",
        "",
        text,
        flags=re.MULTILINE,
    )
    for _ in range(4):  # braces within braces
        text = re.sub(r"@\w+\{([^{}]*)\}", r"\1", text)
    return re.sub(r"\{(\S[^{}]*)\}", r"\1", text.replace("@dots", "...").replace("@@", "@"))
