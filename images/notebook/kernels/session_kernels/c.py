"""C11: every cell is compiled with gcc, together with what earlier cells defined, and run.

What that means for a cell stands in `c_source`. A program runs from memory (memfd): it needs no
folder in which programs may be executed.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

from session_kernels import c_source
from session_kernels.c_source import Definition, Program
from session_kernels.language import (
    STOPPED,
    About,
    Completion,
    Failure,
    Front,
    Language,
    Talk,
)
from session_kernels.worker import Worker, how_it_ended

NATIVE = Path(__file__).with_name("native.so")
GCC = ("gcc", "-std=c11", "-Wall", "-fdiagnostics-color=never")
MFD_EXEC = 0x10
"""Since Linux 6.3: asked for where the default is set to "not executable"."""
WORD = re.compile(r"[A-Za-z_]\w*")


class C(Language):
    """C11, as gcc has it."""

    about = About("c", "C11", "11", "text/x-csrc", ".c", "text/x-csrc", "c")

    def __init__(self) -> None:
        self._kept: tuple[Definition, ...] = ()
        self._flags: dict[str, str] = {}

    def run(self, code: str, front: Front, count: int) -> Failure | None:
        magics = c_source.magics(code)
        if "reset" in magics:
            self._kept, self._flags = (), {}
        flags = {**self._flags, **magics}
        try:
            file = f"cell-{count}.c"
            program = c_source.program(code, file, self._kept)
            with tempfile.TemporaryDirectory() as folder:
                if failure := _compile(program, code, Path(folder), file, flags, front):
                    return failure
                self._kept = program.kept
                # Flags hold for later cells; what a program is called with, for this one.
                self._flags = {k: flags[k] for k in ("cflags", "ldflags") if k in flags}
                if not program.runs:
                    return None
                executable = _in_memory(Path(folder, "program"))
            try:
                return _run(executable, shlex.split(flags.get("args", "")), front)
            finally:
                os.close(executable)
        except KeyboardInterrupt:
            return STOPPED
        except (OSError, ValueError) as error:  # no space left; a quotation that does not end
            return Failure(type(error).__name__, str(error))

    def complete(self, code: str, cursor: int) -> Completion:
        begun = re.search(r"\w*$", code[:cursor])
        word = begun[0] if begun else ""
        names = {*c_source.KEYWORDS, *WORD.findall(code[: cursor - len(word)] + code[cursor:])}
        names |= {name.split()[-1] for d in self._kept for name in d.names}
        names |= self._declared(code).keys()
        found = (name for name in names if name.startswith(word) and word)
        return Completion(cursor - len(word), cursor, tuple(sorted(found)))

    def inspect(self, code: str, cursor: int) -> str:
        word = next((m[0] for m in WORD.finditer(code) if m.start() <= cursor <= m.end()), "")
        for definition in reversed(self._kept):
            if word and word in [name.split()[-1] for name in definition.names]:
                return f"{definition.file}:{definition.line}\n{definition.text}"
        return self._declared(code).get(word, "")

    def is_complete(self, code: str) -> str:
        return c_source.closed(code)

    def _declared(self, code: str) -> dict[str, str]:
        """The functions that headers declare, as gcc tells them; for this, no cell need compile."""
        directives = [p for p in c_source.items(code) if p.kind is c_source.Kind.DIRECTIVE]
        headers = "\n".join(code[p.start : p.end] for p in directives)
        source = c_source.prelude(self._kept) + headers + "\n"
        told = subprocess.run(
            [*GCC, "-w", "-fsyntax-only", "-aux-info", "/dev/stdout", "-x", "c", "-"],
            input=source,
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        found = {}
        for place, declaration in re.findall(r"^/\* (\S+):\w+ \*/ (.*?;)", told, re.MULTILINE):
            if name := re.search(r"(\w+) \(", declaration):
                found[name[1]] = f"{declaration.removeprefix('extern ')}\n{place}"
        return found


def _compile(
    program: Program, code: str, folder: Path, file: str, flags: dict[str, str], front: Front
) -> Failure | None:
    # gcc reads this one to show the lines it complains about.
    (folder / file).write_text(code)
    (folder / "unit.c").write_text(program.source)
    here = os.fspath(Path.cwd())
    done = Worker(
        [
            *(*GCC, *shlex.split(flags.get("cflags", "")), "-iquote", here, "unit.c"),
            *(("-o", "program") if program.runs else ("-c", "-o", "unit.o")),
            *("-lm", *shlex.split(flags.get("ldflags", ""))),
        ],
        cwd=folder,
    )
    said = _Said()
    try:
        Talk(done, said).until()
    finally:
        code_of_gcc = done.end()
    if code_of_gcc == 0:
        if said.text:
            front.stream("stderr", said.text)
        return None
    lines = said.text.rstrip().split("\n")
    first = next((line for line in lines if "error:" in line), lines[0])
    return Failure("CompileError", first.partition("error: ")[2] or first, tuple(lines))


def _in_memory(program: Path) -> int:
    """The descriptor of an executable in memory."""
    try:
        descriptor = os.memfd_create(program.name, MFD_EXEC)
    except OSError:
        descriptor = os.memfd_create(program.name, 0)
    data = memoryview(program.read_bytes())
    while data:
        data = data[os.write(descriptor, data) :]
    return descriptor


def _run(executable: int, arguments: list[str], front: Front) -> Failure | None:
    worker = Worker(
        ["env", f"LD_PRELOAD={NATIVE}", f"/proc/self/fd/{executable}", *arguments],
        pass_fds=(executable,),
    )
    try:
        Talk(worker, front).until()
    finally:
        code = worker.end()
    if code == 0:
        return None
    if code > 0:
        return Failure("ExitStatus", f"the program ended with {code}")
    name, how = how_it_ended(code)
    return Failure(name, f"the program {how}")


class _Said:
    """Takes what the compiler says."""

    def __init__(self) -> None:
        self.text = ""

    def stream(self, name: str, text: str) -> None:
        self.text += text

    def result(self, text: str) -> None: ...
    def display(self, data: object, display_id: str) -> None: ...
    def ask(self) -> None:
        return None
