"""Facts of what was there before, and of what is to go: a hub, a user, a compose project."""

from __future__ import annotations

from shlex import quote

from pyinfra.api.facts import FactBase
from typing_extensions import override

from hubhost.facts.base import Lines
from hubhost.facts.services import SESSIONS
from hubhost.migrate import Look
from hubhost.paths import ARCHIVE, BEFORE, ETC, FORGET, MIGRATION
from hubhost.service import DATABASE_NAME, HUB_NAME, PROXY_NAME, ROLE_LABEL
from hubhost.services import HUB_PURGE
from hubhost.templates import render


class Kept(FactBase[int | None]):
    """How much of a user there is on the host: rows, archives, and lines of logs.

    None: the hub does not answer. The name is read from standard input: sudo logs commands.
    """

    default = int

    @override
    def command(self) -> str:
        script = FORGET / "forget"
        return (
            f"[ -x {script} ] || {{ cat >/dev/null; echo 0; exit 0; }}\n"  # a bare host
            f"docker exec -i -e DRY=1 {HUB_NAME} {HUB_PURGE} 2>/dev/null"
            f" | {script} look 2>/dev/null || echo unknown"
        )

    @override
    def process(self, output: list[str]) -> int | None:
        return None if "unknown" in output else sum(map(int, output))


class Noted(FactBase[bool]):
    """Whether it is noted what was on the host before the first deployment."""

    default = bool

    @override
    def command(self) -> str:
        return f"[ -e {BEFORE}/packages ] && echo yes; true"

    @override
    def process(self, output: list[str]) -> bool:
        return "yes" in output


class DaemonBefore(FactBase[str | None]):
    """daemon.json as it was before the first deployment; empty: there was none; None: unknown."""

    @override
    def command(self) -> str:
        return f"""
[ -e {BEFORE}/packages ] && [ ! -e {BEFORE}/late ] || exit 0
echo known; cat {BEFORE}/daemon.json 2>/dev/null
true
"""

    @override
    def process(self, output: list[str]) -> str | None:
        return "\n".join([*output[1:], ""]) if output[1:] else "" if output else None


class Ours(Lines):
    """What an uninstall would remove, a line each, and what it would leave ("stays: …").

    `script` is files/uninstall/uninstall.sh, rendered.
    """

    @override
    def command(self, script: str) -> str:
        return f"mode=list\n{script}"


class Lost(FactBase[str]):
    """What would be lost with the hub, for a person."""

    default = str

    @override
    def command(self) -> str:
        users = 'psql -U "$POSTGRES_USER" -d "$POSTGRES_DB" -Atc "select count(*) from users"'
        return f"""
[ -d {ETC} ] || exit 0
sessions=$({SESSIONS} 2>/dev/null | wc -l)
users=$(docker exec {DATABASE_NAME} sh -c {quote(users)} 2>/dev/null) || users=unknown
archives=$(ls -d {ARCHIVE}/*/about.json 2>/dev/null | wc -l)
echo "$sessions running sessions, $users users, $archives archives"
"""

    @override
    def process(self, output: list[str]) -> str:
        return output[0] if output else ""


class Migration(FactBase[Look]):
    """A compose project of the reference configuration's, and how far it is moved over."""

    @override
    @staticmethod
    def default() -> Look:
        return Look.parse(())

    @override
    def command(self) -> str:
        return render(
            "migrate/look",
            migration=MIGRATION,
            hub=HUB_NAME,
            proxy=PROXY_NAME,
            role_label=ROLE_LABEL,
        )

    @override
    def process(self, output: list[str]) -> Look:
        return Look.parse(output)
