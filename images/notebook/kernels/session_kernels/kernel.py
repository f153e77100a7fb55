"""Jupyter's side: an ipykernel whose cells some `Language` runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipykernel.kernelbase import Kernel

from session_kernels import __version__
from session_kernels.language import Failure, Language

RED, PLAIN = "\x1b[31m", "\x1b[0m"


class LanguageKernel(Kernel):  # type: ignore[misc]
    """The kernel of the language that a subclass names."""

    make: type[Language]
    implementation = "session-kernels"
    implementation_version = __version__

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.language = self.make()
        self._known: set[str] = set()
        self._silent = False

    @property
    def banner(self) -> str:
        return self.make.about.title

    @property
    def language_info(self) -> dict[str, Any]:
        about = self.make.about
        return {
            "name": about.name,
            "version": about.version,
            "mimetype": about.mimetype,
            "file_extension": about.extension,
            "codemirror_mode": about.highlighter,
            "pygments_lexer": about.lexer,
        }

    # --- What Jupyter asks -------------------------------------------------------------------
    def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: dict[str, Any] | None = None,
        allow_stdin: bool = False,
        **_: Any,
    ) -> dict[str, Any]:
        self._silent, self._allow_stdin = silent, allow_stdin
        count = {"execution_count": self.execution_count}
        failure = None
        if code.strip():
            failure = self.language.run(code, self, self.execution_count)
        if failure is None:
            return {"status": "ok", **count, "payload": [], "user_expressions": {}}
        content = error(failure)
        if not silent:
            self.send_response(self.iopub_socket, "error", content)
        return {"status": "error", **count, **content}

    def do_complete(self, code: str, cursor_pos: int) -> dict[str, Any]:
        found = self.language.complete(code, cursor_pos)
        return {
            "status": "ok",
            "matches": list(found.matches),
            "cursor_start": found.start,
            "cursor_end": found.end,
            "metadata": {},
        }

    def do_inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()
    ) -> dict[str, Any]:
        text = self.language.inspect(code, cursor_pos)
        data = {"text/plain": text} if text else {}
        return {"status": "ok", "found": bool(text), "data": data, "metadata": {}}

    def do_is_complete(self, code: str) -> dict[str, Any]:
        status = self.language.is_complete(code)
        return {"status": status, **({"indent": "    "} if status == "incomplete" else {})}

    def do_shutdown(self, restart: bool) -> dict[str, Any]:
        self.language.close()
        return {"status": "ok", "restart": restart}

    # --- What a language shows (language.Front) ----------------------------------------------
    def _send(self, kind: str, content: Mapping[str, Any]) -> None:
        if not self._silent:
            self.send_response(self.iopub_socket, kind, content)

    def stream(self, name: str, text: str) -> None:
        self._send("stream", {"name": name, "text": text})

    def result(self, text: str) -> None:
        content = {"data": {"text/plain": text}, "metadata": {}}
        self._send("execute_result", {"execution_count": self.execution_count, **content})

    def display(self, data: Mapping[str, Any], display_id: str) -> None:
        kind = "update_display_data" if display_id in self._known else "display_data"
        transient = {}
        if display_id:
            self._known.add(display_id)
            transient = {"display_id": display_id}
        self._send(kind, {"data": dict(data), "metadata": {}, "transient": transient})

    def ask(self) -> str | None:
        return str(self.raw_input()) if self._allow_stdin else None


def error(failure: Failure) -> dict[str, Any]:
    """The content of Jupyter's message."""
    head = f"{RED}{failure.name}{PLAIN}: {failure.value}"
    traceback = list(failure.traceback) or [head]
    return {"ename": failure.name, "evalue": failure.value, "traceback": traceback}
