"""WebDriver BiDi, enough of it: Firefox speaks it itself, without a driver.

https://w3c.github.io/webdriver-bidi/
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket

from tests.lab import engine

FIREFOX = "/usr/bin/firefox-esr"
CONTROL, ENTER = "\ue009", "\ue007"


class Firefox:
    """One window; `frame` is the first frame in it."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(
            f"{address}/session", timeout=60, http_no_proxy=["*"], suppress_origin=True
        )
        self._ids = itertools.count(1)
        self.command("session.new", capabilities={"alwaysMatch": {"acceptInsecureCerts": True}})
        self._window = self.command("browsingContext.getTree")["contexts"][0]["context"]

    def command(self, method: str, **params: Any) -> Any:
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == number:
                assert answer["type"] == "success", answer
                return answer["result"]

    def goto(self, url: str) -> None:
        self.command("browsingContext.navigate", context=self._window, url=url, wait="complete")

    @property
    def frame(self) -> str | None:
        (tree,) = self.command("browsingContext.getTree", root=self._window)["contexts"]
        return tree["children"][0]["context"] if tree["children"] else None

    def evaluate(self, expression: str, context: str | None = None) -> Any:
        """The value of a JavaScript expression, by JSON; None while there is no such page."""
        result = self.command(
            "script.evaluate",
            expression=f"JSON.stringify({expression})",
            target={"context": context or self._window},
            awaitPromise=True,
        )
        return json.loads(result["result"].get("value", "null")) if "result" in result else None

    def click(self, context: str, element: str) -> None:
        """In the middle of an element, a JavaScript expression."""
        middle = (
            f"(r => [Math.round(r.x + r.width / 2), Math.round(r.y + r.height / 2)])"
            f"({element}.getBoundingClientRect())"
        )
        x, y = self.evaluate(middle, context)
        actions = [
            {"type": "pointerMove", "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        pointer = {"type": "pointer", "id": "mouse", "actions": actions}
        self.command("input.performActions", context=context, actions=[pointer])

    def press(self, context: str, *keys: str) -> None:
        """Keys, one after the other."""
        self._type(context, [(kind, key) for key in keys for kind in ("keyDown", "keyUp")])

    def chord(self, context: str, *keys: str) -> None:
        """Keys, all held together."""
        down = [("keyDown", key) for key in keys]
        self._type(context, down + [("keyUp", key) for key in reversed(keys)])

    def _type(self, context: str, strokes: list[tuple[str, str]]) -> None:
        actions = [{"type": kind, "value": key} for kind, key in strokes]
        keyboard = {"type": "key", "id": "keyboard", "actions": actions}
        self.command("input.performActions", context=context, actions=[keyboard])

    def screenshot(self, path: Path) -> None:
        shot = self.command("browsingContext.captureScreenshot", context=self._window)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        self._socket.close()


@contextmanager
def firefox(folder: Path, preferences: dict[str, Any]) -> Iterator[Firefox]:
    """A Firefox with a new profile in `folder`."""
    folder.mkdir()
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in preferences.items()]
    (folder / "user.js").write_text("\n".join(lines))
    told = folder / "told"
    with told.open("w") as output:
        running = subprocess.Popen(
            [
                *(FIREFOX, "--headless", "--no-remote", "--profile", str(folder)),
                *("--remote-debugging-port", "0", "about:blank"),
            ],
            stdout=output,
            stderr=output,
            env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "MOZ_DISABLE_CONTENT_SANDBOX": "1"},
        )
    try:
        address = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
        assert engine.until(lambda: bool(address.search(told.read_text())), 60), told.read_text()
        found = address.search(told.read_text())
        assert found
        browser = Firefox(found[1])
        yield browser
        browser.close()
    finally:
        running.terminate()
        running.wait(30)
