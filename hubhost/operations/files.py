"""Operations on files and folders, and on systemd's units."""

from __future__ import annotations

import base64
import shlex

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from hubhost import facts
from hubhost.hostfile import HostFile, HostFolder, outdated
from hubhost.operations.base import Commands, script


def write(file: HostFile) -> StringCommand:
    """Write a file in one step, readable by nobody else before its time.

    The content goes through standard input: it is in no argument, no log and no --diff.
    """
    path, new = shlex.quote(str(file.path)), shlex.quote(f"{file.path}.new")
    return script(
        f"(umask 022; mkdir -p {shlex.quote(str(file.path.parent))})",
        f"umask 077; base64 -d > {new}",
        f"chown 0:{file.group} {new}; chmod {file.mode:o} {new}; mv {new} {path}",
        stdin=base64.encodebytes(file.content.encode()).decode(),
    )


@operation()
def file_tree(files: tuple[HostFile, ...]) -> Commands:
    """Write the files that differ."""
    present = host.get_fact(facts.Files, paths=tuple(str(file.path) for file in files))
    yield from map(write, outdated(files, present))


@operation()
def folders(folders: tuple[HostFolder, ...]) -> Commands:
    """Make the folders that are missing, or are not as they should be."""
    present = host.get_fact(facts.Folders, paths=tuple(str(folder.path) for folder in folders))
    for folder in folders:
        if folder not in present:
            yield script(
                f"install -d -m {folder.mode:o} -o {folder.owner} -g {folder.group} {folder.path}"
            )


@operation()
def unit(unit: str) -> Commands:
    """Have a unit of systemd's enabled, active, and as it is written."""
    if host.get_fact(facts.Unit, unit=unit) != ["enabled", "active", "no"]:
        yield script("systemctl daemon-reload", f"systemctl enable {unit}")
        yield script(f"systemctl restart {unit}")


@operation()
def no_unit(unit: str, files: tuple[str, ...]) -> Commands:
    """Have no such unit, nor the files that it is made of."""
    if host.get_fact(facts.Files, paths=files):
        yield script(
            f"systemctl disable --quiet --now {unit} 2>/dev/null || true",
            f"rm -f {shlex.join(files)}",
            "systemctl daemon-reload",
        )
