"""A session's tar, honest or hostile, becomes a tar.gz of regular files and folders."""

from __future__ import annotations

import gzip
import io
import os
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import pytest
import tornado.web
from hypothesis import given
from hypothesis import strategies as st
from integrable_jupyterhub import tarball
from integrable_jupyterhub.tarball import MAX_ENTRIES, Kept, Names, Source, is_proper, rewrite

ROOM = 100_000


def entry(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def tar(*entries: tuple[tarfile.TarInfo, bytes], kind: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as made:
        for info, content in entries:
            made.addfile(info, io.BytesIO(content))
    return out.getvalue()


def kept(
    stream: bytes, folder: Path, room: int = ROOM, limit: int = 10**8, seconds: float = 60
) -> tuple[Kept, dict[str, bytes]]:
    """What came of it, and the content of each file; of a folder: its name with a slash."""
    target = io.BytesIO()
    source = Source(io.BytesIO(stream).read, limit, time.monotonic() + seconds)
    result = rewrite(source, target, room, folder)
    target.seek(0)
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=target, mode="r:gz") as made:
        for info in made:
            assert info.isreg() or info.isdir()
            assert (info.uid, info.gid, info.uname, info.mode & ~0o755) == (0, 0, "", 0)
            data = made.extractfile(info)
            found[info.name if data else f"{info.name}/"] = data.read() if data else b""
    return result, found


def test_files_and_empty_folders_are_kept(tmp_path: Path) -> None:
    long = "/".join(["é" * 60] * 3)
    stream = tar(
        entry("main.ipynb", b"{}"),
        entry("run.sh", b"#!", mode=0o755, mtime=5),
        entry("data", type=tarfile.DIRTYPE),
        entry(long, b"x" * 600),
    )
    result, found = kept(stream, tmp_path)
    assert result == Kept(files=3, size=604)
    assert found == {"main.ipynb": b"{}", "run.sh": b"#!", "data/": b"", long: b"x" * 600}


@pytest.mark.parametrize(
    "name",
    [
        *("/etc/passwd", "../x", "a/../x", "a//b", "./a", "a/.", ".."),
        *("a\nb", "a\x1b[2Jb", "a\x7f", "a\x85", "a\u2028b", "a\\b", "C:\\x", "a\udcff"),
        *("x" * 256, "/".join("a" * 17), "/".join(["x" * 200] * 3)),
    ],
)
def test_a_name_that_leads_elsewhere_or_misleads_is_left_out(name: str, tmp_path: Path) -> None:
    assert not is_proper(name)
    assert is_proper("a" + "\u00e4\U0001f600 -.~$")
    stream = tar(entry("before", b"1"), entry(name, b"2" * 700), entry("after", b"3"))
    result, found = kept(stream, tmp_path)
    assert result == Kept(files=2, size=2, left_out=1)
    assert found == {"before": b"1", "after": b"3"}


@pytest.mark.parametrize(
    "kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_left_out(kind: bytes, tmp_path: Path) -> None:
    stream = tar(entry("x", type=kind, linkname="/etc/passwd"), entry("x", b"1"))
    assert kept(stream, tmp_path) == (Kept(files=1, size=1, left_out=1), {"x": b"1"})


def test_a_path_is_one_thing_only(tmp_path: Path) -> None:
    """Else the last of two wins, or unpacking fails."""
    stream = tar(
        entry("a", b"1"),
        entry("a", b"2"),
        entry("a/b", b"3"),
        entry("c/d", b"4"),
        entry("c", b"5"),
        entry("c", type=tarfile.DIRTYPE),
    )
    result, found = kept(stream, tmp_path)
    assert result == Kept(files=2, size=2, left_out=4)
    assert found == {"a": b"1", "c/d": b"4"}


def pax(key: str, value: str, **fields: Any) -> bytes:
    return tar(entry("x", b"1", pax_headers={key: value}, **fields), kind=tarfile.PAX_FORMAT)


def header(**fields: bytes) -> bytes:
    """A block with a right checksum, whatever its fields hold."""
    block = bytearray(tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT))
    for field, value in fields.items():
        at = {"size": 124, "type": 156}[field]
        block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(pax("path", "/etc/passwd"), id="pax"),
        pytest.param(pax("size", "99999999"), id="pax-size"),
        pytest.param(pax("GNU.sparse.realsize", "9" * 12), id="pax-sparse"),
        pytest.param(header(type=b"g", size=b"00000001000\0"), id="global-pax"),
        pytest.param(header(type=b"S", size=b"00000000000\0"), id="gnu-sparse"),
        pytest.param(header(type=b"K", size=b"77777777777\0"), id="long-link"),
        pytest.param(header(type=b"L", size=b"77777777777\0") + b"a" * 10**6, id="long-name"),
        pytest.param(
            header(type=b"L", size=b"00000011610\0") + b"a" * 5120 + tar(entry("z")),
            id="longer-name",
        ),
        pytest.param(header(type=b"L", size=b"00000000001\0") * 2000, id="names-of-names"),
        pytest.param(header(size=b"\xff" * 12), id="negative-size"),
        pytest.param(header(size=b"\x80" + b"\xff" * 11), id="huge-size"),
        pytest.param(header(size=b"        xyz\0"), id="no-number"),
        pytest.param(header(type=b"5", size=b"00000001000\0"), id="folder-with-content"),
        pytest.param(header(type=b"2", size=b"00000001000\0"), id="link-with-content"),
        pytest.param(header(type=b"V"), id="volume"),
        pytest.param(b"x" * 512, id="no-checksum"),
        pytest.param(gzip.compress(bytes(10**7)), id="gzip-bomb"),
        pytest.param(b"<html>", id="short"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_no_session_of_ours_writes_ends_it(hostile: bytes, tmp_path: Path) -> None:
    """What came before it is kept."""
    before = tar(entry("before", b"1"))[:1024]
    result, found = kept(before + hostile, tmp_path)
    assert result.cut
    assert (result.files, found) == (1, {"before": b"1"})


def test_no_more_is_kept_than_fits(tmp_path: Path) -> None:
    stream = tar(entry("a", b"x" * 600), entry("b", b"x" * 401), entry("c", b"x"))
    result, found = kept(stream, tmp_path, room=1000)
    assert (result.files, result.size, list(found)) == (1, 600, ["a"])
    assert "1000 bytes" in result.cut
    assert kept(stream, tmp_path, room=1002)[0] == Kept(files=3, size=1002)


def test_no_more_entries_are_read_than_a_home_may_have(tmp_path: Path) -> None:
    one = tar(entry("../x"))[:512]
    result, _ = kept(one * MAX_ENTRIES + bytes(1024), tmp_path)
    assert result == Kept(left_out=MAX_ENTRIES)
    result, _ = kept(one * (MAX_ENTRIES + 1), tmp_path)
    assert (result.left_out, result.cut) == (MAX_ENTRIES, f"it has more than {MAX_ENTRIES} entries")


def test_a_stream_is_cut_at_its_limit_and_at_its_time(tmp_path: Path) -> None:
    stream = tar(entry("a", b"1"), entry("b", b"x" * 5000))
    assert kept(stream, tmp_path, limit=2000)[0].cut == "it is too long"
    assert kept(stream, tmp_path, limit=2000)[0].files == 1
    assert kept(stream, tmp_path, seconds=-1)[0] == Kept(cut="it took too long")


def test_half_a_file_is_none(tmp_path: Path) -> None:
    stream = tar(entry("a", b"1"), entry("b", b"x" * 5000))
    result, found = kept(stream[:3000], tmp_path)
    assert (result.cut, found) == ("it ended early", {"a": b"1"})


def test_a_connection_that_breaks_is_the_end(tmp_path: Path) -> None:
    def read(size: int) -> bytes:
        raise ConnectionResetError

    source = Source(read, 10**6, time.monotonic() + 60)
    assert "connection" in rewrite(source, io.BytesIO(), ROOM, tmp_path).cut


def test_big_files_are_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarball, "IN_MEMORY", 10)
    result, found = kept(tar(entry("a", b"x" * 5000)), tmp_path)
    assert (result.files, found, list(tmp_path.iterdir())) == (1, {"a": b"x" * 5000}, [])


@given(st.binary(max_size=3000), st.integers(0, 2**16))
def test_whatever_comes_it_ends_and_is_a_tar(noise: bytes, at: int) -> None:
    """Bytes of a good tar are replaced."""
    good = tar(entry("a", b"1" * 700), entry("b/c", b"2"), entry("d", type=tarfile.DIRTYPE))
    at %= len(good)
    stream = good[:at] + noise + good[at + len(noise) :]
    result, found = kept(stream, Path("/tmp"))
    assert result.files == sum(not name.endswith("/") for name in found)
    assert all(is_proper(name.rstrip("/")) for name in found)


@given(st.lists(st.text(st.sampled_from("ab/"), min_size=1, max_size=5), max_size=30))
def test_what_is_taken_can_be_unpacked(names: list[str]) -> None:
    taken = Names()
    files = [name for name in names if taken.take(name, folder=False)]
    assert len(set(files)) == len(files)
    for name in files:
        assert not {str(p) for p in PurePosixPath(name).parents} & set(files)


# --- The session's side ---------------------------------------------------------------------------
@pytest.fixture
def session_archive(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The session's extension, without the server that the image has."""
    handlers, utils = ModuleType("handlers"), ModuleType("utils")
    handlers.APIHandler = tornado.web.RequestHandler  # type: ignore[attr-defined]
    utils.url_path_join = "".join  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jupyter_server", ModuleType("jupyter_server"))
    monkeypatch.setitem(sys.modules, "jupyter_server.base", ModuleType("base"))
    monkeypatch.setitem(sys.modules, "jupyter_server.base.handlers", handlers)
    monkeypatch.setitem(sys.modules, "jupyter_server.utils", utils)
    monkeypatch.delitem(sys.modules, "session_archive", raising=False)
    import session_archive  # noqa: PLC0415

    return session_archive


def sent(work: Callable[[int], None]) -> bytes:
    """What it writes to the descriptor; a pipe is too short for all of it, a file is not."""
    file = os.memfd_create("tar")
    copy = os.dup(file)
    work(file)
    with os.fdopen(copy, "rb") as written:
        written.seek(0)
        return written.read()


def make(home: Path) -> dict[str, bytes]:
    content = {
        "main.ipynb": b"{}",
        "data/big.csv": b"1," * 9000,
        "ä/\U0001f600.txt": b"x",
        ".hidden": b"h",
        "/".join(["x" * 60] * 4): b"deep",
    }
    for name, data in content.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(data)
    (home / "empty").mkdir()
    return content


def test_a_home_goes_through_the_hub_and_comes_back(
    session_archive: ModuleType, tmp_path: Path
) -> None:
    home, new = tmp_path / "home", tmp_path / "new"
    home.mkdir()
    new.mkdir()
    content = make(home)
    for name in session_archive.LEFT_OUT:
        (home / name).mkdir(parents=True)
        (home / name / "secret").write_bytes(b"not this")
    (home / "link").symlink_to("/etc/passwd")
    (home / "folder").symlink_to("data")
    os.mkfifo(home / "pipe")
    (home / "back\\slash").touch()
    os.utime(home / "main.ipynb", (-5, -5))

    target = tmp_path / "home.tar.gz"
    stream = sent(lambda wire: session_archive.pack(home, ROOM, wire))
    source = Source(io.BytesIO(stream).read, 10**7, time.monotonic() + 60)
    with target.open("wb") as file:
        result = rewrite(source, file, ROOM, tmp_path)
    assert (result.cut, result.left_out) == ("", 4)  # three of a kind, and a name with a backslash
    assert result.files == len(content)

    session_archive.unpack(new, os.open(target, os.O_RDONLY))
    back = {str(p.relative_to(new)): p.read_bytes() for p in new.rglob("*") if p.is_file()}
    assert back == content
    assert (new / "empty").is_dir()


def test_what_people_see_goes_first_then_small_before_big(
    session_archive: ModuleType, tmp_path: Path
) -> None:
    make(tmp_path)
    names = [str(path.relative_to(tmp_path)) for path in session_archive.entries(tmp_path, ROOM)]
    files = [name for name in names if (tmp_path / name).is_file()]
    assert files[0] == "ä/\U0001f600.txt"
    assert files[-2:] == ["data/big.csv", ".hidden"]
    small = [path.name for path in session_archive.entries(tmp_path, 17_999)]
    assert "big.csv" not in small
    assert ".hidden" in small


def test_a_file_that_gets_shorter_cuts_nothing_off(
    session_archive: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that runs writes it anew, between the look at its size and the reading."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "a").write_bytes(b"12345")
    (home / "b").write_bytes(b"after it")
    fstat = os.fstat

    def shorter(descriptor: int) -> os.stat_result:
        looked = fstat(descriptor)
        if looked.st_ino == (home / "a").stat().st_ino:
            os.truncate(home / "a", 2)
        return looked

    monkeypatch.setattr(session_archive.os, "fstat", shorter)
    stream = sent(lambda wire: session_archive.pack(home, ROOM, wire))
    assert kept(stream, tmp_path) == (
        Kept(files=2, size=13),
        {"a": b"12\0\0\0", "b": b"after it"},
    )


def test_a_name_that_is_no_text_is_left_out_by_the_hub(
    session_archive: ModuleType, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    Path(os.fsdecode(os.fsencode(home) + b"/\xff" + b"x" * 120)).touch()
    (home / "b").write_bytes(b"1")
    stream = sent(lambda wire: session_archive.pack(home, ROOM, wire))
    assert kept(stream, tmp_path) == (Kept(files=1, size=1, left_out=1), {"b": b"1"})
