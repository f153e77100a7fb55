"""Sends a session's home to the hub, and takes one from it: GET and PUT /api/session-archive.

An extension of the server, loaded where the hub keeps archives (jupyter_server_config.py). Who may
use the session may use this; it shows nothing else than its files.
"""

import asyncio
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado.web import HTTPError, authenticated, stream_request_body

HOME = Path.home()
ROOM = int(os.environ.get("SESSION_ARCHIVE_MB", "0")) * 1024 * 1024
CHUNK = 256 * 1024
LEFT_OUT = (".cache", ".local/share/jupyter/runtime")
"""What tools can make anew by definition; what belongs to this running server and its kernels."""


def entries(home: Path, room: int) -> Iterator[Path]:
    """What goes into the archive: files of at most `room` bytes, empty folders, links.

    The hub takes what fits: what people see goes before what tools hide, small before big.
    """
    found = []
    for folder, folders, files in os.walk(home):
        here = Path(folder)
        folders[:] = [f for f in folders if str((here / f).relative_to(home)) not in LEFT_OUT]
        links = [f for f in folders if (here / f).is_symlink()]
        empty = [] if folders or files or here == home else [here]
        for path in (*(here / name for name in (*files, *links)), *empty):
            with suppress(FileNotFoundError):
                hidden = any(part.startswith(".") for part in path.relative_to(home).parts)
                found.append((hidden, path.lstat().st_size, path))
    return (path for _, size, path in sorted(found) if size <= room)


class Filled:
    """A file that may get shorter while it is read: zeros stand for what its entry was to have."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        return self._file.read(size).ljust(size, b"\0")


def pack(home: Path, room: int, wire: int) -> None:
    """Write the tar to the descriptor `wire`, which ends with it."""
    with (
        os.fdopen(wire, "wb") as file,
        tarfile.open(fileobj=file, mode="w|", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in entries(home, room):
            name = str(path.relative_to(home))
            try:
                entry = tar.gettarinfo(path, name)
                if entry is None:  # a socket
                    continue
                entry.uid = entry.gid = 0
                entry.uname = entry.gname = entry.linkname = ""
                entry.mtime = max(0, int(entry.mtime))
                if not stat.S_ISREG(path.lstat().st_mode):
                    tar.addfile(entry)
                    continue
                with path.open("rb") as content:
                    entry.type, entry.size = tarfile.REGTYPE, os.fstat(content.fileno()).st_size
                    tar.addfile(entry, Filled(content))
            except (FileNotFoundError, PermissionError):
                continue


def unpack(home: Path, wire: int) -> None:
    """Read a tar.gz from the descriptor `wire`. Raises OSError or tarfile.TarError."""
    with (
        os.fdopen(wire, "rb") as file,
        tarfile.open(fileobj=file, mode="r|gz") as tar,
    ):
        tar.extractall(home, filter="data")


@stream_request_body
class Archive(APIHandler):  # type: ignore[misc]
    """As the files come, in either direction: neither is ever whole in memory."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        if self.request.method == "PUT":
            # Tornado closes when it refuses before all has come, and does not say so.
            self.set_header("Connection", "close")

    async def prepare(self) -> None:
        await super().prepare()
        self._wire: int | None = None
        if self.request.method == "PUT":
            self._begin()

    @authenticated
    def _begin(self) -> None:
        wire, self._wire = os.pipe()
        self._unpacking = asyncio.ensure_future(asyncio.to_thread(unpack, HOME, wire))

    async def data_received(self, chunk: bytes) -> None:
        # Who does not read on has seen an error, which is told when all has come.
        with suppress(BrokenPipeError):
            if self._wire is not None:
                await asyncio.to_thread(_write, self._wire, chunk)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._end()

    def _end(self) -> None:
        if self._wire is not None:
            os.close(self._wire)
            self._wire = None

    @authenticated
    async def get(self) -> None:
        self.set_header("Content-Type", "application/x-tar")
        wire, end = os.pipe()
        packing = asyncio.ensure_future(asyncio.to_thread(pack, HOME, ROOM, end))
        try:
            with os.fdopen(wire, "rb") as file:
                while chunk := await asyncio.to_thread(file.read, CHUNK):
                    self.write(chunk)
                    await self.flush()
        finally:  # Where it failed, the hub sees a tar that ends early.
            await asyncio.gather(packing, return_exceptions=True)

    @authenticated
    async def put(self) -> None:
        self._end()
        try:
            await self._unpacking
        except (OSError, tarfile.TarError, EOFError) as error:
            raise HTTPError(400, f"it is not unpacked: {type(error).__name__}") from None
        self.set_status(204)


def _write(wire: int, chunk: bytes) -> None:
    while chunk:
        chunk = chunk[os.write(wire, chunk) :]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "session_archive"}]


def _load_jupyter_server_extension(server: Any) -> None:
    base = server.web_app.settings["base_url"]
    server.web_app.add_handlers(".*$", [(url_path_join(base, "/api/session-archive"), Archive)])
