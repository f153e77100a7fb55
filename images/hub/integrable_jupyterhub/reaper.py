"""Every minute, Docker, the proxy and the database are made to agree on which sessions there are.

What is left behind by a crash, a killed hub or a Docker that was away, is taken away here.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from docker import APIClient
from docker.errors import NotFound
from docker.utils import kwargs_from_env
from jupyterhub import orm

from integrable_jupyterhub.clock import CLOCK
from integrable_jupyterhub.ending import end

EVERY_SECONDS = 60.0
# A session that crashed is noticed in this time: until then its address, which may soon be another
# session's, is in the proxy's table. It costs one list of Docker's.
LOOK_SECONDS = 5.0
# How long a container may be without an owner: far longer than any moment between two notes.
ORPHAN_SECONDS = 30.0


@dataclass(frozen=True)
class Container:
    """A session's, as Docker lists it."""

    id: str
    name: str
    running: bool

    @classmethod
    def of(cls, listed: Mapping[str, Any]) -> "Container":
        return cls(listed["Id"], listed["Names"][0].lstrip("/"), listed["State"] == "running")


def orphans(containers: Iterable[Container], owned: Collection[str]) -> list[Container]:
    """Containers that no active session owns: `owned` holds the names of those of all that are.

    `owned` has to be looked up after `containers` were listed: then what is missing in it was
    given up, and is not about to begin.
    """
    return [container for container in containers if container.name not in owned]


def dead(ready: Iterable[str], containers: Iterable[Container]) -> set[str]:
    """Names of sessions that served before `containers` were listed, and have none that runs."""
    return set(ready) - {container.name for container in containers if container.running}


class Since:
    """Notes since when each was seen to be at something."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[str, float]] = {}

    def longer_than(self, limit: float, seen: Mapping[str, str], now: float) -> list[str]:
        """Who is at the same for too long; `seen` holds what each one is at now."""
        self._since = {
            name: self._since[name] if self._since.get(name, ("",))[0] == what else (what, now)
            for name, what in seen.items()
        }
        return [name for name, (_, since) in self._since.items() if now - since > limit]


def forget(db: Any, clients: Collection[str], paths: Collection[str]) -> int:
    """Delete rows of sessions that are no more; return how many.

    `clients` has the oauth client's id of each active session, `paths` their base URLs. Between
    looking them up and this nothing may be awaited: a session could begin.
    """
    servers = {f"Server at {path}" for path in paths}
    rows = [
        *(
            token
            for token in db.query(orm.APIToken).filter(orm.APIToken.note.startswith("Server at "))
            if token.note not in servers
        ),
        *(
            client
            for client in db.query(orm.OAuthClient).filter(
                orm.OAuthClient.identifier.startswith("jupyterhub-user-")
            )
            if client.identifier not in clients
        ),
        *(
            server
            for server in db.query(orm.Server)
            if not db.query(orm.Spawner).filter_by(server_id=server.id).count()
            and not db.query(orm.Service).filter_by(_server_id=server.id).count()
        ),
    ]
    for row in rows:
        db.delete(row)
    if rows:
        db.commit()
    for kind in (orm.APIToken, orm.OAuthCode):
        kind.purge_expired(db)
    return len(rows)


class Reaper:
    """Looks with `app`'s eyes: JupyterHub's."""

    def __init__(self, app: Any) -> None:
        self._app, self._log = app, app.log
        self._docker = APIClient(**app.config.DockerSpawner.client_kwargs, **kwargs_from_env())
        self._looking: dict[Any, asyncio.Task[None]] = {}
        self._stuck, self._orphans = Since(), Since()

    async def run(self) -> None:
        """For as long as the hub lives, at its start first."""
        due = time.monotonic()
        while True:
            try:
                CLOCK.settle(self._app.db, self._log)
                await self.look()
                if time.monotonic() >= due:
                    await self.reconcile()
                    due = time.monotonic() + EVERY_SECONDS
            except Exception as error:  # noqa: BLE001  (Docker or the database is away: next time)
                self._log.warning("the reaper will look again: %s", error)
                self._app.db.rollback()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """List the containers: end the sessions whose is gone, remove those of nobody."""
        served = {s.container_name: s for _, s in self._spawners() if s.ready}
        listed = await asyncio.to_thread(self._docker.containers, all=True)
        containers = [Container.of(container) for container in listed]
        for name in dead(served, containers):
            self.look_soon(served[name])
        owned = {s.container_name for _, s in self._spawners() if s.active}
        left = {container.id: container.name for container in orphans(containers, owned)}
        for number in self._orphans.longer_than(ORPHAN_SECONDS, left, time.monotonic()):
            self._log.warning("reaper: nobody owns the container %s", left[number])
            await asyncio.to_thread(self._remove, number)

    async def reconcile(self) -> None:
        """Take away what else is left of sessions that are no more."""
        app, log = self._app, self._log
        await self._unstick()
        if count := self._forget():
            log.warning("reaper: %d rows were of sessions that are no more", count)
        await app.archives.expire()
        await app.proxy.check_routes(app.users, app._service_map)

    def look_soon(self, spawner: Any) -> None:
        """End a session whose container has ended; many asking is one look."""
        if spawner not in self._looking and spawner.ready:
            task = asyncio.ensure_future(self._end_if_dead(spawner))
            self._looking[spawner] = task
            task.add_done_callback(lambda _: self._looking.pop(spawner, None))

    async def _end_if_dead(self, spawner: Any) -> None:
        """(JupyterHub's own look tells of an end once: were the proxy away then, never again.)"""
        if await spawner.poll() is not None:
            self._log.warning("reaper: the container %s has ended", spawner.container_name)
            await end(spawner.user, spawner.name, self._app.proxy, self._log)

    def _spawners(self) -> Iterable[tuple[Any, Any]]:
        return [(u, s) for u in list(self._app.users.values()) for s in list(u.spawners.values())]

    def _remove(self, container: str) -> None:
        """By its id: the next one of that name may be starting."""
        with suppress(NotFound):
            self._docker.remove_container(container, v=True, force=True)

    async def _unstick(self) -> None:
        pending = {s._log_name: (u, s) for u, s in self._spawners() if s.pending}
        # JupyterHub ends a start after its start_timeout and then its http_timeout.
        limit = max((2.0 * s.start_timeout for _, s in pending.values()), default=0.0)
        told = {name: spawner.pending for name, (_, spawner) in pending.items()}
        for name in self._stuck.longer_than(limit, told, time.monotonic()):
            user, spawner = pending[name]
            self._log.warning("reaper: %s is pending %s for too long", name, spawner.pending)
            await end(user, spawner.name, self._app.proxy, self._log, patience=0)

    def _forget(self) -> int:
        active = [(u, s) for u, s in self._spawners() if s.active]
        clients = {s.oauth_client_id for _, s in active}
        return forget(self._app.db, clients, {u.base_url for u, _ in active})
