"""Backups: what one is made of, and whether a file is one that may be restored.

A file is what age encrypted: a tar, and after its end a signature of it by the host's SSH key. What
is in it is believed only when the signature is that of the host (docs/decisions/0020-backups.md).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import IO, Any, cast

from typing_extensions import override

from hubhost.errors import Problem, Problems
from hubhost.hostfile import HostFile
from hubhost.paths import (
    ARCHIVE,
    BACKUP,
    BACKUP_RECIPIENTS,
    BACKUP_SCRIPT,
    BACKUP_UNIT,
    BACKUP_WORK,
    BACKUPS,
    SECRETS,
    STATE,
    TLS,
    UNITS,
)
from hubhost.secrets import ALL_SECRETS, SERVICE_TOKENS
from hubhost.service import DATABASE_NAME
from hubhost.settings import HOME, Settings
from hubhost.templates import render

ROOT = Path(__file__).parents[1]
FORMAT = "1"
NAMESPACE = "integrable-jupyterhub-backup"
"""Of the signature, so that it is good for nothing else (PROTOCOL.sshsig)."""

OWN_FOLDER = str(BACKUPS)
"""The default of backup_folder: made when it is missing. Any other is a disk that must be there."""

RESERVE_MB = 200
"""What a backup leaves free on the disk it is written to."""

ARCHIVED = r"archive/[0-9a-f]{32}-[0-9]{10}-[0-9a-f]{8}/(about\.json|home\.tar\.gz)"
"""A file of an archive, in the words of both Python and find's posix-extended."""

DATABASE, SETTINGS, ABOUT = "database.dump", "settings.json", "about"
TLS_FILES = ("tls.key", "tls.crt")
SMALL = 1024 * 1024
CHUNK = 57 * 1024  # whole lines of base64

_TEXTS = {ABOUT, SETTINGS, *TLS_FILES, *(f"secrets/{secret.name}" for secret in ALL_SECRETS)}
_SIGNATURE = b"-----BEGIN SSH SIGNATURE-----\n"
_LONGEST_SIGNATURE = 16 * 1024
_HEADERS = (b"age-encryption.org/v1\n", b"-----BEGIN AGE ENCRYPTED FILE-----")


# --- What makes them, on the host ----------------------------------------------------------------
def versions(root: Path = ROOT) -> dict[str, str]:
    """What a backup must not be newer than: this release, and what its data was written by."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    lock = (root / "images" / "hub" / "requirements.txt").read_text()
    image = (root / "images" / "database" / "Dockerfile").read_text()
    found = {
        "jupyterhub": re.search(r"^jupyterhub==([0-9.]+)", lock, re.MULTILINE),
        "postgresql": re.search(r"\bpostgresql-([0-9]+)", image),
    }
    return {"release": project} | {name: match[1] for name, match in found.items() if match}


def hub_name(settings: Settings) -> str:
    """How the files of this hub begin."""
    return re.sub(r"[^a-z0-9.-]", "-", settings.public_host + settings.base_url.rstrip("/").lower())


def backup_files(settings: Settings) -> tuple[HostFile, ...]:
    """The script, its timer, and what goes into each backup unchanged."""
    hours = settings.backup_every_hours
    about = {"format": FORMAT, **versions()}
    values = {
        "folder": settings.backup_folder,
        "own_folder": OWN_FOLDER,
        "work": BACKUP_WORK,
        "name": hub_name(settings),
        "database": DATABASE_NAME,
        "secrets": SECRETS,
        "secret_names": " ".join(secret.name for secret in ALL_SECRETS),
        "tls": TLS,
        "backup": BACKUP,
        "recipients": BACKUP_RECIPIENTS,
        "archive": ARCHIVE,
        "archived": ARCHIVED,
        "namespace": NAMESPACE,
        "reserve_kb": RESERVE_MB * 1024,
        "keep": settings.backup_keep,
        "script": BACKUP_SCRIPT,
        "state": STATE,
        "hours": hours,
        "times": ",".join(f"{hour:02}" for hour in range(3 % hours, 24, hours)),
    }
    units = (f"{BACKUP_UNIT}.{kind}" for kind in ("service", "timer"))
    return (
        HostFile(BACKUP / "about", "".join(f"{key} {value}\n" for key, value in about.items())),
        HostFile(BACKUP / "settings.json", settings.model_dump_json(indent=2) + "\n"),
        HostFile(BACKUP_RECIPIENTS, "".join(f"{r}\n" for r in settings.backup_recipients)),
        HostFile(BACKUP_SCRIPT, render("backup/backup.sh", **values), 0o755),
        *(HostFile(UNITS / u, render(f"backup/backup{Path(u).suffix}", **values)) for u in units),
    )


# --- What is in one, as this machine finds ------------------------------------------------------
@dataclass(frozen=True)
class Content:
    """What a whole, signed backup of ours holds. Sizes in bytes.

    `signer`: fingerprint of the key that signed it; `services`: those that have a token in it.
    """

    file: Path
    signer: str
    tar_bytes: int
    about: Mapping[str, str]
    settings: Mapping[str, Any]
    services: tuple[str, ...]
    archives: int

    def __str__(self) -> str:
        return (
            f"{self.file.name}, of {self.about.get('name')}, made {self.about.get('made')},"
            f" signed by {self.signer}"
        )


def tools_missing() -> list[Problem]:
    """Programs that this machine needs to look into a backup."""
    packages = {"age": "age", "ssh-keygen": "openssh-client"}
    return [
        Problem(program, "not on this machine", f"install it: apt-get install {package}")
        for program, package in packages.items()
        if not shutil.which(program)
    ]


def read(file: Path, key: Path) -> Content:
    """Look through all of a backup. What is not encrypted stays in memory, or is let go.

    Raises:
        Problems: it is none, it is not whole, the key is not its, or it holds what we never put in.
    """
    _looks_whole(file, key)
    size, signer = _signed(file, key)
    texts: dict[str, str] = {}
    names: set[str] = set()
    try:
        with (
            closing(_Pipe(decrypted(file, key), size)) as pipe,
            tarfile.open(fileobj=cast(IO[bytes], pipe), mode="r|") as tar,
        ):
            for member in tar:
                name = member.name
                small = name in _TEXTS and member.size <= SMALL
                if (
                    not member.isreg()
                    or name in names
                    or not (small or name == DATABASE or re.fullmatch(ARCHIVED, name))
                ):
                    raise _foreign(file, f"holds {name[:80]!r}, which no backup does")
                names.add(name)
                if small and (content := tar.extractfile(member)):
                    texts[name] = content.read().decode()
        about = dict(line.split(" ", 1) for line in texts[ABOUT].splitlines())
        settings = json.loads(texts[SETTINGS])
        tokens = texts[f"secrets/{SERVICE_TOKENS}"]
        if DATABASE not in names or not isinstance(settings, dict):
            raise _foreign(file, "holds no database, or no settings")
    except (tarfile.TarError, KeyError, ValueError) as error:
        if isinstance(error, Problems):
            raise
        raise _foreign(file, f"is not as this project writes them ({error})") from None
    services = tuple(pair.partition(":")[0] for pair in tokens.split(";") if pair)
    archives = sum(name.endswith("/about.json") for name in names)
    return Content(file, signer, size, about, settings, services, archives)


def decrypted(file: Path, key: Path) -> Generator[bytes]:
    """What is in the file, piece by piece; each is authentic when it comes.

    Raises:
        Problems: age says no.
    """
    with tempfile.TemporaryFile() as said:
        command = ["age", "--decrypt", "--identity", str(key), str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as age:
            assert age.stdout
            try:
                while chunk := age.stdout.read(CHUNK):
                    yield chunk
            finally:
                age.stdout.close()
        said.seek(0)
        if age.returncode:
            raise Problems([_age_problem(file, key, said.read().decode(errors="replace"))])


class Lines(list[str]):
    """The tar in lines of base64, made as they are sent: pyinfra's standard input takes lists."""

    def __init__(self, content: Content, key: Path) -> None:
        super().__init__()
        self._content, self._key = content, key

    def __bool__(self) -> bool:
        return True

    @override
    def __iter__(self) -> Iterator[str]:
        content = self._content
        with closing(_Pipe(decrypted(content.file, self._key), content.tar_bytes)) as pipe:
            while chunk := pipe.read(CHUNK):
                yield base64.b64encode(chunk).decode()


class _Pipe:
    """The first `size` bytes of a stream, to be read in portions."""

    def __init__(self, chunks: Generator[bytes], size: int) -> None:
        self._chunks, self._left, self._buffer = chunks, size, b""

    def read(self, size: int) -> bytes:
        size = min(size, self._left)
        while len(self._buffer) < size and (chunk := next(self._chunks, b"")):
            self._buffer += chunk
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        self._left -= len(found)
        return found

    def close(self) -> None:
        self._chunks.close()


def _foreign(file: Path, message: str) -> Problems:
    return Problems([Problem(str(file), message, "name a file that `make backup` made")])


def _damaged(file: Path, how: str) -> Problem:
    return Problem(str(file), f"is damaged or cut short: {how}", "take another backup")


def _age_problem(file: Path, key: Path, said: str) -> Problem:
    line = next((line for line in said.splitlines() if line), "age says nothing")
    line = line.removeprefix("age: error: ")
    if "no identity matched" in line:
        return Problem(
            "KEY", f"{key} does not open {file}", "name the key of one of backup_recipients"
        )
    if "reading" in line or ("parse" in line and str(key) in line) or "identit" in line:
        return Problem("KEY", f"{key} is no key of age's: {line}", "name a secret key's file")
    return _damaged(file, line)


def _looks_whole(file: Path, key: Path) -> None:
    """Raises: Problems, of what shows without the key."""
    for name, path in (("FILE", file), ("KEY", key)):
        if not path.is_file():
            remedy = "make restore FILE=backup.age KEY=key.txt"
            raise Problems([Problem(name, f"{path} is no file on this machine", remedy)])
    with file.open("rb") as opened:
        if not opened.read(64).startswith(_HEADERS):
            raise _foreign(file, "is no file of age's")
        told = re.search(r"_([0-9a-f]{16})\.age$", file.name)
        if told and digest(opened)[:16] != told[1]:
            raise Problems([_damaged(file, "its digest is not the one in its name")])


def digest(opened: BufferedReader | BufferedRandom) -> str:
    """SHA-256 of all of a file."""
    opened.seek(0)
    return hashlib.file_digest(opened, "sha256").hexdigest()


def _signed(file: Path, key: Path) -> tuple[int, str]:
    """The bytes that were signed, and the fingerprint of who did; nothing is parsed before that."""
    sha, size, held = hashlib.sha256(), 0, b""
    for chunk in decrypted(file, key):
        held += chunk
        done = held[:-_LONGEST_SIGNATURE]
        sha.update(done)
        size, held = size + len(done), held[len(done) :]
    rest, found, signature = held.rpartition(_SIGNATURE)
    if not found:
        raise _foreign(file, "carries no signature")
    sha.update(rest)
    with tempfile.NamedTemporaryFile() as written:
        written.write(found + signature)
        written.flush()
        done_ = subprocess.run(
            ["ssh-keygen", "-Y", "check-novalidate", "-n", NAMESPACE, "-s", written.name],
            input=f"{sha.hexdigest()}  -\n",
            capture_output=True,
            text=True,
            check=False,
        )
    signer = re.search(r" key (SHA256:\S+)", done_.stdout)
    if done_.returncode or not signer:
        raise _foreign(file, "was changed after it was signed")
    return size + len(rest), signer[1]


# --- Whether it may be restored here -------------------------------------------------------------
@dataclass(frozen=True)
class Target:
    """The host to restore on: fingerprints of its SSH keys, sessions that run, MB free."""

    signers: tuple[str, ...] = ()
    sessions: int = 0
    free_mb: int = 0

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Target:
        pairs = [line.partition(" ")[::2] for line in lines]
        values = dict(pairs)
        signers = tuple(value for key, value in pairs if key == "signer")
        return cls(signers, int(values.get("sessions", 0)), int(values.get("free_mb", 0)))


def refusals(content: Content, target: Target, settings: Settings, signer: str) -> list[Problem]:
    """Why this must not be restored there; `signer`: whom the person named, if anybody."""
    found = list(_newer(content))
    if content.signer not in ((signer,) if signer else target.signers):
        who = signer or "a key of this host"
        message = f"{content.file} is signed by {content.signer}, not by {who}"
        remedy = f"if that is the lost host's key, say so: SIGNER={content.signer}"
        found.append(Problem("SIGNER", message, remedy))
    if lost := [name for name in content.services if name not in settings.service_admins]:
        message = f"{', '.join(lost)} has a token in the backup, and would lose it"
        found.append(Problem("service_admins", message, f"add it in {HOME}"))
    needed = 2 * content.tar_bytes // 2**20 + RESERVE_MB
    if target.free_mb < needed:
        message = f"{target.free_mb} MB free at {STATE}, this backup needs {needed}"
        found.append(Problem("disk", message, "make room"))
    return found


def _newer(content: Content) -> Iterator[Problem]:
    for what, ours in ({"format": FORMAT} | versions()).items():
        its = content.about.get(what, "")
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)*", its):
            raise _foreign(content.file, f"does not tell its {what}")
        if _numbers(its) > _numbers(ours):
            message = f"is of {what} {its}, newer than {ours} here"
            yield Problem(str(content.file), message, "use a release as new as the backup's")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def differences(content: Content, settings: Settings) -> list[str]:
    """Settings that are not what they were; those here count."""
    ours = json.loads(settings.model_dump_json())
    return [
        f"{name}: {json.dumps(ours[name])} here, {json.dumps(its)} in the backup"
        for name, its in content.settings.items()
        if name in ours and ours[name] != its
    ]


def costs(content: Content, target: Target) -> list[str]:
    """What people notice, said beforehand."""
    kept = f"{content.archives} archives" if content.archives else "no archive"
    lines = [
        f"becomes what it was in {content}",
        f"users, tokens, secrets, self-signed certificate and archives ({kept}) are replaced",
        "users that were forgotten since are back: forget them again",
    ]
    if target.sessions:
        lines.append(f"{target.sessions} sessions run and end, their files with them")
    return lines
