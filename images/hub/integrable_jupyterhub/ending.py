"""Starting twice, ending at any moment: what integrators' clients do, and JupyterHub answers oddly.

JupyterHub: 202 to a second start, 500 to a DELETE while a session starts, 400 while it stops.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from jupyterhub.apihandlers.users import UserAPIHandler, UserServerAPIHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.user import User as JupyterHubUser
from jupyterhub.utils import maybe_future
from tornado.web import HTTPError

from integrable_jupyterhub import purge

LOOK_SECONDS = 0.05
# A stop is a call to Docker, which the spawner repeats for a minute; an archive takes half of one.
PATIENCE_SECONDS = 120.0

Keep = Callable[[Any, Any], Awaitable[None]]
"""Archives the home of a user's session, by its spawner; never fails."""

_deleting: set[int] = set()
"""Ids of users under deletion: they start nothing."""


async def quiet(spawner: Any, patience: float = PATIENCE_SECONDS) -> None:
    """Wait until nothing is under way; what is after `patience` never ends, and is forgotten."""
    deadline = time.monotonic() + patience
    while spawner.pending:
        if time.monotonic() >= deadline:
            spawner._spawn_pending = spawner._stop_pending = spawner._check_pending = False
            return
        await asyncio.sleep(LOOK_SECONDS)


_wait_up = JupyterHubUser._wait_up


async def wait_up(self: Any, spawner: Any) -> Any:
    """JupyterHub's wait for a session to answer, which `end` ends.

    Else, after a minute, it would end what has that name then: the next session.
    """
    spawner.looking = asyncio.ensure_future(_wait_up(self, spawner))
    try:
        return await spawner.looking
    except asyncio.CancelledError:
        if asyncio.current_task().cancelling():  # type: ignore[union-attr]
            raise
        raise TimeoutError("it was ended") from None


def install() -> None:
    """For all sessions: while they start, and when a hub looks for those of before."""
    JupyterHubUser._wait_up = wait_up


async def end(
    user: Any,
    server_name: str,
    proxy: Any,
    log: Any,
    patience: float = PATIENCE_SECONDS,
    keep: Keep | None = None,
) -> None:
    """End a user's server, whatever it is doing: starting, serving, stopping, being looked for.

    One that serves is given to `keep` when nobody outside reaches it any more.
    """
    if server_name not in user.spawners:
        return
    spawner = user.spawners[server_name]
    serves = spawner.ready
    if spawner._spawn_future:
        # The spawner removes what it has made so far.
        spawner._spawn_future.cancel()
    # A look for the session after a restart of the hub waits for nothing that a stop would hurt.
    await quiet(spawner, 0 if spawner.pending == "check" else patience)
    if user.spawners.get(server_name) is not spawner or not spawner.active:
        return
    spawner._stop_pending = True
    try:
        await proxy.delete_user(user, server_name)
    except Exception as error:  # noqa: BLE001  (the reaper has the routes checked)
        log.warning("no route was taken from the proxy: %s", error)
    if serves and keep:
        await keep(user, spawner)
    try:
        await user.stop(server_name)
    finally:  # not before that: who finds out that it is gone would stop it a second time
        if looking := getattr(spawner, "looking", None):
            looking.cancel()


class User(UserAPIHandler):  # type: ignore[misc]
    """/users/NAME"""

    @needs_scope("delete:users")  # type: ignore[untyped-decorator]
    async def delete(self, user_name: str) -> None:
        """204 at any moment, 404 the second time, also when the first is not over yet.

        With purge=1 nothing is kept, and what was kept is erased, also of a user deleted before:
        204 at any time.
        """
        asked = self.get_query_argument("purge", "0")
        if asked not in ("0", "1"):
            raise HTTPError(400, "purge is 1, or 0")
        archives = self.settings["archives"]
        try:
            await self._delete(user_name, None if asked == "1" else archives.keep)
        except HTTPError as error:
            if asked == "0" or error.status_code != 404:
                raise
        if asked == "1":
            await asyncio.to_thread(archives.store.forget, user_name)
            # It begins after this answer's own line is in the log.
            await asyncio.to_thread(purge.ask_host, user_name)
            self.set_status(204)

    async def _delete(self, user_name: str, keep: Keep | None) -> None:
        user = self.find_user(user_name)
        if user is None:
            raise HTTPError(404)
        number = user.id
        if number in _deleting:
            while number in _deleting:
                await asyncio.sleep(LOOK_SECONDS)
            raise HTTPError(404)
        _deleting.add(number)
        try:
            for server_name in list(user.spawners):
                await end(user, server_name, self.proxy, self.log, keep=keep)
            await super().delete(user_name)
        finally:
            _deleting.discard(number)


class Server(UserServerAPIHandler):  # type: ignore[misc]
    """/users/NAME/server"""

    @needs_scope("start:servers")  # type: ignore[untyped-decorator]
    async def post(self, user_name: str, server_name: str = "") -> None:
        """201 when it serves: to who asks while it starts, too."""
        user = self.find_user(user_name)
        if user is None or user.id in _deleting:
            raise HTTPError(404)
        try:
            if server_name in user.spawners:
                spawner = user.spawners[server_name]
                starting = spawner.pending == "spawn" and spawner._spawn_future
                if starting:
                    await asyncio.shield(maybe_future(starting))  # raises what it failed of
                await quiet(spawner)
                if starting and spawner.ready:
                    self.set_status(201)
                    return
            await super().post(user_name, server_name)
        except asyncio.CancelledError:
            # Not to be passed on: tornado would never answer.
            raise HTTPError(409, "the session was ended while it started") from None

    @needs_scope("delete:servers")  # type: ignore[untyped-decorator]
    async def delete(self, user_name: str, server_name: str = "") -> None:
        """204 at any moment."""
        user = self.find_user(user_name)
        if user is None:
            raise HTTPError(404)
        keep = self.settings["archives"].keep
        await end(user, server_name, self.proxy, self.log, keep=keep)
        await super().delete(user_name, server_name)
