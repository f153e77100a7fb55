"""Operations that take away: a hub, a user, a compose project."""

from __future__ import annotations

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from hubhost import facts
from hubhost.operations.base import Commands, script
from hubhost.paths import FORGET, MIGRATION
from hubhost.service import HUB_NAME
from hubhost.services import HUB_PURGE


@operation()
def forget(user: str) -> Commands:
    """Erase what there is of a user; the name goes through standard input: sudo logs commands."""
    if host.get_fact(facts.Kept, _stdin=user) != 0:
        yield script(
            f"docker exec -i {HUB_NAME} {HUB_PURGE}",
            f"{FORGET / 'forget'} erase",
            stdin=user,
        )


@operation()
def take_over(deadline: int) -> Commands:
    """Stop the compose project, keep what is worth it, and free its names and network."""
    if host.get_fact(facts.Migration).state != "done":
        yield script(f"DEADLINE={deadline} sh {MIGRATION / 'take-over'}")


@operation()
def bring_back() -> Commands:
    """Start the compose project again that was there before, and remove what took its place."""
    yield script(f"sh {MIGRATION / 'undo'}")


@operation()
def uninstall(removal: str, daemon_json: str) -> Commands:
    """Remove what this project made, by hubhost.uninstall's script, and what it is to write."""
    if [line for line in host.get_fact(facts.Ours, script=removal) if not line.startswith("stays")]:
        yield StringCommand(f"mode=remove\n{removal}", _stdin=daemon_json)
