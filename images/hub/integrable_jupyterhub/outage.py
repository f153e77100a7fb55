"""While the database is away, or was restarted: asked again, where JupyterHub gives up.

It takes whoever asks then for nobody, which is a false 403; and leaves a session whose stop failed
half-way pending for ever.
"""

import asyncio
import time
from typing import Any

from jupyterhub.handlers import BaseHandler
from jupyterhub.user import User
from sqlalchemy.exc import SQLAlchemyError
from tornado.web import HTTPError

AGAIN_SECONDS = 1.0
# A stop goes on for as long as that; then the reaper tries.
PATIENCE_SECONDS = 90.0
# When a client that got 503 may come again.
RETRY_SECONDS = 2


def install() -> None:
    """For all of JupyterHub's handlers and users."""
    BaseHandler.prepare = _prepare(BaseHandler.prepare)
    User.stop = _stop(User.stop)


def _prepare(plain: Any) -> Any:
    async def prepare(self: Any) -> None:
        """Look up who asks; a connection that broke is replaced at the second try."""
        for last in (False, True):
            try:
                await self.get_current_user()
            except SQLAlchemyError:
                self.db.rollback()
                if last:
                    away = HTTPError(503, "the database does not answer")
                    away.headers = {"Retry-After": str(RETRY_SECONDS)}  # type: ignore[attr-defined]
                    raise away from None
                del self._jupyterhub_user
            except Exception:  # noqa: BLE001  (JupyterHub's own look says what it is)
                del self._jupyterhub_user
                break
            else:
                break
        await plain(self)

    return prepare


def _stop(plain: Any) -> Any:
    async def stop(self: Any, server_name: str = "") -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                await plain(self, server_name)
            except SQLAlchemyError as error:
                self.db.rollback()
                if server_name not in self.spawners:
                    return
                self.spawners[server_name]._stop_pending = False
                if time.monotonic() >= deadline:
                    raise
                self.log.warning("stopping %s again, for the database failed: %s", self.name, error)
            else:
                return
            await asyncio.sleep(AGAIN_SECONDS)

    return stop
