"""Files that the installer writes on a host, and the difference between two states of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

SERVICES_GROUP = 65600
"""Group of all service containers: what a container may read of the files mounted into it.

Above 65535 Debian policy 9.2.2 leaves ids to the administrator, and adduser gives none out.
"""


@dataclass(frozen=True)
class HostFile:
    """A file as it should be on the host. Owned by root; `group` may read if `mode` says so."""

    path: PurePosixPath
    content: str = field(repr=False)
    mode: int = 0o644
    group: int = 0

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()


@dataclass(frozen=True)
class HostFolder:
    """A folder as it should be on the host."""

    path: PurePosixPath
    mode: int
    owner: int
    group: int


@dataclass(frozen=True)
class FileState:
    """What is on the host at a path."""

    sha256: str
    mode: int
    owner: int
    group: int


def outdated(files: Iterable[HostFile], present: dict[str, FileState]) -> list[HostFile]:
    """The files that are missing on the host, or differ in content, mode or owner."""
    return [
        file
        for file in files
        if present.get(str(file.path)) != FileState(file.sha256, file.mode, 0, file.group)
    ]
