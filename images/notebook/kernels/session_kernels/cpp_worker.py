"""The process in which C++ cells run, with cling.so loaded: the module is its program."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys

os.environ["CPPYY_API_PATH"] = "none"  # else cppyy warns that its headers for Python are missing

import cppyy

from session_kernels.c_source import closed
from session_kernels.cpp_source import STANDARD, Kind, Piece, pieces
from session_kernels.frames import Frame

PRELUDE = """
#include <iostream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <ext/stdio_sync_filebuf.h>
#include "cling/Interpreter/RuntimePrintValue.h"
extern "C" {
void session_show(const char *);
}
namespace session {
struct Nothing {};
inline void show(Nothing) {}
inline void show(const std::string &text) { session_show(text.c_str()); }
// `expression, Nothing{}`: with an expression of type void, this is the comma of the language.
template <class T> std::string operator,(T &&value, Nothing)
{
    using Plain = std::remove_cv_t<std::remove_reference_t<T>>;
    if constexpr (std::is_enum_v<Plain>) {
        auto number = static_cast<std::underlying_type_t<Plain>>(value);
        return cling::printValue(&number);
    } else if constexpr (std::is_base_of_v<std::ios_base, Plain>) {
        return "";
    } else if constexpr (std::is_null_pointer_v<Plain>) {
        return "nullptr";
    } else if constexpr (std::is_pointer_v<Plain> && !std::is_same_v<Plain, char *>
                         && !std::is_same_v<Plain, const char *>) {
        const void *address = reinterpret_cast<const void *>(value);
        return address ? cling::printValue(&address) : "nullptr";
    } else {
        return cling::printValue(&value);
    }
}
}
"""
NEWLINE = "\n"
NAME = re.compile(r"[A-Za-z_][\w:.>-]*$")
WORDS = sorted(
    {
        *("alignas", "alignof", "auto", "bool", "break", "case", "catch", "char", "class", "const"),
        *("constexpr", "continue", "decltype", "default", "delete", "do", "double", "else", "enum"),
        *("explicit", "extern", "false", "float", "for", "friend", "if", "inline", "int", "long"),
        *("namespace", "new", "noexcept", "nullptr", "operator", "private", "protected", "public"),
        *("return", "short", "signed", "sizeof", "static", "static_assert", "std", "struct"),
        *("switch", "template", "this", "throw", "true", "try", "typedef", "typename", "union"),
        *("unsigned", "using", "virtual", "void", "volatile", "while"),
    }
)


class Interpreter:
    """Cling, with what cling.so knows of its errors."""

    def __init__(self) -> None:
        self._native = ctypes.CDLL(None)
        for name in ("session_thrown", "session_what", "session_value"):
            getattr(self._native, name).restype = ctypes.c_char_p
        self._cling = cppyy.gbl.gInterpreter
        if not self._cling.Declare(PRELUDE):
            sys.exit("the C++ interpreter does not start")
        # libstdc++ came to life before native.so gave the process another standard input.
        self._cling.ProcessLine(
            "std::cin.rdbuf(new __gnu_cxx::stdio_sync_filebuf<char>(stdin)), void();"
        )
        # Cling would tell of a crash and exit with 1.
        for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT):
            signal.signal(number, signal.SIG_DFL)
        self._checks = 0
        self.texts: dict[str, str] = {}

    def run(self, cell: str, count: int) -> Frame:
        """Run a cell; "ok", or "error" with an error's name, value and text."""
        if closed(cell) != "complete":
            return Frame("error", "CompileError\na bracket is not closed\na bracket is not closed")
        for piece in pieces(cell):
            if failure := self._interpret(piece, f"cell-{count}"):
                return Frame("error", failure)
            if piece.kind is Kind.DEFINITION and (name := _defined(piece.text)):
                self.texts[name] = piece.text
        return Frame("ok")

    @property
    def value(self) -> str:
        """The value of the cell's last piece, if that was an expression."""
        return self._text("session_value").rstrip("\n")

    def _text(self, name: str) -> str:
        return bytes(getattr(self._native, name)()).decode(errors="replace")

    def _interpret(self, piece: Piece, file: str) -> str:
        """Compile a piece and run it; return nothing, or an error's name, value and text."""
        code = f'#line {piece.line} "{file}"\n{piece.text}'
        if piece.kind is Kind.EXPRESSION:
            code = f"session::show(((\n{code}\n), session::Nothing{{}}));"
        elif piece.kind is Kind.STATEMENTS and not code.endswith((";", "}")):
            code += ";"
        self._native.session_fresh()
        if piece.kind in (Kind.DIRECTIVES, Kind.DEFINITION):
            with Said() as said:
                done = self._process(code)
            if not done and "function definition is not allowed here" in said.text:
                # Cling does not see the function before a noexcept or the like.
                with Said() as said:
                    done = bool(self._cling.Declare(code))
            if done:
                sys.stderr.write(said.text)
            return "" if done else _compile_error(said.text)
        # Else Cling would look for a name that is not declared when the program comes to it.
        self._checks += 1
        with Said() as said:
            sound = self._cling.Declare(f"void session_check_{self._checks}() {{\n{code}\n}}")
        if not sound:
            return _compile_error(said.text)
        if self._process(code):
            return ""
        thrown, what = self._text("session_thrown"), self._text("session_what")
        if not thrown or thrown.startswith("cling::"):
            return _compile_error(what)
        thrown = re.sub(r"__cling_N\d+::", "", thrown)
        what = what or "a value of this type was thrown"
        return f"{thrown}\n{what.partition(NEWLINE)[0]}\n{thrown}: {what}"

    def _process(self, code: str) -> bool:
        error = ctypes.c_int(0)
        try:
            self._cling.ProcessLine(code, ctypes.pointer(error))
        except Exception as raised:  # noqa: BLE001  (whatever cppyy makes of a C++ exception)
            print(raised, file=sys.stderr, flush=True)
            return False
        return error.value == 0

    def complete(self, code: str, cursor: int) -> Frame:
        """Names that may stand at the cursor."""
        found = NAME.search(code[:cursor])
        name = found[0] if found else ""
        owner, _, begun = re.sub(r"->|::", ".", name).rpartition(".")
        names: set[str] = set()
        if owner:
            names = {n for n in dir(self._find(owner)) if not n.startswith("_")}
            names |= STANDARD if owner == "std" else set()
        elif begun:
            words = re.findall(r"[A-Za-z_]\w*", code[: cursor - len(begun)] + code[cursor:])
            names = {*WORDS, *self.texts, *words}
        matches = sorted(n for n in names if n.startswith(begun))
        return Frame("matches", "\n".join([str(cursor - len(begun)), str(cursor), *matches]))

    def inspect(self, code: str, cursor: int) -> Frame:
        """What is known of the name at the cursor."""
        end = cursor
        while end < len(code) and re.match(r"\w", code[end]):
            end += 1
        found = NAME.search(code[:end])
        name = found[0].strip(":.->") if found else ""
        if name in self.texts:
            return Frame("text", self.texts[name])
        thing = self._find(re.sub(r"->|::", ".", name)) if name else None
        if thing is None:
            return Frame("text")
        described = getattr(thing, "__doc__", None) if callable(thing) else None
        kind = getattr(type(thing), "__cpp_name__", None)
        kind = kind if isinstance(kind, str) else type(thing).__name__
        return Frame("text", described if isinstance(described, str) else f"{kind} {name}")

    @staticmethod
    def _find(name: str) -> object:
        found: object = cppyy.gbl
        for part in name.split("."):
            try:
                found = getattr(found, part)
            except Exception:  # noqa: BLE001  (no such name, or one that cppyy cannot show)
                return None
        return found


def _defined(text: str) -> str:
    """The name that a definition gives, as far as its beginning tells."""
    head = re.split(r"[{;=]", re.sub(r"^template\s*<[^{;]*?>\s*(?=\w)", "", text), maxsplit=1)[0]
    if tag := re.match(r"(?:class|struct|union|namespace|enum(?: class)?|using)\s+(\w+)", head):
        return tag[1]
    called = re.search(r"([A-Za-z_]\w*)\s*\(", head)
    return called[1] if called else ""


def _compile_error(said: str) -> str:
    first = re.search(r"error: (.*)", said)
    return f"CompileError\n{first[1] if first else 'see above'}\n{said.rstrip()}"


class Said:
    """What the compiler says meanwhile: standard error, in memory."""

    text = ""

    def __enter__(self) -> Said:
        self._memory, self._before = os.memfd_create("said"), os.dup(2)
        os.dup2(self._memory, 2)
        return self

    def __exit__(self, *_: object) -> None:
        os.dup2(self._before, 2)
        self.text = os.pread(self._memory, 1 << 20, 0).decode(errors="replace")
        os.close(self._memory)
        os.close(self._before)


def main() -> None:
    """Answer the kernel's frames until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt ends what cannot be stopped
    interpreter = Interpreter()
    with (
        os.fdopen(int(os.environ["KERNEL_IN"]), "rb", buffering=0) as commands,
        os.fdopen(int(os.environ["KERNEL_OUT"]), "wb", buffering=0) as answers,
    ):
        answers.write(Frame("ready").encode())
        while raw := _until_nul(commands.fileno()):
            frame = Frame.decode(raw)
            number, _, code = frame.body.partition("\n")
            if frame.kind == "run":
                cppyy.gbl.std.cin.clear()  # an input that ended has ended for one cell
                answer = interpreter.run(code, int(number))
                _flush()
                if answer.kind == "ok" and interpreter.value:
                    answers.write(Frame("result", interpreter.value).encode())
            elif frame.kind == "complete":
                answer = interpreter.complete(code, int(number))
            elif frame.kind == "inspect":
                answer = interpreter.inspect(code, int(number))
            else:
                answer = Frame("status", closed(frame.body))
            answers.write(answer.encode())


def _until_nul(descriptor: int) -> bytes:
    """A frame; nothing: the kernel has ended. Byte by byte: what follows may be for std::cin."""
    found = b""
    while (byte := os.read(descriptor, 1)) and byte != b"\0":
        found += byte
    return found


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    cppyy.gbl.std.cout.flush()
    cppyy.gbl.std.cerr.flush()
    ctypes.CDLL(None).fflush(None)


if __name__ == "__main__":
    main()
