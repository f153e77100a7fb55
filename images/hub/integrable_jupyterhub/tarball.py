"""A session's home comes as a tar, and becomes a tar.gz of the hub's own. Pure: streams in and out.

Whoever has a session may have its server send anything. Python's tarfile reads what all tar
programs of fifty years have written: headers of any size, into memory; headers of headers; sparse
maps; offsets that lead back (CVE-2025-8194). So it parses one block here, and no more: the stream
has to be what the session's extension writes (GNU, long names included), read once, forwards.
"""

import io
import tarfile
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, BinaryIO

BLOCK = 512
CHUNK = 64 * 1024
IN_MEMORY = 1024 * 1024
"""A file up to so many bytes is held in memory until it is whole, a longer one on disk."""

MAX_ENTRIES = 10_000
MAX_NAME, MAX_PART, MAX_DEPTH = 512, 255, 16
"""Of a path: bytes in all, bytes between slashes (ext4, tmpfs), folders and file."""

MAX_PATH = 4096
"""Of a name that is read at all (Linux: PATH_MAX)."""

LEFT_OUT = {tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE}
"""Links and devices: what they lead to is not the archive's."""


class Cut(Exception):
    """Nothing more is taken from the stream; the text says why."""


@dataclass
class Kept:
    """What came of it. `size` in bytes, before compression; `cut`: why the rest is missing."""

    files: int = 0
    size: int = 0
    left_out: int = 0
    cut: str = ""


class Source:
    """A stream of which no more than `limit` bytes are read, until `deadline` (monotonic)."""

    def __init__(self, read: Callable[[int], bytes], limit: int, deadline: float) -> None:
        self._read, self._left, self._deadline = read, limit, deadline

    def chunks(self, size: int) -> Iterator[bytes]:
        """`size` bytes, in pieces. Raises Cut."""
        while size:
            if time.monotonic() > self._deadline:
                raise Cut("it took too long")
            try:
                chunk = self._read(min(size, CHUNK))
            except (OSError, HTTPException) as error:
                raise Cut(f"the connection broke: {type(error).__name__}") from None
            self._left -= len(chunk)
            if not chunk or self._left < 0:
                raise Cut("it ended early" if not chunk else "it is too long")
            size -= len(chunk)
            yield chunk

    def exactly(self, size: int) -> bytes:
        return b"".join(self.chunks(size))


class Names:
    """Paths that are taken; a path is refused that another system, or a person, would misread.

    Of each only the hash is kept (keyed, 64 bits): deep paths by the thousand would be memory.
    """

    def __init__(self) -> None:
        self._files: set[int] = set()
        self._folders: set[int] = set()

    def take(self, name: str, *, folder: bool) -> bool:
        """Whether there may be a file, or a folder, of that name, beside all before it."""
        if not is_proper(name):
            return False
        parts = name.split("/")
        above = {hash("/".join(parts[:n])) for n in range(1, len(parts))}
        this = hash(name)
        if this in self._files or this in self._folders or not above.isdisjoint(self._files):
            return False
        self._folders |= above
        (self._folders if folder else self._files).add(this)
        return True


def is_proper(name: str) -> bool:
    """A relative path in UTF-8 of bounded length, without `..`, backslash or control characters."""
    try:
        parts = [part.encode() for part in name.split("/")]
    except UnicodeEncodeError:
        return False
    return (
        len(parts) <= MAX_DEPTH
        and sum(map(len, parts)) + len(parts) - 1 <= MAX_NAME
        and all(part not in (b"", b".", b"..") and len(part) <= MAX_PART for part in parts)
        and not any(c == "\\" or unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in name)
    )


def rewrite(source: Source, target: BinaryIO, room: int, folder: Path) -> Kept:
    """Write the regular files and folders of a tar to `target`, as a tar.gz; at most `room` bytes.

    What is whole when the stream is cut is kept. `folder` is for files that are not whole yet.
    """
    kept, names, room_left = Kept(), Names(), room
    with tarfile.open(
        fileobj=target, mode="w:gz", format=tarfile.PAX_FORMAT, compresslevel=3
    ) as out:
        try:
            for entry in _entries(source):
                if entry.type in LEFT_OUT:
                    kept.left_out += 1
                    continue
                ours = tarfile.TarInfo(entry.name)
                ours.mtime = min(max(0, int(entry.mtime)), 2**33 - 1)
                ours.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
                taken = names.take(entry.name, folder=entry.isdir())
                if entry.isdir():
                    kept.left_out += not taken
                    if taken:
                        ours.type = tarfile.DIRTYPE
                        out.addfile(ours)
                    continue
                room_left -= entry.size
                if room_left < 0:
                    raise Cut(f"it holds more than {room} bytes")
                with tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(folder)) as whole:
                    _copy(source, entry.size, whole if taken else None)
                    if not taken:
                        kept.left_out += 1
                        continue
                    ours.size = entry.size
                    whole.seek(0)
                    out.addfile(ours, whole)
                kept.files += 1
                kept.size += entry.size
        except Cut as cut:
            kept.cut = str(cut)
    return kept


def _copy(source: Source, size: int, target: IO[bytes] | None) -> None:
    """A file's content and what fills its last block."""
    for chunk in source.chunks(size):
        if target:
            target.write(chunk)
    source.exactly(-size % BLOCK)


def _entries(source: Source) -> Iterator[tarfile.TarInfo]:
    """Each entry, in order; who gets a file has to read its content before the next one."""
    for number in range(MAX_ENTRIES + 1):
        entry = _header(source)
        if entry and entry.type == tarfile.GNUTYPE_LONGNAME:
            if entry.size > MAX_PATH:
                raise Cut("a name is too long")
            name = io.BytesIO()
            _copy(source, entry.size, name)
            entry = _header(source)
            if entry:
                entry.name = name.getvalue().rstrip(b"\0").decode("utf-8", "surrogateescape")
        if entry is None:
            return
        if number == MAX_ENTRIES:
            raise Cut(f"it has more than {MAX_ENTRIES} entries")
        entry.name = entry.name.removesuffix("/") if entry.isdir() else entry.name
        regular = entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
        if not regular and (entry.size or entry.type not in LEFT_OUT | {tarfile.DIRTYPE}):
            raise Cut("an entry is of a kind that no session writes")
        yield entry


def _header(source: Source) -> tarfile.TarInfo | None:
    """None: the end. Raises Cut where it is none, also by its checksum."""
    block = source.exactly(BLOCK)
    if not block.strip(b"\0"):
        return None
    try:
        entry = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError):
        raise Cut("it is no tar") from None
    if entry.size < 0:
        raise Cut("it is no tar")
    return entry
