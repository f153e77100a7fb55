"""The client against a real hub: what its README shows, and what a hub that restarts costs."""

from __future__ import annotations

import io
import re
import threading
from contextlib import redirect_stdout
from typing import Any

import docker
import pytest
from integrable_jupyterhub_client import NotAllowed, NotFound, SessionGone

from tests.lab import engine
from tests.lab.client import Hub, Session
from tests.lab.host import ROOT

README = (ROOT / "client" / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PRINTS = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)


def test_the_readme_prints_what_it_says(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_URL", hub.public_url)
    monkeypatch.setenv("HUB_TOKEN", hub.token)
    monkeypatch.setenv("HUB_CA", str(hub.ca))
    namespace: dict[str, Any] = {}
    assert len(BLOCKS) >= 5
    try:
        for block in BLOCKS:
            printed = io.StringIO()
            with redirect_stdout(printed):
                exec(compile(block, "client/README.md", "exec"), namespace)  # noqa: S102
            assert printed.getvalue().splitlines() == PRINTS.findall(block)
    finally:
        hub.delete_user("ada")


def test_files_go_in_and_come_out_byte_by_byte(session: Session) -> None:
    notebook = b'{"cells": [],\n\n "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    files = {
        "main.ipynb": notebook,
        "data/deep/a&b=c d.bin": bytes(range(256)) * 4096,
        "käse/é#?.txt": "käse".encode(),
        "empty": b"",
    }
    session.put(files)
    assert session.files() == files
    assert session.paths("data") == ["data/deep/a&b=c d.bin"]
    session.delete("empty")
    session.delete("empty")
    with pytest.raises(NotFound):
        session.get("empty")


def test_a_session_ends_with_its_block_and_is_gone(hub: Hub) -> None:
    with hub.session(files={"a.txt": "x"}) as s:
        assert s.run("open('a.txt').read()").value == "'x'"
        stranger = hub.attach(s.name, "0" * 32)
        with pytest.raises(NotAllowed):
            stranger.get("a.txt")
    for call in (
        lambda: s.get("a.txt"),
        lambda: s.run("1"),
        s.start_kernel,
        lambda: hub.attach(s.name),
    ):
        with pytest.raises(SessionGone):
            call()
    assert hub.call("GET", f"/users/{s.name}").status_code == 404


def test_a_session_starts_while_the_hub_restarts(hub: Hub, containers: docker.DockerClient) -> None:
    """The client waits for the hub: the integrator sees nothing of it."""
    restart = threading.Thread(target=containers.containers.get("jupyterhub_hub").restart)
    restart.start()
    try:
        with hub.session(files={"a.txt": "x"}) as s:
            assert s.get("a.txt") == b"x"
    finally:
        restart.join()


def test_a_session_starts_after_the_database_restarted(
    hub: Hub, containers: docker.DockerClient
) -> None:
    database = containers.containers.get("jupyterhub_db")
    database.restart()
    ready = ["pg_isready", "-q", "-h", "127.0.0.1"]
    assert engine.until(lambda: database.exec_run(ready).exit_code == 0, 60)
    with hub.session() as s:
        assert s.status() == 200
