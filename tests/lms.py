"""What the LMS sends, call by call: by the real PHP curl, and by Python."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import requests

from tests.lab.client import Hub
from tests.sessions import session_containers

PHP = Path(__file__).with_suffix(".php")


@dataclass(frozen=True)
class Answer:
    status: int
    redirects: int
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Send = Callable[..., Answer]


def by_php(
    method: str, url: str, token: str, body: str | None = None, *, chunked: bool = False
) -> Answer:
    call = {"method": method, "url": url, "token": token, "body": body, "chunked": chunked}
    done = subprocess.run(
        ["php", str(PHP)], input=json.dumps(call), capture_output=True, text=True, check=True
    )
    return Answer(**json.loads(done.stdout))


def by_python(
    method: str, url: str, token: str, body: str | None = None, *, chunked: bool = False
) -> Answer:
    headers = {"Accept": "application/json", "Authorization": f"token {token}"}
    if body is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    data: Any = iter(()) if chunked else body.encode() if body is not None else None
    with requests.Session() as http:
        http.trust_env = False
        http.verify = False
        answer = http.request(method, url, headers=headers, data=data, timeout=120)
    return Answer(answer.status_code, len(answer.history), answer.text)


def users_name() -> str:
    """A user's name as the LMS makes them."""
    return f"u{time.time_ns() // 10**6}_{secrets.randbelow(10**10):010}_0"


def start(send: Send, hub: Hub, name: str) -> str:
    """As the LMS does it; returns the user's token."""
    api, service = hub.api_url, hub.token
    root = send("GET", api, service)
    assert (root.status, root.redirects) == (200, 0)
    assert send("GET", f"{api}/users/{name}", service).status == 404
    assert send("POST", f"{api}/users/{name}", service, chunked=True).status == 201
    assert send("POST", f"{api}/users/{name}/server", service, "").status == 201
    made = send("POST", f"{api}/users/{name}/tokens", service, chunked=True)
    assert made.status == 201
    told = send("GET", f"{api}/users/{name}", service)
    assert told.status == 200
    assert {"created", "last_activity"} <= told.json.keys()
    token: str = made.json["token"]
    return token


def replay(send: Send, hub: Hub, name: str, containers: docker.DockerClient) -> None:
    """The whole of it: a session is started, filled, read, and ended."""
    token = start(send, hub, name)
    home = f"{hub.public_url}/user/{name}/api"
    # Pages that put their files at once: no try is allowed to fail.
    assert send("GET", f"{home}/status", token).status == 200
    folder = json.dumps({"type": "directory"})
    assert send("PUT", f"{home}/contents/data", token, folder).status == 201
    big = base64.b64encode(secrets.token_bytes(5 * 2**20)).decode()
    odd = "&".join(["a=b"] * 5000)
    files = {
        "data/big.bin": {"type": "file", "format": "base64", "content": big},
        "odd.txt": {"type": "file", "format": "text", "content": odd},
        "main.ipynb": {
            "type": "notebook",
            "format": "json",
            "content": {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5},
        },
    }
    for path, model in files.items():
        put = send("PUT", f"{home}/contents/{path}", token, json.dumps(model))
        assert (path, put.status) == (path, 201), put.body[:300]
    listed = send("GET", f"{home}/contents/", token).json["content"]
    assert {entry["path"] for entry in listed} == {"data", "odd.txt", "main.ipynb"}
    assert send("GET", f"{home}/contents/data?content=0", token).json["content"] is None
    read = send("GET", f"{home}/contents/data/big.bin", token).json["content"]
    assert read.replace("\n", "") == big
    assert send("GET", f"{home}/contents/odd.txt", token).json["content"] == odd
    times = send("GET", f"{home}/contents/main.ipynb", hub.token).json
    assert {"created", "last_modified"} <= times.keys()
    assert send("GET", f"{hub.api_url}/users/{name}", token).json["name"] == name

    assert send("DELETE", f"{hub.api_url}/users/{name}", hub.token).status == 204
    assert send("DELETE", f"{hub.api_url}/users/{name}", hub.token).status == 404
    assert name not in session_containers(containers)
    for whose in (token, hub.token):
        gone = send("GET", f"{home}/status", whose)
        assert (gone.status, gone.redirects) == (404, 0)
        assert gone.json["status"] == 404
        put = send("PUT", f"{home}/contents/main.ipynb", whose, json.dumps(files["main.ipynb"]))
        assert put.status == 404
