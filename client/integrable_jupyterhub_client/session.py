"""One session: its files, its kernels, its links."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self, overload
from urllib.parse import quote, urlencode

import requests
import websocket
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from integrable_jupyterhub_client.errors import (
    HubError,
    HubUnreachable,
    KernelTimeout,
    NotFound,
    SessionGone,
)
from integrable_jupyterhub_client.http import AWAY, CALL_S, PAUSE_S, Caller, error_of, from_the_hub

RECEIVE_S = 1.0

Content = bytes | str
"""What a file holds; str becomes UTF-8."""
Notebook = Mapping[str, Any]
"""A notebook as json.loads gives it."""
Output = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What a cell came to. *outputs*: as a notebook file holds them (nbformat 4)."""

    outputs: list[Output]

    def _stream(self, name: str) -> str:
        return "".join(o["text"] for o in self.outputs if o.get("name") == name)

    @property
    def stdout(self) -> str:
        return self._stream("stdout")

    @property
    def stderr(self) -> str:
        return self._stream("stderr")

    @property
    def value(self) -> str | None:
        """The cell's last expression, as text."""
        for output in self.outputs:
            if output["output_type"] == "execute_result":
                text: str = output["data"].get("text/plain", "")
                return text
        return None

    @property
    def error(self) -> str | None:
        """As in "NameError: …"."""
        for output in self.outputs:
            if output["output_type"] == "error":
                return f"{output['ename']}: {output['evalue']}"
        return None

    @property
    def text(self) -> str:
        """Everything a person would read below the cell."""
        return self.stdout + self.stderr + (self.value or "") + (self.error or "")


class Session:
    """One single-user server, opened with a token; *url* ends in /user/NAME.

    Every method raises HubError; SessionGone where the session has ended.
    """

    def __init__(
        self, url: str, token: str, ca: Path | str | None = None, *, patience: float = 30
    ) -> None:
        self.url, self.token, self.ca = url.rstrip("/"), token, ca
        self._caller = Caller(self.url, token, ca, patience)
        self.http, self.request = self._caller.http, self._caller.request
        self.ending: Callable[[], None] = lambda: None

    @property
    def name(self) -> str:
        """The user's, as it stands in the URL."""
        return self.url.rpartition("/")[2]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session with its user, if Hub.session() made it."""
        self.ending()

    def status(self) -> int:
        """HTTP status of /api/status, tried once: 200 when it serves and the token opens it."""
        return self.request("GET", "/api/status").status_code

    def link(
        self,
        page: str = "lab",
        *,
        save_before_unload: bool = False,
        prevent_before_unload_propagation: bool = False,
    ) -> str:
        """A link that opens the session in a browser or a frame, with its token.

        *page*: `lab`, `lab/tree/FILE`, `notebooks/FILE` (one notebook, without the lab around it),
        `tree`. *save_before_unload*: documents are saved when the page goes;
        *prevent_before_unload_propagation*: nobody is asked whether to leave.
        """
        query = {"token": self.token}
        if save_before_unload:
            query["saveBeforeUnload"] = "true"
        if prevent_before_unload_propagation:
            query["preventBeforeUnloadPropagation"] = "true"
        return f"{self.url}/{quote(page)}?{urlencode(query)}"

    # --- Files ---------------------------------------------------------------------------------
    def put(self, files: Mapping[str, Content]) -> None:
        """Write files, as in {"data/a.csv": b"…"}; their folders are made."""
        folders = {str(f) for path in files for f in PurePosixPath(path.strip("/")).parents}
        for folder in sorted(folders - {"."}):  # parents come first
            self._ask("PUT", _contents(folder), {200, 201}, body={"type": "directory"})
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            body = {
                "type": "file",
                "format": "base64",
                "content": base64.b64encode(data).decode(),
            }
            self._ask("PUT", _contents(path), {200, 201}, body=body)

    def get(self, path: str) -> bytes:
        """A file as it is, byte by byte. Raises NotFound."""
        # Without a type a notebook comes parsed, and would be written anew.
        answer = self._ask("GET", f"{_contents(path)}?type=file&format=base64", {200})
        return base64.b64decode(answer.json()["content"])

    def files(self, folder: str = "") -> dict[str, bytes]:
        """All files in a folder and those below it, by their paths; hidden ones stay unseen."""
        return {path: self.get(path) for path in self.paths(folder)}

    def paths(self, folder: str = "") -> list[str]:
        """The paths of all files in a folder and those below it."""
        found: list[str] = []
        listed = self._ask("GET", f"{_contents(folder)}?type=directory", {200}).json()["content"]
        for entry in listed:
            found += self.paths(entry["path"]) if entry["type"] == "directory" else [entry["path"]]
        return sorted(found)

    def delete(self, path: str) -> None:
        """Delete a file or an empty folder; nothing to do if it is gone."""
        self._ask("DELETE", _contents(path), {204, 404})

    # --- Code ----------------------------------------------------------------------------------
    @overload
    def run(
        self, code: str, *, kernel: str | None = None, name: str | None = None, timeout: float = 60
    ) -> Result: ...
    @overload
    def run(
        self,
        code: Notebook,
        *,
        kernel: str | None = None,
        name: str | None = None,
        timeout: float = 60,
    ) -> list[Result]: ...
    def run(
        self,
        code: str | Notebook,
        *,
        kernel: str | None = None,
        name: str | None = None,
        timeout: float = 60,
    ) -> Result | list[Result]:
        """Run code, or the code cells of a notebook, one after the other up to the first error.

        A notebook's result is that of each cell that ran. *kernel*: the id of one that is running;
        None: one of its own, called *name* (python3, or what the notebook names). *timeout*:
        seconds for each cell; KernelTimeout. Code is sent once, whatever happens.
        """
        notebook = None if isinstance(code, str) else code
        wanted = (notebook or {}).get("metadata", {}).get("kernelspec", {}).get("name")
        with self._kernel(kernel, name or wanted or "python3") as its:
            if isinstance(code, str):
                return self._execute(its, code, timeout)
            results: list[Result] = []
            for cell in code["cells"]:
                if cell["cell_type"] == "code" and not (results and results[-1].error):
                    source = cell["source"]
                    text = source if isinstance(source, str) else "".join(source)
                    results.append(self._execute(its, text, timeout))
            return results

    def notebook(self, path: str) -> dict[str, Any]:
        """A notebook of the session, to be run."""
        found: dict[str, Any] = json.loads(self.get(path))
        return found

    def start_kernel(self, name: str = "python3") -> str:
        """Start a kernel and return its id."""
        # Not tried again without an answer: nobody would end the first one.
        kernel: str = self._ask("POST", "/api/kernels", {201}, body={"name": name}).json()["id"]
        return kernel

    def stop_kernel(self, kernel: str) -> None:
        """End a kernel; nothing to do if it is gone."""
        self._ask("DELETE", f"/api/kernels/{kernel}", {204, 404})

    def socket(self, kernel: str, timeout: float) -> websocket.WebSocket:
        """The websocket of a kernel's channels; waits *timeout* seconds, then raises its errors."""
        return websocket.create_connection(
            f"ws{self.url.removeprefix('http')}/api/kernels/{kernel}/channels",
            header=[f"Authorization: token {self.token}"],
            sslopt={"ca_certs": str(self.ca or DEFAULT_CA_BUNDLE_PATH)},
            http_no_proxy=["*"],
            timeout=timeout,
        )

    @contextmanager
    def _kernel(self, kernel: str | None, name: str) -> Iterator[str]:
        own = kernel or self.start_kernel(name)
        try:
            yield own
        finally:
            if not kernel:
                self.stop_kernel(own)

    def _execute(self, kernel: str, code: str, timeout: float) -> Result:
        socket = self._connected(kernel, min(timeout, CALL_S))
        try:
            return _talk(socket, code, timeout)
        except (websocket.WebSocketException, OSError) as error:
            self._ask("GET", "/api/status", {200})
            raise HubError(f"the connection to kernel {kernel} broke: {error}") from error
        finally:
            socket.close()

    def _connected(self, kernel: str, timeout: float) -> websocket.WebSocket:
        """The websocket; tried again while the hub is away, for nothing was sent yet."""
        deadline = time.monotonic() + self._caller.patience
        while True:
            try:
                return self.socket(kernel, timeout)
            except (websocket.WebSocketException, OSError) as error:
                self._ask("GET", "/api/status", {200})  # waits; SessionGone says more
                left = deadline - time.monotonic()
                if getattr(error, "status_code", 502) not in AWAY or left < PAUSE_S:
                    raise HubUnreachable(f"kernel {kernel}: {error}") from error
            time.sleep(PAUSE_S)

    def _ask(
        self, method: str, path: str, allowed: set[int], *, body: Any = None
    ) -> requests.Response:
        answer = self._caller.ask(method, path, {*allowed, 404, 424}, body=body)
        if answer.status_code == 424 or (answer.status_code == 404 and from_the_hub(answer)):
            raise SessionGone(str(error_of(f"{method} {path}", answer)), answer.status_code)
        if answer.status_code not in allowed:
            raise NotFound(str(error_of(f"{method} {path}", answer)), answer.status_code)
        return answer


def _contents(path: str) -> str:
    return f"/api/contents/{quote(path.strip('/'))}"


def _talk(socket: websocket.WebSocket, code: str, timeout: float) -> Result:
    """Have code executed, and read until all of its outputs are there."""
    header = {"msg_id": uuid.uuid4().hex, "session": uuid.uuid4().hex, "username": ""}
    request = {
        "header": header | {"msg_type": "execute_request", "version": "5.3", "date": ""},
        "parent_header": {},
        "metadata": {},
        "channel": "shell",
        "content": {"code": code, "silent": False, "allow_stdin": False, "stop_on_error": True},
    }
    deadline = time.monotonic() + timeout
    outputs: list[Output] = []
    waiting = {"execute_reply", "idle"}  # they come by two channels, in either order
    socket.send(json.dumps(request))
    while waiting:
        if time.monotonic() > deadline:
            raise KernelTimeout(f"no answer from the kernel after {timeout:g} s: {code!r}")
        # Short: the server's pings would begin a longer wait anew, again and again.
        socket.settimeout(RECEIVE_S)
        try:
            message = json.loads(socket.recv())
        except websocket.WebSocketTimeoutException:
            continue
        if message["parent_header"].get("msg_id") != header["msg_id"]:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "execute_reply":
            waiting.discard("execute_reply")
        elif kind == "status" and content["execution_state"] == "idle":
            waiting.discard("idle")
        else:
            _add(outputs, kind, content)
    return Result(outputs)


def _add(outputs: list[Output], kind: str, content: dict[str, Any]) -> None:
    """Add a kernel's message to a cell's outputs, as nbformat 4 has them."""
    last = outputs[-1] if outputs else {}
    match kind:
        case "stream" if last.get("name") == content["name"]:
            last["text"] += content["text"]
        case "stream":
            outputs.append({"output_type": kind, "name": content["name"], "text": content["text"]})
        case "execute_result" | "display_data":
            keys = ("data", "metadata", *(["execution_count"] if kind == "execute_result" else []))
            outputs.append({"output_type": kind} | {key: content.get(key) for key in keys})
        case "error":
            keys = ("ename", "evalue", "traceback")
            outputs.append({"output_type": kind} | {key: content[key] for key in keys})
