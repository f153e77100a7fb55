"""Facts of backups, and of a host that is to take one up."""

from __future__ import annotations

from shlex import quote

from pyinfra.api.facts import FactBase
from typing_extensions import override

from hubhost.backup import Target
from hubhost.facts.services import SESSIONS
from hubhost.paths import BACKUP_SCRIPT


class NewestBackup(FactBase[list[str]]):
    """When it was made (seconds since 1970), bytes, the host's signer, path. Empty: none yet."""

    default = list

    @override
    def command(self) -> str:
        return f"[ -x {BACKUP_SCRIPT} ] && {BACKUP_SCRIPT} newest; true"

    @override
    def process(self, output: list[str]) -> list[str]:
        return output[0].split(" ", 3) if output else []


class BackupFolder(FactBase[bool]):
    """Whether a folder is there, on a disk that can be written."""

    default = bool

    @override
    def command(self, path: str) -> str:
        return f"[ -d {quote(path)} ] && [ -w {quote(path)} ] && echo yes; true"

    @override
    def process(self, output: list[str]) -> bool:
        return "yes" in output


class RestoreTarget(FactBase[Target]):
    """What a restore has to know of the host beforehand."""

    default = Target

    @override
    def command(self) -> str:
        return f"""
for key in /etc/ssh/ssh_host_*_key.pub; do
  ssh-keygen -lf "$key" 2>/dev/null | awk '{{ print "signer", $2 }}'
done
echo "sessions $({SESSIONS} 2>/dev/null | wc -l)"
df -Pm /var/lib | awk 'NR == 2 {{ print "free_mb", $4 }}'
true
"""

    @override
    def process(self, output: list[str]) -> Target:
        return Target.parse(output)
