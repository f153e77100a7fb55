"""What a person asks of the logs, and the script that reads them, with a docker that pretends."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubhost import logs
from hubhost.errors import Problems
from hubhost.logs import KEEP_LOG, MARK, SERVICES, Request
from hubhost.service import LOG_DRIVER, LOG_OPTIONS
from hubhost.templates import render

DOCKER = """#!/bin/sh
case $* in *inspect*) ;; *) exit 1 ;; esac; for name; do :; done && cat "$LOGS/$name.path"
"""


class Machine:
    """A host's logs in a folder: those that Docker writes, and those that are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kept = folder, folder / "kept"
        self.script = self.put("script", render("logs/logs", kept=self.kept, prefix="jupyterhub_"))
        self.put("docker", DOCKER)
        self.environment = {"PATH": f"{folder}:{os.environ['PATH']}", "LOGS": str(folder)}

    def put(self, name: str, text: str) -> Path:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)
        return self.folder / name

    def live(self, service: str, container: str = "1") -> Path:
        """The file that Docker writes to; empty at first."""
        path = self.folder / container / f"{container}-json.log"
        path.parent.mkdir(exist_ok=True)
        path.touch()
        (self.folder / f"jupyterhub_{service}.path").write_text(f"{path}\n")
        return path

    def replace(self, service: str, container: str) -> Path:
        """As a deployment does: the log is moved away, the container removed, another made."""
        moved = [*(self.folder / container).iterdir()]
        folder = self.kept / f"jupyterhub_{service}" / container
        folder.mkdir(parents=True)
        for path in moved:
            path.rename(folder / path.name)
        (self.folder / container).rmdir()
        return self.live(service, f"{container}0")

    def show(self, *services: str, since: str = "2000-01-01", mode: str = "show") -> list[str]:
        done = subprocess.run(
            [self.script, mode, since, *services],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stderr == ""
        return done.stdout.splitlines()


def line(said: str, second: int = 0, end: str = "\n") -> str:
    """As Docker writes it."""
    moment = f"2030-01-01T00:00:{second:02d}.5Z"
    entry = {"log": f"{said}{end}", "stream": "stderr", "time": moment}
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n"


def aged(path: Path, age: int) -> Path:
    """The file was changed so many seconds ago."""
    os.utime(path, (time.time() - age, time.time() - age))
    return path


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_lines_of_all_containers_come_in_their_order(machine: Machine) -> None:
    log = machine.live("hub")
    with gzip.open(f"{log}.2.gz", "wt") as old:
        old.write(line("a", 1))
    aged(Path(f"{log}.2.gz"), 90)
    aged(machine.put(f"1/{log.name}.1", line("b", 2)), 80)
    log.write_text(line("c", 3))
    aged(log, 70)
    machine.replace("hub", "1").write_text(line("d", 4))
    said = [shown.rpartition("  ")[2] for shown in machine.show("hub")]
    assert said == ["a", "b", "c", "d"]
    assert machine.show("hub")[0] == "2030-01-01T00:00:01 hub  a"


def test_files_of_the_same_second_are_told_apart_by_their_numbers(machine: Machine) -> None:
    log = machine.live("hub")
    for number, text in ((".2", "a"), (".1", "b"), ("", "c")):
        machine.put(f"1/{log.name}{number}", line(text))
    for path in log.parent.iterdir():
        os.utime(path, (10**9, 10**9))
    said = [shown.rpartition("  ")[2] for shown in machine.show("hub")]
    assert said == ["a", "b", "c"]


def test_services_are_told_together_by_time(machine: Machine) -> None:
    machine.live("hub", "1").write_text(line("a", 1) + line("c", 3))
    machine.live("db", "2").write_text(line("b", 2) + line("d", 4))
    assert [shown[20:] for shown in machine.show("hub", "db")] == [
        "hub  a",
        "db   b",
        "hub  c",
        "db   d",
    ]


def test_only_what_was_asked_for_is_shown(machine: Machine) -> None:
    machine.live("hub").write_text(line("a", 1) + line("", 2) + line("b", 3))
    assert len(machine.show("hub")) == 2  # what was blotted out is not shown
    assert len(machine.show("hub", since="2030-01-01T00:00:02")) == 1
    assert machine.show("hub", since="2031-01-01") == []
    assert machine.show("proxy") == []


def test_long_lines_are_put_together_again(machine: Machine) -> None:
    machine.live("hub").write_text(line("a" * 16384, end="") + line("b"))
    assert machine.show("hub")[0].endswith("ab")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_what_docker_wrote_is_read(said: str) -> None:
    code = render("logs/logs", kept="/none", prefix="p")
    decode = code[code.index("sub decoded") : code.index("# When the file is")]
    for ascii_only in (True, False):
        text = json.dumps(said, ensure_ascii=ascii_only)[1:-1]
        if ascii_only and "\\ud" in text:
            continue  # Docker writes such characters as they are
        done = subprocess.run(
            ["perl", "-e", f"{decode}; local $/; print decoded(<STDIN>)"],
            input=text.encode(),
            capture_output=True,
            check=True,
        )
        assert done.stdout.decode() == said


def test_a_line_commands_no_terminal(machine: Machine) -> None:
    machine.live("hub").write_text(
        json.dumps({"log": "\x1b[31mred\x1b]0;title\x07\r\n", "time": "2030-01-01T00:00:00Z"},
                   separators=(",", ":")) + "\n"
    )  # fmt: skip
    (shown,) = machine.show("hub")
    assert shown.isprintable()
    assert "red" in shown


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_who_follows_sees_what_comes_also_after_a_replacement(machine: Machine) -> None:
    log = machine.live("hub")
    log.write_text(line("first"))
    out = machine.folder / "out"
    with out.open("w") as shown:
        running = subprocess.Popen(
            [machine.script, "follow", "2000-01-01", "hub"], env=machine.environment, stdout=shown
        )
    try:
        until(lambda: "first" in out.read_text())
        with log.open("a") as writing:
            writing.write(line("half")[:20])
            writing.flush()
            time.sleep(1.2)  # it looks twice a second, and nothing tells that it has
            writing.write(line("half")[20:] + line("whole"))
        until(lambda: "whole" in out.read_text())
        log.rename(f"{log}.1")
        log.write_text(line("rotated"))
        until(lambda: "rotated" in out.read_text())
        with log.open("a") as writing:
            writing.write(line("last words"))
        machine.replace("hub", "1").write_text(line("another container"))
        until(lambda: "another" in out.read_text())
    finally:
        running.kill()
        running.wait()
    shown_all = [text.rpartition("  ")[2] for text in out.read_text().splitlines()]
    assert shown_all == ["first", "half", "whole", "rotated", "last words", "another container"]


# --- What a person asks ------------------------------------------------------------------------
def test_without_a_word_it_is_all_services_of_a_day() -> None:
    assert Request.of({}) == Request(SERVICES, "-86400", follow=False)


@pytest.mark.parametrize(
    ("since", "passed"),
    [
        ("90s", "-90"),
        ("30min", "-1800"),
        ("7d", "-604800"),
        ("2030-01-31", "2030-01-31"),
        ("2030-01-31 11:00", "2030-01-31T11:00"),
        ("2030-01-31T11:00:30", "2030-01-31T11:00:30"),
    ],
)
def test_a_time_is_a_span_or_a_moment(since: str, passed: str) -> None:
    assert Request.of({"SINCE": since, "SERVICE": "hub", "FOLLOW": "1"}) == Request(
        ("hub",), passed, follow=True
    )


@pytest.mark.parametrize("since", ["yesterday", "2h; id", "-3h", "2030-1-1", "$(id)", "1h\n"])
def test_what_is_no_time_and_no_service_is_a_line_each(since: str) -> None:
    with pytest.raises(Problems) as caught:
        Request.of({"SERVICE": "hubs", "SINCE": since})
    service, moment = map(str, caught.value.problems)
    assert service == (
        "SERVICE: there is no 'hubs'; name one of hub, db, proxy, filter, or none for all"
    )
    assert moment.startswith(f"SINCE: {since!r} is no time; such as 30min")


def test_the_mark_is_in_the_lines_and_not_in_the_command(machine: Machine) -> None:
    machine.live("hub").write_text(line("a"))
    command = "\n".join(Request(("hub",), "2000-01-01", follow=False).command("a host "))
    assert MARK not in command
    command = command.replace("/etc/integrable-jupyterhub/logs", str(machine.script))
    done = subprocess.run(
        ["sh", "-c", command], env=machine.environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{MARK}a host 2030-")


def test_a_host_without_the_script_says_so() -> None:
    command = "\n".join(Request.of({}).command(""))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "logs: the host is not deployed; deploy\n")


@pytest.mark.parametrize("exit_code", [0, 1])
def test_of_what_pyinfra_says_only_lines_of_a_log_are_printed_unless_it_fails(
    exit_code: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    says = f"echo chatter >&2; echo '{MARK}a line' >&2; echo Exiting; exit {exit_code}"
    monkeypatch.setattr(logs, "pyinfra", lambda *_options: ["sh", "-c", says])
    assert logs.main() == exit_code
    assert capfd.readouterr() == ("a line\n", "chatter\nExiting\n" if exit_code else "")


# --- Where they are kept -----------------------------------------------------------------------
def test_a_log_is_moved_whole_with_what_was_rotated(machine: Machine) -> None:
    log = machine.live("hub")
    machine.put(f"1/{log.name}.1.gz", "old")
    script = f"set -eu\n{KEEP_LOG}\nkeep_log jupyterhub_hub jupyterhub_hub"
    script = script.replace("/var/log/integrable-jupyterhub", str(machine.kept))
    for _ in range(2):  # a run that was killed comes again
        subprocess.run(["sh", "-c", script], env=machine.environment, check=True)
    (folder,) = (machine.kept / "jupyterhub_hub").iterdir()
    assert {path.name for path in folder.iterdir()} == {"1-json.log", "1-json.log.1.gz"}
    assert folder.stat().st_mode & 0o77 == 0
    assert not log.exists()


@pytest.mark.parametrize(
    ("driver", "options"),
    [("json-file", " ".join(LOG_OPTIONS)), ("local", " ".join(LOG_OPTIONS)), ("journald", "")],
)
def test_a_log_driver_of_the_admins_stays(machine: Machine, driver: str, options: str) -> None:
    machine.put("docker", f"#!/bin/sh\necho {driver}\n")
    done = subprocess.run(
        ["sh", "-c", f"set -eu\necho {LOG_DRIVER}"],
        env=machine.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == options
