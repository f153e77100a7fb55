"""When the clock jumps, what was noted by it jumps along: nothing gets older by that.

Idle for so long, so old, good for an hour: JupyterHub and its culler reckon from moments noted in
the database. A machine that was suspended wakes hours later, a wrong clock is set right: then all
sessions would be culled at once, and all tokens be dead.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from jupyterhub import orm
from jupyterhub.handlers import BaseHandler
from sqlalchemy.exc import SQLAlchemyError

LEAST_SECONDS = 30.0
"""Less is no jump: clocks are set right all the time, a little."""

NOTED = {
    orm.User: ("created", "last_activity"),
    orm.Spawner: ("started", "last_activity"),
    orm.APIToken: ("expires_at",),
}


class Clock:
    """The host's clock, compared with one that nobody sets, and that a suspended machine stops."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall, self._steady = wall, steady
        self._ahead = wall() - steady()

    def settle(self, db: Any, log: Any) -> None:
        """Move what is noted by as much as the clock jumped, forward or back, since the last look.

        While the database is away that has to wait; it is not forgotten.
        """
        ahead = self._wall() - self._steady()
        jump = ahead - self._ahead
        if abs(jump) >= LEAST_SECONDS:
            try:
                _move(db, timedelta(seconds=jump))
            except SQLAlchemyError:
                db.rollback()
                return
            log.warning("the clock jumped by %+.0f s: sessions and tokens are no older by it", jump)
        self._ahead = ahead


def _move(db: Any, by: timedelta) -> None:
    """By object: JupyterHub holds them in memory, too."""
    for kind, columns in NOTED.items():
        for row in db.query(kind):
            for column in columns:
                if (noted := getattr(row, column)) is not None:
                    setattr(row, column, noted + by)
    db.commit()


CLOCK = Clock()
"""Of this process."""


def install() -> None:
    """Before each request, so that the culler, too, sees nothing older than it is."""
    plain = BaseHandler.prepare

    async def prepare(self: Any) -> None:
        CLOCK.settle(self.db, self.log)
        await plain(self)

    BaseHandler.prepare = prepare
