"""Uninstall: what a host is asked, and told, when this project leaves it."""

from __future__ import annotations

from hubhost.backup import OWN_FOLDER, hub_name
from hubhost.engine import HELD_PACKAGES
from hubhost.errors import Problem, Problems
from hubhost.images import BUILD_SLICE, NAME_LABEL, PREFIX
from hubhost.paths import BACKUPS, BEFORE, DAEMON_JSON, ETC, LOGS, STATE, UNITS
from hubhost.service import ROLE_LABEL
from hubhost.services import DATABASE_VOLUME, FILTER_VOLUME, FORMER_VOLUME
from hubhost.settings import Settings
from hubhost.templates import render


def script(settings: Settings, *, keep_backups: bool, daemon: str) -> str:
    """files/uninstall/uninstall.sh, whose head says how it is used; `daemon` by of_daemon."""
    folder = settings.backup_folder
    text = render(
        "uninstall/uninstall.sh",
        etc=ETC,
        state=STATE,
        before=BEFORE,
        backups=BACKUPS,
        backups_elsewhere=f"{folder}/{hub_name(settings)}_*.age" if folder != OWN_FOLDER else "",
        logs=LOGS,
        units=UNITS,
        build_slice=BUILD_SLICE,
        daemon_json=DAEMON_JSON,
        role_label=ROLE_LABEL,
        name_label=NAME_LABEL,
        prefix=PREFIX,
        volumes=(DATABASE_VOLUME, FORMER_VOLUME, FILTER_VOLUME),
        engine=HELD_PACKAGES,
    )
    return f"backups={'keep' if keep_backups else 'remove'} daemon={daemon}\n{text}"


def keeps(text: str) -> bool:
    """The parameter KEEP_BACKUPS: backups are kept unless it says no.

    Raises:
        Problems: it says something else.
    """
    if text not in ("", "yes", "no"):
        message = f"{text!r} is neither yes nor no"
        remedy = "make uninstall KEEP_BACKUPS=no, or leave it out"
        raise Problems([Problem("KEEP_BACKUPS", message, remedy)])
    return text != "no"


def of_daemon(current: str, before: str | None, wanted: str) -> str:
    """What the script has to do with daemon.json, in its words."""
    if current == wanted:
        return "same"
    if wanted == before and before:
        return "restore"
    return "replace" if wanted else "remove"
