"""/archives: what integrators do with archives, by their service token; to others it is 403."""

import json
from asyncio import to_thread
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.scopes import needs_scope
from tornado.web import HTTPError

from integrable_jupyterhub.archive import Archives

CHUNK = 256 * 1024


class _Handler(APIHandler):  # type: ignore[misc]
    @property
    def archives(self) -> Archives:
        found: Archives = self.settings["archives"]
        return found

    async def about(self, number: str) -> dict[str, Any]:
        found = await to_thread(self.archives.store.about, number)
        if found is None:
            raise HTTPError(404, "no such archive")
        return found


class List(_Handler):
    """/archives"""

    # Of all users: no session's token has that, whatever its scopes.
    @needs_scope("admin:users")  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        user = self.get_query_argument("user", None, strip=False)
        self.write(json.dumps(await to_thread(self.archives.store.list, user)))


class One(_Handler):
    """/archives/ID"""

    @needs_scope("admin:users")  # type: ignore[untyped-decorator]
    async def get(self, number: str) -> None:
        """The tar.gz."""
        about = await self.about(number)
        try:
            file = await to_thread(self.archives.store.path(number).open, "rb")
        except OSError:
            raise HTTPError(404, "no such archive") from None
        with file:
            self.set_header("Content-Type", "application/gzip")
            self.set_header("Content-Length", str(about["size"]))
            self.set_header("Content-Disposition", f'attachment; filename="{number}.tar.gz"')
            while chunk := await to_thread(file.read, CHUNK):
                self.write(chunk)
                await self.flush()

    @needs_scope("admin:users")  # type: ignore[untyped-decorator]
    async def delete(self, number: str) -> None:
        if not await to_thread(self.archives.store.delete, number):
            raise HTTPError(404, "no such archive")
        self.set_status(204)


class Restore(_Handler):
    """/archives/ID/restore"""

    @needs_scope("admin:users")  # type: ignore[untyped-decorator]
    async def post(self, number: str) -> None:
        """204 when the session of the user in the body has all of it."""
        await self.about(number)
        body = self.get_json_body()
        name = body.get("user") if isinstance(body, dict) else None
        if not isinstance(name, str):
            raise HTTPError(400, 'the body has to be {"user": NAME}')
        user = self.find_user(name)
        if user is None:
            raise HTTPError(404, "no such user")
        spawner = user.spawners.get("")
        if spawner is None or not spawner.ready:
            raise HTTPError(424, "the user has no session that serves")
        try:
            await self.archives.restore(number, user, spawner)
        except LookupError as error:
            raise HTTPError(502, f"the session did not take it: {error}") from None
        self.set_status(204)


HANDLERS: list[tuple[str, type]] = [
    (r"/api/archives", List),
    (r"/api/archives/([^/]+)", One),
    (r"/api/archives/([^/]+)/restore", Restore),
]
