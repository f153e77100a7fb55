"""Backups made by hand, as anybody can make them who knows the public key."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from hubhost.backup import FORMAT, NAMESPACE, versions
from hubhost.settings import Settings

Members = Mapping[str, bytes | tarfile.TarInfo]


def members(settings: Settings, **about: str) -> dict[str, bytes | tarfile.TarInfo]:
    """What a backup of these settings holds, secrets included."""
    lines = {"format": FORMAT, **versions(), "name": "hub", "made": "2026-11-26T03:00:00Z"} | about
    tokens = ";".join(f"{name}:{'5' * 64}" for name in settings.service_admins)
    return {
        "settings.json": settings.model_dump_json().encode(),
        "tls.crt": b"certificate",
        "tls.key": b"key",
        "database.dump": b"dump" * 1000,
        "secrets/service_tokens": tokens.encode(),
        "secrets/cookie_secret": b"c" * 64,
        "about": "".join(f"{key} {value}\n" for key, value in lines.items()).encode(),
    }


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def signing_key(folder: Path) -> Path:
    """A new key like those of SSH hosts."""
    key = folder / "signing"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True)
    return key


def fingerprint(key: Path) -> str:
    command = ["ssh-keygen", "-lf", f"{key}.pub"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1]


def tarred(content: Members) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for name, data in content.items():
            if isinstance(data, tarfile.TarInfo):
                tar.addfile(data)
            else:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return written.getvalue()


def signed(tar: bytes, key: Path, namespace: str = NAMESPACE) -> bytes:
    """The tar, and its signature after it: what is encrypted."""
    told = f"{hashlib.sha256(tar).hexdigest()}  -\n".encode()
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", namespace]
    return tar + subprocess.run(command, input=told, capture_output=True, check=True).stdout
