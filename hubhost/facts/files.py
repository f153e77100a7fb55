"""Facts of files and folders, and of systemd's units."""

from __future__ import annotations

from pathlib import PurePosixPath
from shlex import quote

from pyinfra.api.facts import FactBase
from typing_extensions import override

from hubhost.facts.base import Lines, quoted
from hubhost.hostfile import FileState, HostFolder


class Files(FactBase[dict[str, FileState]]):
    """Content digest, mode and owner of each path that exists."""

    default = dict

    @override
    def command(self, paths: tuple[str, ...]) -> str:
        return f"""
for path in {quoted(paths)}; do
  [ -f "$path" ] && echo "$(stat -c '%a %u %g' "$path") $(sha256sum < "$path" | cut -c1-64) $path"
done
true
"""

    @override
    def process(self, output: list[str]) -> dict[str, FileState]:
        found = {}
        for line in output:
            mode, owner, group, digest, path = line.split(" ", 4)
            found[path] = FileState(digest, int(mode, 8), int(owner), int(group))
        return found


class Folders(FactBase[list[HostFolder]]):
    """Those of some folders that exist, with mode and owner."""

    default = list

    @override
    def command(self, paths: tuple[str, ...]) -> str:
        return f"stat -c '%F %a %u %g %n' {quoted(paths)} 2>/dev/null; true"

    @override
    def process(self, output: list[str]) -> list[HostFolder]:
        found = []
        for line in output:
            kind, mode, owner, group, path = line.split(" ", 4)
            if kind == "directory":
                found.append(HostFolder(PurePosixPath(path), int(mode, 8), int(owner), int(group)))
        return found


class Unit(Lines):
    """Whether a unit of systemd's is enabled and active, and is to be read again."""

    @override
    def command(self, unit: str) -> str:
        return (
            f"systemctl is-enabled {unit} 2>/dev/null; systemctl is-active {unit} 2>/dev/null;"
            f" systemctl show -P NeedDaemonReload {unit} 2>/dev/null; true"
        )


class Content(FactBase[str]):
    """The text of a file, empty where there is none."""

    default = str

    @override
    def command(self, path: str) -> str:
        return f"cat {quote(path)} 2>/dev/null; true"

    @override
    def process(self, output: list[str]) -> str:
        return "\n".join([*output, ""])
