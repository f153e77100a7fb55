"""Drained, for maintenance: no session starts, and at the deadline those that run are ended.

The host says so in a file (`make drain`), which is read anew each time: a restart changes nothing.
"""

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tornado.httpclient import AsyncHTTPClient

FILE = Path("/var/lib/jupyterhub/drain/state.json")
LOOK_SECONDS = 2.0
# When a client may come again, where nobody said how long it takes.
RETRY_SECONDS = 120
# To end a session: it is waited for, and its archive takes time.
END_SECONDS = 180


@dataclass(frozen=True)
class Drain:
    """Since nobody starts; `deadline` in seconds since 1970, None: what runs is left alone."""

    deadline: float | None

    def retry_after(self, now: float) -> int:
        """Seconds after which a client that is sent away may ask again."""
        left = round((self.deadline or 0) - now)
        return left if left > 0 else RETRY_SECONDS

    def over(self, now: float) -> bool:
        return self.deadline is not None and now >= self.deadline


def read(file: Path | None = None) -> Drain | None:
    """What the host says now; None: all is as usual. What nobody understands ends no session."""
    try:
        text = (file or FILE).read_bytes()
    except OSError:
        return None
    try:
        deadline = json.loads(text)["deadline"]
        return Drain(None if deadline is None else float(deadline))
    except (ValueError, KeyError, TypeError):
        return Drain(None)


class Deadline:
    """Ends sessions as the culler does, with `app`'s eyes: JupyterHub's."""

    def __init__(self, app: Any, url: str, token: str) -> None:
        self._app, self._url, self._token = app, url, token
        self._http = AsyncHTTPClient()

    async def run(self) -> None:
        """For as long as the hub lives."""
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001  (the database is away: next time)
                self._app.log.warning("drain: will look again: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """At the deadline, end what runs; again and again, for one may have been starting."""
        drain = read()
        if drain is None or not drain.over(time.time()):
            return
        users = list(self._app.users.values())
        names = [u.name for u in users if any(s.active for s in list(u.spawners.values()))]
        if not names:
            return
        self._app.log.warning("drain: the deadline is over, ending %d sessions", len(names))
        await asyncio.gather(*map(self._end, names))

    async def _end(self, name: str) -> None:
        """A DELETE with the culler's token: with an archive, where archives are kept."""
        answer = await self._http.fetch(
            f"{self._url}/users/{quote(name, safe='')}",
            method="DELETE",
            headers={"Authorization": f"token {self._token}"},
            # Ten at a time; what waits its turn counts as well.
            connect_timeout=10 * END_SECONDS,
            request_timeout=10 * END_SECONDS,
            raise_error=False,
        )
        if answer.code not in (204, 404):
            self._app.log.warning("drain: ending a session was answered with %d", answer.code)
