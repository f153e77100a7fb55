"""What a backup is made of, and which file is one that may be restored."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hubhost import backup
from hubhost.agekeys import recipient_problem
from hubhost.backup import Content, Target, costs, differences, read, refusals, versions
from hubhost.errors import Problems
from hubhost.paths import BACKUP_SCRIPT
from tests.backups import Members, fingerprint, link, members, signed, signing_key, tarred
from tests.unit.core.sample import settings

# Made by age-keygen; the second is the example of age-encryption.org/v1.
AGE = "age1n0nja5he8kvmka649ak6zhvkq8j8rmclvg3ud0t9suxsm94g03lqdr908g"
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN"
HEADER = "age-encryption.org/v1\n"
SETTINGS = settings(service_admins=["lms", "grader"])
ARCHIVE = f"archive/{'0' * 32}-1700000000-{'1' * 8}"


# --- Recipients ----------------------------------------------------------------------------------
def test_public_keys_are_recipients() -> None:
    assert [recipient_problem(key) for key in (AGE, SSH, f"{SSH} me@example.org")] == [None] * 3


@pytest.mark.parametrize("place", range(4, len(AGE)))
def test_a_mistyped_key_is_noticed(place: int) -> None:
    typo = AGE[:place] + ("q" if AGE[place] != "q" else "p") + AGE[place + 1 :]
    assert recipient_problem(typo) == "is not whole: an age key has a checksum"


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (SSH[:-3], "is not whole"),
        ("ssh-ed25519", "must be a public key"),
        ("ssh-rsa AAAA", "must be a public key"),
        (f"{SSH}\n{SSH}", "must be a public key"),
        ("AGE-SECRET-KEY-1QQ", "is a secret key; name its public key"),
        ("", "must be a public key"),
    ],
)
def test_what_is_no_public_key_is_none(key: str, told: str) -> None:
    assert (recipient_problem(key) or "").startswith(told)


# --- What lies on the host -----------------------------------------------------------------------
def file(name: str, **changes: Any) -> str:
    files = backup.backup_files(settings(backup_recipients=[AGE, SSH], **changes))
    return next(file.content for file in files if file.path.name == name)


def test_the_script_is_shell_and_names_the_hub() -> None:
    script = file("backup.sh", public_url="https://[2001:db8::1]:8443", base_url="/a/b")
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert "\nname=2001-db8--1-a-b " in script
    assert "{{" not in script


def test_the_timer_keeps_to_the_hours() -> None:
    def times(hours: int) -> str:
        unit = file("integrable-jupyterhub-backup.timer", backup_every_hours=hours)
        return next(line for line in unit.splitlines() if line.startswith("OnCalendar"))

    assert times(24) == "OnCalendar=*-*-* 03:00:00"
    assert times(6) == "OnCalendar=*-*-* 03,09,15,21:00:00"
    assert times(1).count(",") == 23


def test_the_unit_writes_to_two_folders_only_and_needs_the_disk() -> None:
    unit = file("integrable-jupyterhub-backup.service", backup_folder="/mnt/disk")
    assert "RequiresMountsFor=/mnt/disk\n" in unit
    assert "ReadWritePaths=/var/lib/integrable-jupyterhub -/mnt/disk\n" in unit
    assert f"ExecStart={BACKUP_SCRIPT}\n" in unit


def test_versions_are_those_that_are_locked() -> None:
    assert set(versions()) == {"release", "jupyterhub", "postgresql"}
    assert all(re.fullmatch(r"[0-9.]+", version) for version in versions().values())


# --- What is in a file ---------------------------------------------------------------------------
Make = Callable[..., Path]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return signing_key(tmp_path)


@pytest.fixture
def make(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes files that a stand-in for age, which knows no secrets, "decrypts"."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "age").write_text('#!/bin/sh\ntail -n +2 "$4"\n')
    (programs / "age").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    def write(content: Members | bytes, name: str = "hub.age") -> Path:
        plain = content if isinstance(content, bytes) else signed(tarred(content), key)
        (tmp_path / name).write_bytes(HEADER.encode() + plain)
        return tmp_path / name

    return write


def refused(file: Path, key: Path) -> str:
    with pytest.raises(Problems) as caught:
        read(file, key)
    (problem,) = caught.value.problems
    assert "\n" not in str(problem)
    return str(problem).removeprefix(f"{file}: ")


def test_a_backup_tells_what_it_holds(make: Make, key: Path) -> None:
    archive = {f"{ARCHIVE}/about.json": b"{}", f"{ARCHIVE}/home.tar.gz": bytes(3_000_000)}
    content = read(make({**archive, **members(SETTINGS)}), key)
    assert content.signer == fingerprint(key)
    assert (content.services, content.archives) == (("lms", "grader"), 1)
    assert content.about["made"] == "2026-11-26T03:00:00Z"
    assert content.settings["max_sessions"] == 50


def test_what_is_sent_is_what_was_signed(make: Make, key: Path) -> None:
    tar = tarred({**members(SETTINGS), f"{ARCHIVE}/home.tar.gz": bytes(3_000_000)})
    content = read(make(signed(tar, key)), key)
    lines = backup.Lines(content, key)
    assert lines
    sent = b"".join(base64.b64decode(line) for line in lines)
    assert sent == tar


def test_what_was_changed_after_it_was_signed_is_refused(make: Make, key: Path) -> None:
    tar = tarred(members(SETTINGS))
    changed = signed(tar, key).replace(b"c" * 64, b"d" * 64)
    assert refused(make(changed), key).startswith("was changed after it was signed; name a file")
    for_something_else = signed(tar, key, "git")
    assert refused(make(for_something_else), key).startswith("was changed after it was signed")
    assert refused(make(tar), key).startswith("carries no signature; name a file that")


def test_what_is_no_file_of_ours_is_refused(make: Make, key: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("nothing of age's")
    assert refused(other, key).startswith("is no file of age's; name a file that `make backup`")
    assert refused(make({"about": b"x y\n"}), key).startswith("is not as this project writes them")
    with pytest.raises(Problems, match=r"FILE: .* is no file on this machine"):
        read(tmp_path / "missing", key)
    with pytest.raises(Problems, match=r"KEY: .* is no file on this machine"):
        read(make(members(SETTINGS)), tmp_path / "missing")


def test_the_name_tells_whether_a_file_is_whole(make: Make, key: Path) -> None:
    file = make(members(SETTINGS), name=f"hub_20261126T030000Z_{'0' * 16}.age")
    assert refused(file, key).startswith("is damaged or cut short: its digest is not the one in")


@pytest.mark.parametrize(
    "name",
    [
        "../about",
        "/etc/cron.d/x",
        "secrets/../../x",
        "secrets/unknown",
        "secrets",
        f"{ARCHIVE}/../x",
        f"{ARCHIVE}/home.tar.gz\n",
        f"{ARCHIVE}/other",
    ],
)
def test_a_member_that_no_backup_has_is_refused(make: Make, key: Path, name: str) -> None:
    file = make({name: b"x", **members(SETTINGS)})
    assert refused(file, key).startswith("holds ")


def test_links_doubles_and_huge_texts_are_refused(make: Make, key: Path) -> None:
    for member in (
        {"x": link("database.dump", "/etc/passwd")},
        {"secrets/proxy_token": bytes(2**20 + 1)},
        {"x": link(f"{ARCHIVE}/about.json", "/etc/shadow")},
    ):
        assert refused(make({**member, **members(SETTINGS)}), key).startswith("holds ")
    tar = tarred(members(SETTINGS)).rstrip(b"\0")
    doubled = signed(tar + bytes(-len(tar) % 512) + tar, key)
    assert refused(make(doubled), key).startswith("holds 'settings.json'")


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "age: error: no identity matched any of the recipients",
            "KEY: {key} does not open {file}",
        ),
        ("age: error: failed to read header: parsing age header: x", "{file}: is damaged or cut"),
        ("age: error: failed to decrypt and authenticate payload chunk", "{file}: is damaged"),
        ("age: error: unexpected EOF", "{file}: is damaged or cut short: unexpected EOF"),
        (
            'age: error: reading "{key}": failed to read "{key}": error at line 1: unknown',
            "KEY: {key} is no key of age's",
        ),
    ],
)
def test_what_age_says_becomes_a_line(
    make: Make, key: Path, tmp_path: Path, said: str, line: str
) -> None:
    file = make(members(SETTINGS))
    (tmp_path / "bin" / "age").write_text(f"#!/bin/sh\necho '{said.format(key=key)}' >&2; exit 1\n")
    with pytest.raises(Problems) as caught:
        read(file, key)
    assert str(caught.value).startswith(line.format(file=file, key=key))


# --- Whether it may be restored ------------------------------------------------------------------
CONTENT = Content(
    file=Path("hub.age"),
    signer="SHA256:a",
    tar_bytes=10 * 2**20,
    about={"format": "1", **versions(), "name": "hub", "made": "2026"},
    settings={"max_sessions": 80, "gone": 1, "debug": False},
    services=("lms", "grader"),
    archives=0,
)
TARGET = Target(("SHA256:b", "SHA256:a"), 0, 1000)


def test_a_backup_of_the_host_itself_is_restored() -> None:
    assert refusals(CONTENT, TARGET, SETTINGS, "") == []


@pytest.mark.parametrize(
    ("change", "signer", "line"),
    [
        ({"signer": "SHA256:c"}, "", "SIGNER: hub.age is signed by SHA256:c, not by a key of this"),
        ({}, "SHA256:b", "SIGNER: hub.age is signed by SHA256:a, not by SHA256:b"),
        ({"services": ("lms", "old")}, "", "service_admins: old has a token in the backup, and"),
        ({"tar_bytes": 500 * 2**20}, "", "disk: 1000 MB free at /var/lib/integrable-jupyterhub"),
        ({"format": "2"}, "", "hub.age: is of format 2, newer than 1 here; use a release"),
        ({"release": "9.10.0"}, "", "hub.age: is of release 9.10.0, newer than"),
        ({"jupyterhub": "6.10"}, "", "hub.age: is of jupyterhub 6.10, newer than 6."),
        ({"postgresql": "18"}, "", "hub.age: is of postgresql 18, newer than 17"),
    ],
)
def test_why_a_backup_is_not_restored_is_a_line(
    change: dict[str, Any], signer: str, line: str
) -> None:
    about = {key: value for key, value in change.items() if key in CONTENT.about}
    rest = {key: value for key, value in change.items() if key not in about}
    content = replace(CONTENT, about={**CONTENT.about, **about}, **rest)
    (found,) = refusals(content, TARGET, SETTINGS, signer)
    assert str(found).startswith(line)


def test_a_lost_hosts_backup_is_restored_when_its_key_is_named() -> None:
    assert refusals(replace(CONTENT, signer="SHA256:c"), TARGET, SETTINGS, "SHA256:c") == []


def test_older_is_no_obstacle_and_no_version_is_no_backup() -> None:
    older = {"format": "1", "release": "0.0.9", "jupyterhub": "5.2", "postgresql": "15"}
    assert refusals(replace(CONTENT, about=older), TARGET, SETTINGS, "") == []
    with pytest.raises(Problems, match="does not tell its format"):
        refusals(replace(CONTENT, about={"format": "x"}), TARGET, SETTINGS, "")


def test_settings_that_differ_and_costs_are_said() -> None:
    assert differences(CONTENT, SETTINGS) == ["max_sessions: 50 here, 80 in the backup"]
    assert not any("sessions run" in line for line in costs(CONTENT, TARGET))
    assert costs(CONTENT, replace(TARGET, sessions=3))[-1].startswith("3 sessions run and end")


def test_a_host_tells_of_itself() -> None:
    lines = ["signer SHA256:b", "signer SHA256:a", "sessions 0", "free_mb 1000"]
    assert Target.parse(lines) == TARGET
