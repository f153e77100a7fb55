"""Homes of ended sessions, kept for a while: fetched from the session's own server, stored, erased.

A session that serves sends its home by our extension in it (images/notebook/session_archive.py).
Each archive is a folder, complete or not there: NAME/about.json beside NAME/home.tar.gz.
"""

import asyncio
import json
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from jupyterhub import orm
from sqlalchemy.exc import SQLAlchemyError

from integrable_jupyterhub import config
from integrable_jupyterhub.tarball import MAX_ENTRIES, Kept, Source, rewrite

FOLDER = Path("/var/lib/jupyterhub/archive")
ABOUT, HOME = "about.json", "home.tar.gz"
MIB = 1024 * 1024

SECONDS = 30.0
"""A session gets so long to send its home, or to take one; then it ends without."""

HEADERS_OF_AN_ENTRY = 4096
_ID = re.compile(r"[0-9a-f]{32}-[0-9]{10}-[0-9a-f]{8}")

T = TypeVar("T")


def _of_user(user: str) -> str:
    """How the ids of a user's archives begin: whatever a name holds, this is a file's name."""
    return sha256(user.encode()).hexdigest()[:32]


class Store:
    """The archives in `folder`; all of it blocks, and belongs into a thread."""

    def __init__(self, folder: Path, limits: config.Archive) -> None:
        self._folder, self._limits = folder, limits
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Remove what a killed hub has left half written, or half removed."""
        for left in self._folder.glob(".*"):
            shutil.rmtree(left, ignore_errors=True)

    def ids(self, user: str | None = None) -> list[str]:
        """The oldest first; of one user, or of all."""
        start = _of_user(user) if user is not None else ""
        found = (path.name for path in self._folder.glob(f"{start}*") if _ID.fullmatch(path.name))
        return sorted(found, key=lambda name: name.split("-")[1:])

    def about(self, number: str) -> dict[str, Any] | None:
        """What there is to tell of an archive; None: there is no such."""
        if not _ID.fullmatch(number):
            return None
        try:
            found: dict[str, Any] = json.loads((self._folder / number / ABOUT).read_bytes())
        except OSError:
            return None
        return found

    def list(self, user: str | None = None) -> list[dict[str, Any]]:
        return [about for about in map(self.about, self.ids(user)) if about]

    def path(self, number: str) -> Path:
        """The file of an archive that there is."""
        return self._folder / number / HOME

    def delete(self, number: str) -> bool:
        """Whether there was one."""
        if not _ID.fullmatch(number):
            return False
        gone = self._folder / f".{number}"
        try:
            (self._folder / number).rename(gone)
        except OSError:
            return False
        shutil.rmtree(gone, ignore_errors=True)
        return True

    def forget(self, user: str) -> int:
        """Delete all of a user; how many."""
        return sum(map(self.delete, self.ids(user)))

    def expire(self, now: float) -> int:
        """Delete those that are too old, and the oldest where all are too big together."""
        oldest = now - self._limits.keep_days * 24 * 3600
        return sum(
            self.delete(number) for number in self.ids() if int(number.split("-")[1]) < oldest
        ) + self._make_room(0)

    def _make_room(self, size: int) -> int:
        """Have room for `size` bytes; how many archives had to go for it."""
        sizes = {}
        for number in self.ids():
            with suppress(OSError):
                sizes[number] = self.path(number).stat().st_size
        too_much = sum(sizes.values()) + size - self._limits.total_mb * MIB
        gone = 0
        for number, its in sizes.items():
            if too_much <= 0:
                break
            too_much -= its if self.delete(number) else 0
            gone += 1
        return gone

    def keep(self, user: str, write: Callable[[Path], Kept], now: float) -> dict[str, Any]:
        """A new archive, of what `write` writes to the file that it is given.

        Raises:
            OSError: it cannot be stored.
            LookupError: there was nothing to store; the text says why.
        """
        number = f"{_of_user(user)}-{int(now):010d}-{secrets.token_hex(4)}"
        new = self._folder / f".{number}"
        new.mkdir(mode=0o700)
        try:
            kept = write(new / HOME)
            if kept.cut and not kept.files:
                raise LookupError(kept.cut)
            size = (new / HOME).stat().st_size
            about = {
                "id": number,
                "user": user,
                "created": datetime.fromtimestamp(int(now), UTC).isoformat(),
                "size": size,
                "files": kept.files,
                "left_out": kept.left_out,
                "cut": kept.cut or None,
            }
            (new / ABOUT).write_text(json.dumps(about))
            with self._lock:
                self._make_room(size)
                new.rename(self._folder / number)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        return about


class Call:
    """One request to a session's server; `cut` ends it from another thread at any moment."""

    def __init__(self, home: str, token: str) -> None:
        self._home, self._token = urlsplit(home), token
        self._socket: socket.socket | None = None
        self._over = False
        self.deadline = time.monotonic() + SECONDS

    def cut(self) -> None:
        self._over = True
        if self._socket:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def answer(self, method: str, body: Path | None = None) -> Iterator[HTTPResponse]:
        """Its answer; raises OSError or HTTPException."""
        headers = {"Authorization": f"token {self._token}", "Accept-Encoding": "identity"}
        connection = HTTPConnection(self._home.netloc, timeout=SECONDS)
        try:
            connection.connect()
            self._socket = connection.sock
            if self._over:
                raise TimeoutError
            if body is None:
                connection.request(method, self._home.path, headers=headers)
            else:
                headers["Content-Length"] = str(body.stat().st_size)
                with body.open("rb") as file:
                    connection.request(method, self._home.path, file, headers)
            with connection.getresponse() as response:
                yield response
        finally:
            connection.close()


class Archives:
    """What the hub does with archives, without being held up by any session, nor for long."""

    def __init__(self, limits: config.Archive, log: Any, folder: Path = FOLDER) -> None:
        self.store = Store(folder, limits)
        self._limits, self._log, self._folder = limits, log, folder
        # A session that does not answer holds one: far more than sessions that end at once.
        self._threads = ThreadPoolExecutor(256, thread_name_prefix="archive")
        self.store.clear()

    @property
    def on(self) -> bool:
        return self._limits.on

    async def expire(self) -> None:
        if gone := await asyncio.to_thread(self.store.expire, time.time()):
            self._log.warning("archive: %d were too old or too many", gone)

    async def keep(self, user: Any, spawner: Any) -> None:
        """Archive the home of a session that serves and is about to end; never fails."""
        if not self.on:
            return
        try:
            with self._call(user, spawner) as call:
                about = await self._in_time(call, self._fetch, user.name, call)
            self._log.info("archive: kept %s of %s", about["id"], user.name)
        except Exception as error:  # noqa: BLE001  (whatever it is, the session has to end)
            if isinstance(error, SQLAlchemyError):
                user.db.rollback()
            strange = not isinstance(error, (OSError, HTTPException, LookupError))
            self._log.warning(
                "archive: nothing of %s: %s", user.name, _said(error), exc_info=strange
            )

    async def restore(self, number: str, user: Any, spawner: Any) -> None:
        """Unpack an archive in the home of a session that serves.

        Raises:
            LookupError: the session did not take it; the text says why.
        """
        try:
            with self._call(user, spawner) as call:
                await self._in_time(call, self._give, self.store.path(number), call)
        except (OSError, HTTPException, TimeoutError) as error:
            raise LookupError(_said(error)) from None

    @contextmanager
    def _call(self, user: Any, spawner: Any) -> Iterator[Call]:
        """With a token that opens this one session, and nothing afterwards."""
        db, scope = user.db, f"access:servers!user={user.name}"
        token = user.new_api_token(note="archive", expires_in=int(2 * SECONDS), scopes=[scope])
        try:
            yield Call(f"{spawner.server.url}api/session-archive", token)
        finally:
            if found := orm.APIToken.find(db, token):  # else the user is gone
                db.delete(found)
                db.commit()

    async def _in_time(self, call: Call, work: Callable[..., T], *arguments: Any) -> T:
        """`work`, in a thread, which nobody waits for after `SECONDS`, and a second to tidy up."""
        loop = asyncio.get_running_loop()
        working = loop.run_in_executor(self._threads, work, *arguments)
        timer = loop.call_later(SECONDS, call.cut)
        try:
            async with asyncio.timeout(SECONDS + 1):
                return await asyncio.shield(working)
        finally:
            timer.cancel()

    def _fetch(self, user: str, call: Call) -> dict[str, Any]:
        room = self._limits.max_mb * MIB

        def write(path: Path) -> Kept:
            with call.answer("GET") as answer, path.open("xb") as file:
                if answer.status != 200:
                    raise LookupError(f"the session answered {answer.status}")
                limit = room + MAX_ENTRIES * HEADERS_OF_AN_ENTRY
                return rewrite(Source(answer.read, limit, call.deadline), file, room, path.parent)

        return self.store.keep(user, write, time.time())

    def _give(self, path: Path, call: Call) -> None:
        with call.answer("PUT", path) as answer:
            if answer.status != 204:
                raise LookupError(f"the session answered {answer.status}")


def _said(error: Exception) -> str:
    """In a line; what a session has sent is not in it."""
    if isinstance(error, LookupError):
        return str(error)
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
