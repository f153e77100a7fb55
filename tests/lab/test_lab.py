"""The lab itself, for real: what a person and the other tests rely on."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.lab import Host, LabError, container, engine, lab, labs, restart, up
from tests.lab.host import ROOT

NAME = "test-of-the-lab"
ODD = ["a b", "it's", 'say "x"', "", "$HOME `id` \\", "two\nlines", "*", "-n", "käse"]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with lab(NAME) as made:
        yield made


def shell(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [ROOT / "lab-shell", "--lab", NAME, "--", *arguments],
        input=stdin, capture_output=True, check=False,
    )  # fmt: skip


def test_a_command_gets_its_arguments_intact(host: Host) -> None:
    assert shell("printf", "%s\\0", *ODD).stdout.decode().split("\0")[:-1] == ODD


def test_binary_input_and_output_pass_unchanged(host: Host) -> None:
    data = bytes(range(256)) * 1000
    assert shell("cat", stdin=data).stdout == data


def test_the_exit_code_is_the_commands(host: Host) -> None:
    assert shell("sh", "-c", "exit 7").returncode == 7


def test_no_command_is_one_line_and_no_traceback(host: Host) -> None:
    told = subprocess.run([ROOT / "lab-shell"], capture_output=True, check=False, text=True)
    assert told.returncode
    assert len(told.stderr.splitlines()) == 1


def test_a_lab_is_a_bare_machine(host: Host) -> None:
    assert host.sh("ps -o comm= -p 1") == "systemd"
    assert host.sh("systemctl is-system-running || true") in ("running", "degraded")
    assert host.sh(". /etc/os-release; echo $VERSION_ID") == str(host.debian)
    for program in ("docker", "python3", "iptables"):
        assert host.run("sh", "-c", f"command -v {program}", check=False).returncode


def test_the_deployment_reaches_it_by_its_inventory(host: Host) -> None:
    told = subprocess.run(
        [ROOT / ".venv/bin/pyinfra", "-y", "inventory.py", "exec", "--", "uname", "-n"],
        cwd=ROOT, env={**os.environ, "LAB": NAME}, capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert f"[{NAME}] {NAME}" in told.stdout + told.stderr


def test_a_deployment_without_a_lab_says_what_to_do() -> None:
    told = subprocess.run(
        [ROOT / ".venv/bin/pyinfra", "-y", "inventory.py", "exec", "--", "true"],
        cwd=ROOT, env={**os.environ, "LAB": "test-none"},
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert told.returncode
    assert "run make demo, or name a host in inventory.py" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_second_up_changes_nothing(host: Host) -> None:
    assert up(NAME, owner=os.getpid()) == host


def test_another_debian_is_refused_and_not_made_instead(host: Host) -> None:
    with pytest.raises(LabError, match=f"lab {NAME} is Debian {host.debian}, wanted 1"):
        up(NAME, debian=25 - host.debian, owner=os.getpid())


def test_a_lab_left_by_a_killed_run_is_removed_by_the_next(host: Host) -> None:
    left = "test-left-over"
    code = f"import os, tests.lab as t; t.up({left!r}, owner=os.getpid()); os.abort()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert labs._find(left)
    up(NAME, owner=os.getpid())
    assert not labs._find(left)
    assert not (ROOT / ".lab" / left).exists()
    assert left not in engine.docker("volume", "ls")


def test_a_half_made_lab_is_replaced(host: Host) -> None:
    half = "test-half-made"
    with lab(half) as first:
        (first.folder / "made").unlink()
        again = up(half, owner=os.getpid())
        assert again.run("hostname").stdout == f"{half}\n".encode()
        assert again.ssh != first.ssh


# Last: the ports change.
def test_after_a_reboot_it_is_found_under_its_new_ports(host: Host) -> None:
    host.run("touch", "/var/lib/docker/kept")
    booted = restart(NAME)
    written = json.loads((booted.folder / "host.json").read_text())
    assert booted.run("ls", "/var/lib/docker/kept").returncode == 0
    assert written["ssh"]["port"] == booted.ssh.port
    assert booted.run("mkdir", "-p", *_cgroup_probe(booted)).returncode == 0


def test_a_stopped_lab_is_started_by_up(host: Host) -> None:
    engine.docker("stop", "--time", "60", host.container)
    assert up(NAME, owner=os.getpid()).run("true").returncode == 0
    assert container.machines()


def _cgroup_probe(host: Host) -> list[str]:
    """A cgroup to make: writable again after the reboot? On v1 one a hierarchy, on v2 the one."""
    v1 = host.sh("ls -d /sys/fs/cgroup/pids 2>/dev/null || true")
    return [f"{v1 or '/sys/fs/cgroup'}/probe"]
