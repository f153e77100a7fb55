"""A kernel in a session, by the session's own API and websocket.

Of `KernelManager` and `KernelClient` it has what jupyter_kernel_test and nbclient use, and it never
waits without end. `cell` runs code and tells all that a client sees.
"""

from __future__ import annotations

import json
import queue
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import websocket

from tests.kernels.container import Outcome
from tests.lab.client import ClientError, Session

WAIT_S = 60
DEAD = ("restarting", "autorestarting", "dead")
Message = dict[str, Any]


class Channel:
    """Messages of one channel, as they came."""

    least = 0.0
    """For how many seconds it waits at least: for callers that count on a kernel beside them."""

    def __init__(self) -> None:
        self._messages: queue.Queue[Message] = queue.Queue()

    def put(self, message: Message) -> None:
        self._messages.put(message)

    def get_msg(self, timeout: float | None = None) -> Message:
        """The next message; queue.Empty after *timeout* seconds, WAIT_S where there is none."""
        return self._messages.get(timeout=max(WAIT_S if timeout is None else timeout, self.least))


class Channels:
    """A running kernel. Other clients' messages are left out, as the kernel marks them."""

    has_kernel = True
    allow_stdin = False

    def __init__(self, session: Session, name: str) -> None:
        self.kernel_name = name
        self._server = session
        self.kernel_id = session.start_kernel(name)
        self._me = uuid.uuid4().hex
        self.shell_channel, self.iopub_channel = Channel(), Channel()
        self.stdin_channel, self.control_channel = Channel(), Channel()
        self._socket = session.socket(self.kernel_id, WAIT_S)
        self._socket.settimeout(None)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        channels = {
            "shell": self.shell_channel,
            "iopub": self.iopub_channel,
            "stdin": self.stdin_channel,
            "control": self.control_channel,
        }
        while True:
            try:
                received = self._socket.recv()
            except (websocket.WebSocketException, OSError):
                return
            if not received:
                return
            message = json.loads(received)
            asked_by = message["parent_header"].get("session", self._me)
            if asked_by == self._me or message["content"].get("execution_state") in DEAD:
                channels[message.pop("channel")].put(message)

    def _send(self, kind: str, content: Message, channel: str = "shell") -> str:
        header = {
            "msg_id": uuid.uuid4().hex,
            "session": self._me,
            "username": "",
            "msg_type": kind,
            "version": "5.3",
            "date": "",
        }
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        self._socket.send(json.dumps(message | {"channel": channel}))
        return header["msg_id"]

    # --- KernelClient ------------------------------------------------------------------------
    def get_shell_msg(self, timeout: float | None = None) -> Message:
        return self.shell_channel.get_msg(timeout)

    def kernel_info(self) -> str:
        return self._send("kernel_info_request", {})

    def execute(
        self,
        code: str,
        silent: bool = False,
        store_history: bool = True,
        allow_stdin: bool = False,
        stop_on_error: bool = True,
    ) -> str:
        content = {
            "code": code,
            "silent": silent,
            "store_history": store_history,
            "user_expressions": {},
            "allow_stdin": allow_stdin,
            "stop_on_error": stop_on_error,
        }
        return self._send("execute_request", content)

    def complete(self, code: str) -> str:
        return self._send("complete_request", {"code": code, "cursor_pos": len(code)})

    def inspect(self, code: str) -> str:
        content = {"code": code, "cursor_pos": len(code), "detail_level": 0}
        return self._send("inspect_request", content)

    def is_complete(self, code: str) -> str:
        return self._send("is_complete_request", {"code": code})

    def history(self, **content: Any) -> str:
        return self._send("history_request", content)

    # --- KernelManager -----------------------------------------------------------------------
    def is_alive(self) -> bool:
        return self._server.request("GET", f"/api/kernels/{self.kernel_id}").status_code == 200

    def interrupt_kernel(self) -> None:
        answer = self._server.request("POST", f"/api/kernels/{self.kernel_id}/interrupt")
        assert answer.status_code == 204, answer.text

    # --- A person ----------------------------------------------------------------------------
    def ask(self, kind: str, code: str) -> Message:
        """The content of the answer to "complete", "inspect" or "is_complete"."""
        return self._answer(getattr(self, kind)(code), WAIT_S)

    def _answer(self, asked: str, seconds: float) -> Message:
        deadline = time.monotonic() + seconds
        while True:
            message = self.get_shell_msg(max(0.01, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") == asked:
                content: Message = message["content"]
                return content

    def ready(self) -> None:
        """Wait until the kernel answers, also one that is being started anew."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                self._answer(self.kernel_info(), 2)
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise ClientError(f"{self.kernel_name} does not answer") from None
            else:
                return

    def cell(
        self,
        code: str,
        *,
        answers: Sequence[str] | None = None,
        stop_at: str | None = None,
        timeout: float = WAIT_S,
    ) -> Outcome:
        """Run *code* and see what comes of it.

        *answers*: lines for what it asks; None: nobody can be asked. *stop_at*: interrupt it when
        it has printed this; `seconds` counts from there. The status is "dead" where the kernel's
        process ended.
        """
        found = Outcome("", 0.0, 0)
        lines = iter(answers or ())
        asked = self.execute(code, allow_stdin=answers is not None)
        started = time.monotonic()
        deadline = started + timeout
        while True:
            if time.monotonic() > deadline:
                raise ClientError(f"{self.kernel_name}: no end after {timeout:g} s: {code!r}")
            try:
                question = self.stdin_channel.get_msg(0.001)
                reply = {"value": next(lines)}
                assert question["header"]["msg_type"] == "input_request"
                self._send("input_reply", reply, "stdin")
            except queue.Empty:
                pass
            try:
                message = self.iopub_channel.get_msg(0.05)
            except queue.Empty:
                continue
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] in DEAD:
                found.status, found.seconds = "dead", time.monotonic() - started
                return found
            if message["parent_header"].get("msg_id") != asked:
                continue
            if _add(found, kind, content):
                break
            if stop_at and stop_at in found.stdout:
                stop_at, started = None, time.monotonic()
                self.interrupt_kernel()
        reply = self._answer(asked, max(0.01, deadline - time.monotonic()))
        found.status, found.seconds = reply["status"], time.monotonic() - started
        return found

    def close(self) -> None:
        """End the kernel."""
        self._socket.close()
        self._server.stop_kernel(self.kernel_id)
        self._reader.join(WAIT_S)


def _add(found: Outcome, kind: str, content: Message) -> bool:
    """Add a message to what was seen; True: it was the last one."""
    found.messages += 1
    if kind == "stream":
        setattr(found, content["name"], getattr(found, content["name"]) + content["text"])
    elif kind == "execute_result":
        found.result = content["data"].get("text/plain", "")
    elif kind in ("display_data", "update_display_data"):
        found.displays.append(content["data"])
    elif kind == "error":
        found.name, found.value = content["ename"], content["evalue"]
        found.traceback = "\n".join(content["traceback"])
    return kind == "status" and content["execution_state"] == "idle"


@contextmanager
def kernel(session: Session, name: str) -> Iterator[Channels]:
    """A kernel for the length of a `with` block."""
    channels = Channels(session, name)
    try:
        channels.ready()
        yield channels
    finally:
        channels.close()
