"""What an integrator does, as code: the hub's REST API, and one session with its kernels.

The calls are those of the contract: create a user, start its server, mint a token that opens this
one session and nothing else, use it, delete the user.
"""

import json
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import websocket

CALL_S = 60
POLL_S = 0.2
RECEIVE_S = 1.0


class ClientError(Exception):
    """An answer that the contract does not allow; one line."""


def _http(token: str, ca: Path) -> requests.Session:
    """HTTP with *token*, trusting *ca* and nothing else."""
    http = requests.Session()
    http.trust_env = False  # or REQUESTS_CA_BUNDLE would win over verify
    http.verify = str(ca)
    http.headers["Authorization"] = f"token {token}"
    return http


@dataclass
class Hub:
    """The hub's REST API, as one of its services sees it.

    *api_url* ends in /hub/api; *ca* is the PEM file the server's certificate must be verified by.
    """

    api_url: str
    token: str
    ca: Path
    http: requests.Session = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.http = _http(self.token, self.ca)

    @property
    def public_url(self) -> str:
        return self.api_url.removesuffix("/").removesuffix("/hub/api")

    def call(
        self, method: str, path: str, *allowed: int, body: dict[str, Any] | None = None
    ) -> requests.Response:
        """One API call; ClientError unless the answer's status is among *allowed* (none: any)."""
        answer = self.http.request(
            method, f"{self.api_url}{path}", json=body, timeout=CALL_S, allow_redirects=False
        )
        if allowed and answer.status_code not in allowed:
            raise ClientError(
                f"{method} {path}: {answer.status_code}, not {allowed}: {answer.text[:300]}"
            )
        return answer

    def create_user(self, name: str) -> bool:
        """Create the user; False if it was there already."""
        return self.call("POST", f"/users/{name}", 201, 409).status_code == 201

    def start_server(self, name: str, *, timeout: float = 120) -> None:
        """Start the user's server, if it is not running, and wait until it serves."""
        deadline = time.monotonic() + timeout
        # 201: it serves. 202: still starting. 400: running, or starting already.
        if self.call("POST", f"/users/{name}/server", 201, 202, 400).status_code == 201:
            return
        while True:
            server = self.call("GET", f"/users/{name}", 200).json().get("servers", {}).get("", {})
            if server.get("ready"):
                return
            if not server:
                raise ClientError(f"the server of {name} failed to start")
            if time.monotonic() > deadline:
                raise ClientError(f"the server of {name} does not serve after {timeout:g} s")
            time.sleep(POLL_S)

    def mint_token(self, name: str, *, expires_in: int = 3600) -> str:
        """A token that opens this user's session and nothing else; *expires_in* in seconds."""
        body = {"scopes": [f"access:servers!user={name}"], "expires_in": expires_in}
        token: str = self.call("POST", f"/users/{name}/tokens", 201, body=body).json()["token"]
        return token

    def delete_user(self, name: str) -> None:
        """Delete the user with its server and everything in it; nothing to do if it is gone."""
        self.call("DELETE", f"/users/{name}", 204, 404)

    def session(self, name: str, token: str) -> "Session":
        return Session(f"{self.public_url}/user/{name}", token, self.ca)


@dataclass(frozen=True)
class Result:
    """What a cell came to."""

    stdout: str
    stderr: str
    value: str | None  # text/plain of the cell's last expression
    error: str | None  # "NameError: …"

    @property
    def text(self) -> str:
        """Everything a person would see below the cell."""
        return self.stdout + self.stderr + (self.value or "") + (self.error or "")


@dataclass
class Session:
    """One single-user server, opened with a token; *url* ends in /user/NAME."""

    url: str
    token: str
    ca: Path
    http: requests.Session = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.http = _http(self.token, self.ca)

    def request(
        self, method: str, path: str, *, body: dict[str, Any] | None = None
    ) -> requests.Response:
        """One call to the server, path as in /api/contents; no redirect is followed."""
        return self.http.request(
            method, f"{self.url}{path}", json=body, timeout=CALL_S, allow_redirects=False
        )

    def status(self) -> int:
        """HTTP status of /api/status: 200 when the session serves and the token opens it."""
        return self.request("GET", "/api/status").status_code

    def link(self, page: str = "lab") -> str:
        """A link that opens the session in a browser."""
        return f"{self.url}/{page}?token={self.token}"

    def start_kernel(self, name: str = "python3") -> str:
        """Start a kernel and return its id."""
        answer = self.request("POST", "/api/kernels", body={"name": name})
        if answer.status_code != 201:
            raise ClientError(
                f"starting a {name} kernel: {answer.status_code}: {answer.text[:300]}"
            )
        kernel: str = answer.json()["id"]
        return kernel

    def stop_kernel(self, kernel: str) -> None:
        self.request("DELETE", f"/api/kernels/{kernel}")

    def socket(self, kernel: str, timeout: float) -> websocket.WebSocket:
        """The websocket of a kernel's channels; waits *timeout* seconds, then raises."""
        return websocket.create_connection(
            f"ws{self.url.removeprefix('http')}/api/kernels/{kernel}/channels",
            header=[f"Authorization: token {self.token}"],
            sslopt={"ca_certs": str(self.ca)},
            http_no_proxy=["*"],
            timeout=timeout,
        )

    def run(
        self, code: str, *, kernel: str | None = None, name: str = "python3", timeout: float = 60
    ) -> Result:
        """Execute *code* through the websocket: in *kernel*, or in one of its own (*name*)."""
        own = kernel is None
        kernel = kernel or self.start_kernel(name)
        try:
            return self._execute(kernel, code, timeout)
        finally:
            if own:
                self.stop_kernel(kernel)

    def _execute(self, kernel: str, code: str, timeout: float) -> Result:
        header = {"msg_id": uuid.uuid4().hex, "session": uuid.uuid4().hex, "username": ""}
        request = {
            "header": header | {"msg_type": "execute_request", "version": "5.3", "date": ""},
            "parent_header": {},
            "metadata": {},
            "channel": "shell",
            "content": {"code": code, "silent": False, "allow_stdin": False, "stop_on_error": True},
        }
        deadline = time.monotonic() + timeout
        socket = self.socket(kernel, timeout)
        printed = {"stdout": "", "stderr": ""}
        value = error = None
        waiting = {"execute_reply", "idle"}  # they come by two channels, in either order
        try:
            socket.send(json.dumps(request))
            while waiting:
                if time.monotonic() > deadline:
                    raise ClientError(f"no answer from the kernel after {timeout:g} s: {code!r}")
                # Short: the server's pings would begin a longer wait anew, again and again.
                socket.settimeout(RECEIVE_S)
                try:
                    message = json.loads(socket.recv())
                except websocket.WebSocketTimeoutException:
                    continue
                if message["parent_header"].get("msg_id") != header["msg_id"]:
                    continue
                content = message["content"]
                match message["msg_type"]:
                    case "stream":
                        printed[content["name"]] += content["text"]
                    case "execute_result":
                        value = content["data"].get("text/plain", "")
                    case "error":
                        error = f"{content['ename']}: {content['evalue']}"
                    case "execute_reply":
                        waiting.discard("execute_reply")
                    case "status" if content["execution_state"] == "idle":
                        waiting.discard("idle")
        finally:
            socket.close()
        return Result(printed["stdout"], printed["stderr"], value, error)
