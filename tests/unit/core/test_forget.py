"""The script that blots lines out of Docker's logs, with a docker that only pretends."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from integrable_jupyterhub.purge import ask_host, spellings

from hubhost.templates import render

DOCKER = """#!/bin/sh
case $1 in
ps) [ -z "$DOCKER_IS_AWAY" ] || exit 1; echo one; echo two ;;
inspect) shift; for id; do echo "  \\"LogPath\\": \\"$LOGS/$id-json.log\\","; done ;;
esac
"""


class Machine:
    """A host's logs and the hub's requests, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.requests, self.logs = folder, folder / "requests", folder / "logs"
        self.kept = folder / "kept" / "jupyterhub_hub" / "before"
        self.kept.mkdir(parents=True)
        for made in (self.requests, self.logs):
            made.mkdir()
        values = {
            "kept": folder / "kept",
            "requests": self.requests,
            "role_label": "role",
            "unit": f"forget-{os.getpid()}",
        }
        script = render("forget/forget", **values).replace("sleep 2", "sleep 0.01")
        script = script.replace("/run/lock/", f"{folder}/")
        self.put("forget", script)
        self.put("docker", DOCKER)

    def put(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def run(self, mode: str, words: list[str], *arguments: str, **environment: str) -> str:
        environment |= {"PATH": f"{self.folder}:{os.environ['PATH']}", "LOGS": str(self.logs)}
        done = subprocess.run(
            [self.folder / "forget", mode, *arguments],
            input="".join(f"{word}\0" for word in words).encode(),
            env=environment,
            capture_output=True,
            check=False,
            timeout=60,
        )
        said = (done.stdout + done.stderr).decode()
        assert (done.returncode == 0) == (not environment.get("DOCKER_IS_AWAY")), said
        return said

    def erase(self, name: str) -> None:
        ask_host(name, self.requests)
        assert self.run("erase", []) == ""
        assert list(self.requests.iterdir()) == []


def line(said: str) -> str:
    """As Docker writes it."""
    entry = {"log": f"{said}\n", "stream": "stderr", "time": "T"}
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_lines_that_name_the_user_say_nothing_any_more(machine: Machine) -> None:
    log, old = machine.logs / "one-json.log", machine.logs / "one-json.log.1"
    said = [
        "201 POST /hub/api/users/u1 (lms@1.2.3.4)",
        "error?url=%2Fuser%2Fu1%2Flab, and %252Fu1",
        "the container jupyterhub_session-u1 has ended",
        'a "quoted" \\ \n "u1"',
    ]
    others = ["users/u12", "users/xu1", "users/u1_2", "c4ad91c", "nobody"]
    log.write_text("".join(map(line, said + others)))
    old.write_text(line("u1 a"))
    machine.logs.joinpath("two-json.log.2.gz").write_bytes(
        gzip.compress((line("b u1") + line("b u2")).encode())
    )
    size, inode = log.stat().st_size, log.stat().st_ino
    assert machine.run("look", ["3", *spellings("u1")]) == f"3\n{len(said) + 2}\n"
    machine.erase("u1")
    assert machine.run("look", ["0", *spellings("u1")]) == "0\n0\n"
    assert (log.stat().st_size, log.stat().st_ino) == (size, inode)
    messages = [json.loads(text)["log"] for text in log.read_text().splitlines()]
    assert [message.strip() for message in messages] == ["", "", "", "", *others]
    assert all(message.endswith("\n") for message in messages)
    assert not json.loads(old.read_text())["log"].strip()
    compressed = gzip.decompress((machine.logs / "two-json.log.2.gz").read_bytes()).decode()
    assert [json.loads(text)["log"].strip() for text in compressed.splitlines()] == ["", "b u2"]


def test_in_another_format_only_the_name_goes(machine: Machine) -> None:
    log = machine.logs / "two-json.log"
    log.write_bytes(b"\0\0\0\x1a\n\x06stderr\x10\x01\x1a\x0bsaid u1 all\0\0\x1a")
    machine.erase("u1")
    assert log.read_bytes() == b"\0\0\0\x1a\n\x06stderr\x10\x01\x1a\x0bsaid xx all\0\0\x1a"


def test_lines_that_docker_is_late_with_say_nothing_either(machine: Machine) -> None:
    log = machine.logs / "one-json.log"
    log.write_text(line("u1"))
    (machine.folder / "late").write_text(line("DELETE u1"))
    looks = machine.folder / "looks"
    comes = f'[ "$(wc -l <{looks})" != 2 ] || cat {machine.folder}/late >>{log}'
    machine.put("docker", DOCKER.replace("inspect) ", f"inspect) echo >>{looks}; {comes}; "))
    machine.erase("u1")
    assert [json.loads(text)["log"].strip() for text in log.read_text().splitlines()] == ["", ""]


def test_what_docker_appends_meanwhile_stays(machine: Machine) -> None:
    log = machine.logs / "one-json.log"
    log.write_text(line("u1"))
    with log.open("a") as appending:
        machine.erase("u1")
        appending.write(line("later"))
    assert [json.loads(text)["log"].strip() for text in log.read_text().splitlines()] == [
        "",
        "later",
    ]


@pytest.mark.parametrize(
    "name",
    [".*", "u1|.", "$(touch x)", "`touch x`", "@{[die]}", "\\E.*", "a b", "é\"'", "u\nv", "/"],
)
def test_a_name_is_no_pattern_and_no_command(machine: Machine, name: str) -> None:
    log = machine.logs / "one-json.log"
    log.write_text(line(f"<{name}> did it") + line("somebody else"))
    machine.erase(name)
    messages = [json.loads(text)["log"].strip() for text in log.read_text().splitlines()]
    assert messages == ["", "somebody else"]
    assert not (machine.folder / "x").exists()


def test_the_hub_leads_the_script_nowhere(machine: Machine) -> None:
    """It may put anything where its requests belong."""
    secret = machine.folder / "secret"
    secret.write_text("u1")
    (machine.requests / "link").symlink_to(secret)
    os.mkfifo(machine.requests / "pipe")
    (machine.requests / "folder").mkdir()
    (machine.requests / "empty").touch()
    (machine.requests / "nuls").write_bytes(bytes(100))
    (machine.requests / "-rf ; touch x").write_bytes(b"u9")
    log = machine.logs / "one-json.log"
    log.write_text(line("u1") + line("u9"))
    assert machine.run("erase", []) == ""
    assert list(machine.requests.iterdir()) == []
    assert secret.read_text() == "u1"
    messages = [json.loads(text)["log"].strip() for text in log.read_text().splitlines()]
    assert messages == ["u1", ""]


def test_what_is_kept_of_replaced_containers_is_erased_too(machine: Machine) -> None:
    kept = machine.kept / "x-json.log"
    kept.write_text(line("u1") + line("u2"))
    os.utime(kept, (10**9, 10**9))
    machine.erase("u1")
    assert [json.loads(text)["log"].strip() for text in kept.read_text().splitlines()] == ["", "u2"]
    assert kept.stat().st_mtime == 10**9  # by that it expires


# --- Lines that are too old --------------------------------------------------------------------
def at(days: float, said: str = "said") -> str:
    """A line of so many days ago."""
    moment = datetime.now(UTC) - timedelta(days=days)
    return line(said).replace('"T"', f'"{moment:%Y-%m-%dT%H:%M:%S}.123456789Z"')


def aged(path: Path, text: str, days: float) -> Path:
    """A file of so many days ago."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".gz":
        with gzip.open(path, "wt") as file:
            file.write(text)
    else:
        path.write_text(text)
    moment = datetime.now(UTC).timestamp() - days * 86400
    os.utime(path, (moment, moment))
    return path


def test_files_that_hold_only_old_lines_go(machine: Machine) -> None:
    gone = [
        aged(machine.kept / "x-json.log", at(8), 8),
        aged(machine.kept / "x-json.log.1.gz", at(9), 9),
        aged(machine.logs / "one-json.log.1", at(8), 8),
    ]
    current = aged(machine.logs / "one-json.log", "", 30)  # Docker writes to it
    recent = machine.kept.with_name("recent")
    recent.mkdir()
    stays = aged(recent / "y-json.log", at(6), 6)
    assert machine.run("expire", [], "7") == ""
    assert not [path for path in gone if path.exists()]
    assert not machine.kept.exists()
    assert current.exists()
    assert stays.read_text().count("said") == 1


def test_old_lines_beside_young_ones_say_nothing_any_more(machine: Machine) -> None:
    text = at(8, "old") + at(6, "young")
    for path in (machine.logs / "one-json.log", machine.kept / "x-json.log.1.gz"):
        aged(path, text, 1)
        before = path.stat()
        for _ in range(2):
            assert machine.run("expire", [], "7") == ""
        content = path.read_bytes()
        written = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
        said = [json.loads(text)["log"].strip() for text in written.splitlines()]
        assert said == ["", "young"]
        assert len(written) == len(text)
        assert int(path.stat().st_mtime) == int(before.st_mtime)


def test_while_docker_is_away_a_request_stays(machine: Machine) -> None:
    ask_host("u1", machine.requests)
    machine.run("erase", [], DOCKER_IS_AWAY="1")
    assert len(list(machine.requests.iterdir())) == 1


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_every_spelling_is_found(name: str) -> None:
    assert name in spellings(name)
    assert json.dumps(name, ensure_ascii=False)[1:-1] in spellings(name)
    assert all(spellings(name))
