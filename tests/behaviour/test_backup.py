"""Backups: made, kept, copied, refused, and restored: on the host itself, and on a bare one."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backups import fingerprint, link, members, signed, signing_key, tarred
from tests.behaviour.test_status import report
from tests.deployment import Deployment, Run, give_images
from tests.lab import Host, engine, lab
from tests.lab.client import Hub
from tests.lab.demo import hub_of
from tests.unit.core.sample import settings

FOLDER = "/var/lib/integrable-jupyterhub/backup"
UNIT = "integrable-jupyterhub-backup"
ARCHIVES = "/var/lib/integrable-jupyterhub/hub/archive"
ARCHIVE = f"{'0' * 32}-4000000000-{'1' * 8}"  # far in the future: it does not expire
STRAY = "/etc/integrable-jupyterhub/secrets/service_tokens.bak"
RESTORE = "make restore FILE=BACKUP KEY=KEY"
RESTORE_SIGNED = "make restore FILE=BACKUP KEY=KEY SIGNER=FINGERPRINT"
STATE = (
    "docker ps -aq --no-trunc; find /etc/integrable-jupyterhub -type f -exec sha256sum {} +;"
    " ls /var/lib/integrable-jupyterhub"
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the secret key of whoever may read backups, and one that may not."""
    folder = tmp_path_factory.mktemp("keys")
    engine.need("age", "age")
    for name in ("key.txt", "other.txt"):
        command = ["age-keygen", "-o", str(folder / name)]
        subprocess.run(command, check=True, capture_output=True)
    return folder


def public(key: Path) -> str:
    command = ["age-keygen", "-y", str(key)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def on(keys: Path) -> dict[str, Any]:
    return {"backup_recipients": [public(keys / "key.txt")], "backup_keep": 2}


@pytest.fixture(scope="module")
def backups(deployment: Deployment, host: Host, first_run: Run, keys: Path) -> Iterator[None]:
    """Backups are on, as an admin switches them on: by settings."""
    with deployment.given(**on(keys)):
        deployment.run()
        yield
    off = deployment.run()
    assert off.changed[0] == "Backup | Make no backups"
    assert set(off.changed[1:]) <= {"Release | Record what runs"}
    assert host.run("systemctl", "cat", f"{UNIT}.timer", check=False).returncode


@pytest.fixture
def copy(deployment: Deployment, backups: None, tmp_path: Path) -> Callable[[], Path]:
    """Makes a backup and has it copied here."""

    def make() -> Path:
        folder = tmp_path / "copies"
        folder.mkdir(exist_ok=True)
        before = set(folder.iterdir())
        done = deployment.runbook("make backup TO=FOLDER", FOLDER=str(folder))
        assert done.exit_code == 0, done.output
        (file,) = set(folder.iterdir()) - before
        return file

    return make


def refused(
    deployment: Deployment, file: Path | str, key: Path | str, line: str, signer: str = ""
) -> str:
    """The host must not be touched."""
    before = deployment.host.sh(STATE)
    typed = RESTORE_SIGNED if signer else RESTORE
    done = deployment.runbook(typed, BACKUP=str(file), KEY=str(key), FINGERPRINT=signer)
    assert done.exit_code != 0
    said = done.output.partition("--> pyinfra error")[2].partition(": ")[2].splitlines()[0]
    assert said.startswith(line), done.output
    assert "; " in said, "no remedy"
    assert "Beginning operation run" not in done.output
    assert deployment.host.sh(STATE) == before
    return said


def test_without_a_key_there_are_no_backups(
    deployment: Deployment, host: Host, first_run: Run
) -> None:
    done = deployment.runbook("make backup")
    assert done.exit_code != 0
    assert f"backup_recipients: {host.name} was deployed without any" in done.output
    assert host.run("systemctl", "cat", f"{UNIT}.timer", check=False).returncode


def test_a_folder_that_is_not_there_is_refused(
    deployment: Deployment, first_run: Run, keys: Path
) -> None:
    run = deployment.run(
        check=False, backup_recipients=[public(keys / "key.txt")], backup_folder="/mnt/disk"
    )
    (line,) = run.error_lines
    assert line == (
        "backup_folder: /mnt/disk is no folder of the host that can be written;"
        " mount the disk, or make it: host# mkdir /mnt/disk"
    )


def test_only_the_key_reads_it_and_the_newest_are_kept(
    deployment: Deployment, host: Host, copy: Callable[[], Path], keys: Path
) -> None:
    made = [copy() for _ in range(3)]
    assert host.sh(f"ls -A {FOLDER}").splitlines() == [file.name for file in made[1:]]
    assert (
        host.sh(f"stat -c '%a %U' {FOLDER} {FOLDER}/*").splitlines()
        == ["700 root"] + ["600 root"] * 2
    )
    content = made[2].read_bytes()
    assert made[2].stem.endswith(hashlib.sha256(content).hexdigest()[:16])
    token = host.sh("cat /etc/integrable-jupyterhub/secrets/cookie_secret").encode()
    assert token not in content
    command = ["age", "--decrypt", "--identity", str(keys / "key.txt"), str(made[2])]
    plain = subprocess.run(command, check=True, capture_output=True).stdout
    assert token in plain
    # What is not encrypted does not outlive the making.
    assert "backup-work" not in host.sh("ls /var/lib/integrable-jupyterhub")
    timers = deployment.runbook(
        "host# systemctl list-timers integrable-jupyterhub-backup.timer"
    ).stdout
    assert re.search(r" 03:(0\d|1[0-5]):", timers), timers


def test_a_backup_that_fails_leaves_nothing_half_and_is_told(
    deployment: Deployment, host: Host, copy: Callable[[], Path]
) -> None:
    copy()
    host.sh(f"mv {FOLDER} {FOLDER}.was; touch {FOLDER}")  # as a disk that is not there
    try:
        done = deployment.runbook("make backup")
        assert done.exit_code != 0
        line = f"backup: {FOLDER} can't be written; mount it, or choose another backup_folder"
        assert line in done.output
        host.sh("journalctl --sync")
        told = deployment.runbook("host# journalctl -p err -u integrable-jupyterhub-backup")
        assert line in told.stdout
    finally:
        host.sh(f"rm {FOLDER}; mv {FOLDER}.was {FOLDER}")
    _, found = report(deployment)
    assert "backup: the last one failed" in told_by(found)
    # age finds the disk full in mid-file, as it were.
    before = host.sh(f"ls -A {FOLDER}")
    host.sh("mv /usr/bin/age /usr/bin/age.was; printf '#!/bin/sh\\nhead -c 20000; echo full >&2;"
            " exit 1\\n' > /usr/bin/age; chmod 755 /usr/bin/age")  # fmt: skip
    try:
        done = deployment.runbook("make backup")
        assert f"it could not be written to {FOLDER}: full" in done.output
    finally:
        host.sh("mv /usr/bin/age.was /usr/bin/age")
    assert host.sh(f"ls -A {FOLDER}") == before
    copy()
    assert "backup: " not in told_by(report(deployment)[1])
    host.sh(f"touch -d '-49 hours' {FOLDER}/*")
    assert "backup: none for 2 d, instead of every 24 h" in told_by(report(deployment)[1])
    host.sh(f"touch {FOLDER}/*")


def told_by(found: object) -> str:
    assert isinstance(found, dict)
    return "\n".join(f"{one['subject']}: {one['message']}" for one in found["findings"])


def test_what_is_not_to_be_restored_is_refused_before_anything_is_touched(
    deployment: Deployment, copy: Callable[[], Path], keys: Path, tmp_path: Path
) -> None:
    key, good = keys / "key.txt", copy()
    content = good.read_bytes()

    def file(content: bytes, name: str) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    refused(deployment, good, keys / "other.txt", f"KEY: {keys / 'other.txt'} does not open")
    refused(deployment, good, good, f"KEY: {good} is no key of age's")
    cut = file(content[:-100], "cut.age")
    refused(deployment, cut, key, f"{cut}: is damaged or cut short")
    half = file(content[: len(content) // 2], good.name)
    refused(deployment, half, key, f"{half}: is damaged or cut short: its digest")
    middle = len(content) // 2
    bad = file(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :], "bad.age")
    refused(deployment, bad, key, f"{bad}: is damaged or cut short")
    refused(deployment, "README.md", key, "README.md: is no file of age's")

    # Anybody can encrypt to a public key. A forged one is signed by somebody else,
    forger = signing_key(tmp_path)
    whole = members(settings())

    def forged(name: str, content: bytes) -> Path:
        command = ["age", "--encrypt", "--recipient", public(key), "--output", str(tmp_path / name)]
        subprocess.run(command, input=content, check=True)
        return tmp_path / name

    forgery = forged("forged.age", signed(tarred(whole), forger))
    refused(deployment, forgery, key, f"SIGNER: {forgery} is signed by {fingerprint(forger)}")
    # and even where somebody believes in that key, only what backups hold is taken.
    hostile = {"x": link("secrets/proxy_token", "/etc/shadow"), **whole}
    evil = forged("evil.age", signed(tarred(hostile), forger))
    who = fingerprint(forger)
    refused(deployment, evil, key, f"{evil}: holds 'secrets/proxy_token'", signer=who)
    newer = {**whole, **members(settings(), release="99.0")}
    new = forged("new.age", signed(tarred(newer), forger))
    refused(deployment, new, key, f"{new}: is of release 99.0, newer than", signer=who)


def test_an_admin_with_sudo_gets_a_copy(
    deployment: Deployment, backups: None, sudoer: str, tmp_path: Path
) -> None:
    to = {"BACKUP_TO": str(tmp_path)}
    deployment.run("--sudo", script="ops/backup.py", variables=to, ssh_user=sudoer)
    assert [file.suffix for file in tmp_path.iterdir()] == [".age"]


def test_a_host_becomes_what_it_was(
    deployment: Deployment, host: Host, hub: Hub, copy: Callable[[], Path], keys: Path
) -> None:
    hub.create_user("before")
    token = hub.mint_token("before")
    file = copy()
    hub.delete_user("before")
    hub.create_user("after")
    hub.start_server("after")
    host.sh(
        "docker rm -f jupyterhub_db; docker volume rm jupyterhub_db"
    )  # what there is no cure for
    done = deployment.runbook(RESTORE, BACKUP=str(file), KEY=str(keys / "key.txt"))
    assert done.exit_code == 0, done.output
    assert f"{host.name}: 1 sessions run and end, their files with them" in done.output
    assert host.sh("docker ps -q --filter label=integrable-jupyterhub.role=session") == ""
    assert {user["name"] for user in hub.call("GET", "/users", 200).json()} >= {"before"}
    assert hub.call("GET", "/users/after").status_code == 404
    assert Hub(hub.api_url, token, hub.ca).call("GET", "/user").json()["name"] == "before"
    hub.delete_user("before")
    assert deployment.run().changed == []
    assert "restore-work" not in host.sh("ls /var/lib/integrable-jupyterhub")


def test_a_lost_host_comes_back_on_a_bare_one(
    host: Host, hub: Hub, user: Callable[[], str], copy: Callable[[], Path], keys: Path
) -> None:
    """With its service tokens, its users and theirs, its certificate and its archives."""
    name, key = user(), keys / "key.txt"
    token = hub.mint_token(name)
    hub.start_server(name)
    host.sh(
        f"cd {ARCHIVES}; mkdir -m 700 {ARCHIVE}; echo homes > {ARCHIVE}/home.tar.gz;"
        f""" echo '{{"id": "{ARCHIVE}", "user": "{name}", "size": 6}}' > {ARCHIVE}/about.json;"""
        f" ln -s /etc/shadow {ARCHIVE}/link; chown -Rh 65602:65600 {ARCHIVE};"
        f" echo by hand > {STRAY}"
    )
    try:
        file = copy()
    finally:
        host.sh(f"rm -r {ARCHIVES}/{ARCHIVE} {STRAY}")
    with lab() as bare, Deployment(bare).given(**on(keys)):
        give_images(host, bare)
        second = Deployment(bare)
        done = second.runbook(RESTORE, BACKUP=str(file), KEY=str(key))
        told = re.search(r"SIGNER=(SHA256:\S+)", done.output)
        assert told, done.output
        # It is what the admin's machine knew of the lost host.
        assert told[1] == fingerprint(host.folder / "host_key")
        done = second.runbook(RESTORE_SIGNED, BACKUP=str(file), KEY=str(key), FINGERPRINT=told[1])
        assert done.exit_code == 0, done.output
        assert f'public_url: "{bare.public_url}" here, "{host.public_url}" in the' in done.output

        service, there = hub_of(bare)
        assert there.token == hub.token, service
        certificate = "cat /etc/integrable-jupyterhub/tls/tls.crt"
        assert bare.sh(certificate) == host.sh(certificate)
        as_user = Hub(there.api_url, token, there.ca)
        assert as_user.call("GET", "/user", 200).json()["name"] == name
        there.start_server(name)
        assert there.attach(name, there.mint_token(name)).run("6*7").value == "42"
        assert there.fetch_archive(ARCHIVE) == b"homes\n"
        assert bare.sh(f"ls {ARCHIVES}/{ARCHIVE}").split() == ["about.json", "home.tar.gz"]
        assert second.run().changed == []
        done = second.runbook("make status")
        assert done.exit_code == 0, done.output
        assert re.search(r"^  backup +none yet\n", done.stdout, re.MULTILINE)
