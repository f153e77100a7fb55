"""What is stored, for how long; and sessions that answer with anything, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from integrable_jupyterhub import archive, config, purge
from integrable_jupyterhub.archive import MIB, Archives, Store
from integrable_jupyterhub.archives_api import HANDLERS, List
from integrable_jupyterhub.tarball import Kept
from jupyterhub import orm
from jupyterhub.slugs import safe_slug
from tornado.web import HTTPError

from tests.unit.images.samples import in_loop
from tests.unit.images.test_hub_ending import handler
from tests.unit.images.test_hub_tarball import entry, tar

NOW = 1_800_000_000.0
DAY = 24 * 3600
LIMITS = config.Archive(on=True, keep_days=30, max_mb=1, total_mb=3)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, LIMITS)


def add(store: Store, user: str, now: float = NOW, size: int = 10) -> str:
    def write(path: Path) -> Kept:
        path.write_bytes(b"x" * size)
        return Kept(files=2, size=7, left_out=1)

    number: str = store.keep(user, write, now)["id"]
    return number


def test_an_archive_tells_what_it_is(store: Store, tmp_path: Path) -> None:
    number = add(store, "u/../1")
    assert store.list() == [
        {
            "id": number,
            "user": "u/../1",
            "created": "2027-01-15T08:00:00+00:00",
            "size": 10,
            "files": 2,
            "left_out": 1,
            "cut": None,
        }
    ]
    assert store.path(number).read_bytes() == b"x" * 10
    assert [path.name for path in tmp_path.iterdir()] == [number]


def test_archives_are_listed_by_user_the_oldest_first(store: Store) -> None:
    numbers = [add(store, "b", NOW), add(store, "a", NOW + 1), add(store, "b", NOW + 2)]
    assert store.ids() == numbers
    assert store.ids("b") == [numbers[0], numbers[2]]
    assert store.ids("") == []


def test_an_archive_that_is_deleted_is_gone(store: Store, tmp_path: Path) -> None:
    number = add(store, "u")
    assert store.delete(number)
    assert not store.delete(number)
    assert store.about(number) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", ["", ".", "..", "../x", "x" * 52, f"{'0' * 32}-1-2"])
def test_an_id_is_no_path(tmp_path: Path, number: str) -> None:
    store = Store(tmp_path / "archive", LIMITS)
    for folder in (tmp_path / "archive", tmp_path / "x"):
        folder.mkdir()
        (folder / "about.json").write_text("{}")
    assert store.about(number) is None
    assert not store.delete(number)
    assert (tmp_path / "x").exists()


def test_a_user_is_forgotten_and_no_other(store: Store) -> None:
    add(store, "a"), add(store, "a"), add(store, "b")
    assert store.forget("a") == 2
    assert [about["user"] for about in store.list()] == ["b"]


def test_what_is_too_old_goes(store: Store) -> None:
    add(store, "old", NOW - 30 * DAY - 1)
    add(store, "kept", NOW - 30 * DAY)
    assert store.expire(NOW) == 1
    assert [about["user"] for about in store.list()] == ["kept"]


def test_the_oldest_make_room(store: Store) -> None:
    for number in range(3):
        add(store, str(number), NOW + number, MIB)
    assert len(store.ids()) == 3
    add(store, "new", NOW + 3, MIB)
    assert [about["user"] for about in store.list()] == ["1", "2", "new"]
    small = config.Archive(on=True, keep_days=30, max_mb=1, total_mb=1)
    lowered = Store(store.path("").parent, small)
    assert lowered.expire(NOW) == 2


def test_what_is_half_written_goes(store: Store, tmp_path: Path) -> None:
    def fails(path: Path) -> Kept:
        path.write_bytes(b"x")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.keep("u", fails, NOW)
    with pytest.raises(LookupError, match="no tar"):
        store.keep("u", lambda path: Kept(cut="it is no tar"), NOW)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".killed").mkdir()
    (tmp_path / ".killed" / "home.tar.gz").touch()
    number = add(store, "u")
    store.clear()
    assert [path.name for path in tmp_path.iterdir()] == [number]


# --- Sessions -------------------------------------------------------------------------------------
Answer = Callable[[socket.socket], None]


@contextlib.contextmanager
def session(answer: Answer) -> Iterator[str]:
    """A server that answers one request as `answer` likes; its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(5)
    heard = threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listening.accept()
            with connection:
                head = b""
                while not head.endswith(b"\r\n\r\n") and (byte := connection.recv(1)):
                    head += byte  # of the body, nothing: it may come with it
                answer(connection)
                heard.wait(10)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/user/u/"
    finally:
        heard.set()
        listening.close()
        thread.join()


@pytest.fixture(scope="module")
def user() -> Any:
    """A user of JupyterHub's, who may have tokens for the own session."""
    db = orm.new_session_factory("sqlite://")()
    role = orm.Role(name="user", scopes=["access:servers!user"])
    user = orm.User(name="u", roles=[role])
    client = orm.OAuthClient(identifier="jupyterhub", secret="", redirect_uri="")
    db.add_all([user, client, orm.Role(name="token", scopes=["inherit"])])
    db.commit()
    user.db = db
    return user


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archives:
    monkeypatch.setattr(archive, "SECONDS", 1.0)
    (tmp_path / "archive").mkdir()
    return Archives(LIMITS, logging.getLogger("test"), tmp_path / "archive")


GOOD = tar(entry("a", b"1"), entry("b", b"22"))
OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"


def plain(body: bytes) -> bytes:
    return OK + b"Content-Length: %d\r\n\r\n" % len(body) + body


def drip(connection: socket.socket) -> None:
    """A byte at a time: no single read waits for long."""
    while True:
        connection.sendall(b"H")
        time.sleep(0.05)


def endless(connection: socket.socket) -> None:
    connection.sendall(OK + b"\r\n")
    while True:
        connection.sendall(tar(entry("x", b"x" * 500))[:1024])


def sends(what: bytes) -> Answer:
    return lambda connection: connection.sendall(what)


@pytest.mark.parametrize(
    ("answer", "files"),
    [
        pytest.param(sends(plain(GOOD)), 2, id="good"),
        pytest.param(sends(plain(GOOD[:1500])), 1, id="cut"),
        pytest.param(sends(OK + b"Content-Length: 9999\r\n\r\n" + GOOD[:1500]), 1, id="hangs"),
        pytest.param(endless, 1, id="endless"),
        pytest.param(drip, None, id="drip"),
        pytest.param(lambda _: None, None, id="silent"),
        pytest.param(sends(b"garbage"), None, id="no-http"),
        pytest.param(sends(OK + b"X: y\r\n" * 1000), None, id="headers"),
        pytest.param(sends(plain(b"\x1f\x8b" + bytes(10_000))), None, id="no-tar"),
        pytest.param(sends(b"HTTP/1.1 404 Not Found\r\n\r\n"), None, id="404"),
        pytest.param(
            sends(b"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1/\r\n\r\n"), None, id="302"
        ),
    ],
)
def test_whatever_a_session_answers_it_is_over_in_time(
    archives: Archives, user: Any, answer: Answer, files: int | None
) -> None:
    @in_loop
    async def keep() -> None:
        with session(answer) as url:
            await archives.keep(user, SimpleNamespace(server=SimpleNamespace(url=url)))

    started = time.monotonic()
    keep()
    assert time.monotonic() - started < 5 * archive.SECONDS
    assert [about["files"] for about in archives.store.list()] == ([files] if files else [])
    assert list((archives._folder).glob(".*")) == []
    assert user.db.query(orm.APIToken).count() == 0


def test_the_loop_goes_on_meanwhile_and_others_are_not_held_up(
    archives: Archives, user: Any
) -> None:
    async def measure() -> float:
        longest, last = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
            seen[0] = longest

    seen = [0.0]

    @in_loop
    async def keep() -> None:
        measuring = asyncio.ensure_future(measure())
        with session(endless) as hostile, session(sends(plain(GOOD))) as honest:
            spawners = [SimpleNamespace(server=SimpleNamespace(url=u)) for u in (hostile, honest)]
            first = asyncio.ensure_future(archives.keep(user, spawners[0]))
            await archives.keep(user, spawners[1])
            assert len(archives.store.list()) == 1
            await first
        measuring.cancel()

    keep()
    assert seen[0] < archive.SECONDS


def test_where_it_is_off_nobody_is_asked(tmp_path: Path) -> None:
    off = Archives(config.Archive(), logging.getLogger("test"), tmp_path)
    asyncio.run(off.keep(None, None))
    assert list(tmp_path.iterdir()) == []


def test_an_archive_is_given_back(archives: Archives, user: Any) -> None:
    heard: list[bytes] = []

    def take(connection: socket.socket) -> None:
        while not heard or (heard[-1] and len(b"".join(heard)) < 10):
            heard.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    number = add(archives.store, "u")

    @in_loop
    async def give() -> None:
        with session(take) as url:
            spawner = SimpleNamespace(server=SimpleNamespace(url=url))
            await archives.restore(number, user, spawner)
        with session(sends(b"HTTP/1.1 400 Bad\r\n\r\n")) as url:
            spawner = SimpleNamespace(server=SimpleNamespace(url=url))
            with pytest.raises(LookupError, match="400"):
                await archives.restore(number, user, spawner)
        with session(lambda _: None) as url:
            spawner = SimpleNamespace(server=SimpleNamespace(url=url))
            with pytest.raises(LookupError):
                await archives.restore(number, user, spawner)

    give()
    assert b"".join(heard).endswith(b"x" * 10)


CALLS = [(kind, m) for _, kind in HANDLERS for m in ("get", "post", "delete") if m in vars(kind)]


@pytest.mark.parametrize("scope", ["read:users", "delete:users", "access:servers"])
@pytest.mark.parametrize(("kind", "method"), CALLS)
def test_every_call_is_for_services_only(kind: type, method: str, scope: str) -> None:
    stranger = handler(kind, None, scope)
    arguments = () if kind is List else ("0",)
    with pytest.raises(HTTPError, match="403"):
        getattr(stranger, method)(*arguments)


# --- Purge ----------------------------------------------------------------------------------------
def test_the_host_is_asked_with_all_spellings_of_a_name(tmp_path: Path) -> None:
    purge.ask_host('a@b"c/é', tmp_path)
    (request,) = tmp_path.iterdir()
    words = request.read_text().split("\0")
    assert set(words) >= {
        'a@b"c/é',
        'a@b\\"c/é',
        "a%40b%22c%2F%C3%A9",
        "a%2540b%2522c%252F%25C3%25A9",
    }
    assert all(words)
    assert len(request.name) == 64
    # The host may be at work on the first, and deletes it then.
    purge.ask_host('a@b"c/é', tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_container_s_name_ends_in_a_part_of_the_user_s_hash() -> None:
    assert safe_slug("U 1", max_length=44)[-8:] in purge.spellings("U 1")
