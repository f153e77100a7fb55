"""Starting twice and ending at any moment, with JupyterHub's own handlers beneath."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from integrable_jupyterhub import ending, purge
from integrable_jupyterhub.ending import Server, User, end, quiet
from jupyterhub.apihandlers.users import UserAPIHandler, UserServerAPIHandler
from jupyterhub.scopes import Scope
from tornado.web import HTTPError

from tests.unit.images.samples import in_loop

LOG = logging.getLogger("test")


class Spawner:
    """JupyterHub's flags, with its rules for them."""

    name = ""

    def __init__(self) -> None:
        self._spawn_pending = self._stop_pending = self._check_pending = False
        self._spawn_future: asyncio.Task[Any] | None = None
        self.server: str | None = None

    @property
    def pending(self) -> str | None:
        flags = {
            "spawn": self._spawn_pending,
            "stop": self._stop_pending,
            "check": self._check_pending,
        }
        return next((name for name, flag in flags.items() if flag), None)

    @property
    def ready(self) -> bool:
        return not self.pending and self.server is not None

    @property
    def active(self) -> bool:
        return bool(self.pending or self.ready)

    def spawn(self, start: Coroutine[Any, Any, None]) -> None:
        """As BaseHandler.spawn_single_user does it."""
        self._spawn_pending = True
        self._spawn_future = asyncio.ensure_future(start)

        def done(future: asyncio.Task[Any]) -> None:
            if future.cancelled() or future.exception() is None:
                self._spawn_future = None
            self._spawn_pending = False

        self._spawn_future.add_done_callback(done)


class Somebody:
    def __init__(self) -> None:
        self.id, self.name = 7, "u"
        self.spawners = {"": Spawner()}
        self.stopped, self.fails = 0, False

    async def stop(self, server_name: str) -> None:
        """As JupyterHub's: it is forgotten, though Docker has failed."""
        await asyncio.sleep(0)
        self.stopped += 1
        self.spawners.pop(server_name)
        if self.fails:
            raise OSError("no Docker")


class Proxy:
    def __init__(self, away: bool = False) -> None:
        self.away, self.deleted = away, 0

    async def delete_user(self, user: Any, server_name: str) -> None:
        if self.away:
            raise OSError("no proxy")
        self.deleted += 1


async def forever() -> None:
    await asyncio.Event().wait()


async def ended(user: Somebody, proxy: Proxy | None = None, patience: float = 5) -> None:
    await asyncio.wait_for(end(user, "", proxy or Proxy(), LOG, patience), 2)


@in_loop
async def test_a_start_is_called_off_and_what_it_made_is_stopped() -> None:
    user = Somebody()
    spawner = user.spawners[""]

    async def start() -> None:
        spawner.server = "begun"
        await forever()

    spawner.spawn(start())
    await asyncio.sleep(0)
    await ended(user)
    assert user.stopped == 1
    assert not user.spawners


@in_loop
async def test_a_start_that_had_made_nothing_needs_no_stop() -> None:
    user = Somebody()
    user.spawners[""].spawn(forever())
    await ended(user)
    assert (user.stopped, user.spawners[""].pending) == (0, None)


@in_loop
async def test_a_stop_under_way_is_waited_for_and_not_done_twice() -> None:
    user = Somebody()
    spawner = user.spawners[""]
    spawner.server, spawner._stop_pending = "s", True

    async def stop_ends() -> None:
        await asyncio.sleep(0.1)
        spawner._stop_pending = False
        user.spawners.pop("")

    stopping = asyncio.ensure_future(stop_ends())
    await ended(user)
    assert stopping.done()
    assert user.stopped == 0


@in_loop
async def test_a_look_that_hangs_is_not_waited_for() -> None:
    """A hub killed at the wrong moment left users in `check` for ever."""
    user = Somebody()
    user.spawners[""].server, user.spawners[""]._check_pending = "s", True
    await ended(user)
    assert user.stopped == 1


@pytest.mark.parametrize("fails", [False, True], ids=["", "its stop fails"])
@in_loop
async def test_a_look_that_hangs_does_not_end_the_next_session(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """JupyterHub ends, by its name, what never answered."""
    too_late = asyncio.Event()

    async def jupyterhubs(user: Somebody, spawner: Spawner) -> None:
        await too_late.wait()
        await user.stop(spawner.name)

    monkeypatch.setattr(ending, "_wait_up", jupyterhubs)
    user = Somebody()
    user.spawners[""].server, user.spawners[""]._check_pending = "s", True
    looking = asyncio.ensure_future(ending.wait_up(user, user.spawners[""]))
    await asyncio.sleep(0)
    user.fails = fails
    with suppress(OSError):
        await ended(user)
    user.spawners[""] = Spawner()
    too_late.set()
    with pytest.raises(TimeoutError):  # which JupyterHub expects of it
        await looking
    assert user.stopped == 1
    assert user.spawners


@in_loop
async def test_a_start_that_is_called_off_is_no_look_that_was_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "_wait_up", lambda user, spawner: forever())
    waiting = asyncio.ensure_future(ending.wait_up(Somebody(), Spawner()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@in_loop
async def test_what_never_ends_is_forgotten_after_a_while() -> None:
    user = Somebody()
    user.spawners[""].server, user.spawners[""]._stop_pending = "s", True
    await ended(user, patience=0.1)
    assert user.stopped == 1


@in_loop
async def test_without_a_proxy_a_session_ends_all_the_same() -> None:
    user = Somebody()
    user.spawners[""].server = "s"
    await ended(user, Proxy(away=True))
    assert user.stopped == 1


@in_loop
async def test_a_serving_session_leaves_the_proxy_too() -> None:
    user, proxy = Somebody(), Proxy()
    user.spawners[""].server = "s"
    await ended(user, proxy)
    assert (user.stopped, proxy.deleted) == (1, 1)
    await ended(user, proxy)  # nothing is left
    assert (user.stopped, proxy.deleted) == (1, 1)


@in_loop
async def test_quiet_returns_when_nothing_is_under_way() -> None:
    spawner = Spawner()
    spawner._stop_pending = True
    waiting = asyncio.ensure_future(quiet(spawner))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    spawner._stop_pending = False
    await asyncio.wait_for(waiting, 1)


class Archives:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.kept, self.forgotten = list[str](), list[str]()
        self.store = SimpleNamespace(forget=self.forgotten.append)

    async def keep(self, user: Somebody, spawner: Spawner) -> None:
        assert spawner.pending == "stop"  # nobody else stops it, or starts it, meanwhile
        self.kept.append(user.name)
        assert user.stopped == 0


@in_loop
async def test_what_serves_is_archived_before_it_ends_and_what_starts_is_not() -> None:
    archives, proxy = Archives(), Proxy()
    serving, starting = Somebody(), Somebody()
    serving.spawners[""].server = "s"
    await end(serving, "", proxy, LOG, keep=archives.keep)
    assert (archives.kept, proxy.deleted, serving.stopped) == (["u"], 1, 1)
    starting.spawners[""].spawn(forever())
    starting.spawners[""].server = "s"
    await asyncio.sleep(0)
    await end(starting, "", proxy, LOG, keep=archives.keep)
    assert (archives.kept, starting.stopped) == (["u"], 1)


# --- The handlers ------------------------------------------------------------------------------
class Asked:
    """What needs_scope and our methods use of a handler."""

    log, proxy, db, current_user = LOG, Proxy(), None, SimpleNamespace(name="s", kind="service")

    def __init__(self, user: Somebody | None, *scopes: str) -> None:
        self.user, self.status = user, 0
        self.expanded_scopes = set(scopes)
        self.parsed_scopes = dict.fromkeys(scopes, Scope.ALL)
        self.request = SimpleNamespace(path="/hub/api/users/u")
        self.noted, self.purge = Archives(), "0"

    @property
    def settings(self) -> dict[str, Any]:
        return {"archives": self.noted}

    def get_query_argument(self, name: str, default: str) -> str:
        assert (name, default) == ("purge", "0")
        return self.purge

    def find_user(self, name: str) -> Somebody | None:
        return self.user

    def has_scope(self, scope: str) -> bool:
        return scope in self.expanded_scopes

    def set_status(self, status: int) -> None:
        self.status = status


def handler(kind: type, user: Somebody | None, *scopes: str) -> Any:
    return type(f"Asked{kind.__name__}", (Asked, kind), {})(user, *scopes)


@pytest.fixture
def beneath(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """JupyterHub's own methods, which are only noted."""
    called: list[str] = []

    def noting(name: str, also: Callable[[Any], None] = lambda _: None) -> Any:
        async def method(self: Any, *_: Any) -> None:
            called.append(name)
            await asyncio.sleep(0.05)
            also(self)

        return method

    def gone(self: Any) -> None:
        self.user = None

    monkeypatch.setattr(UserAPIHandler, "delete", noting("delete user", gone))
    monkeypatch.setattr(UserServerAPIHandler, "post", noting("start"))
    monkeypatch.setattr(UserServerAPIHandler, "delete", noting("stop"))
    return called


async def status_of(call: Any) -> int:
    with pytest.raises(HTTPError) as error:
        await call
    return int(error.value.status_code)


@in_loop
async def deletes_once(beneath: list[str]) -> None:
    user = Somebody()
    user.spawners[""].spawn(forever())
    handlers = [handler(User, user, "delete:users") for _ in range(2)]
    first = asyncio.ensure_future(handlers[0].delete("u"))
    await asyncio.sleep(0.01)
    starter = handler(Server, user, "start:servers")
    assert await status_of(starter.post("u")) == 404  # nothing begins meanwhile
    assert await status_of(handlers[1].delete("u")) == 404
    assert first.done()
    await first
    assert beneath == ["delete user"]
    assert not ending._deleting
    assert await status_of(handler(User, None, "delete:users").delete("u")) == 404


def test_a_user_is_deleted_once(beneath: list[str]) -> None:
    deletes_once(beneath)


@pytest.fixture
def asked_host(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(purge, "ask_host", names.append)
    return names


@in_loop
async def archives_or_purges(asked_host: list[str]) -> None:
    def serving() -> Somebody:
        user = Somebody()
        user.spawners[""].server = "s"
        return user

    keeping = handler(User, serving(), "delete:users")
    await keeping.delete("u")
    assert (keeping.noted.kept, keeping.noted.forgotten, asked_host) == (["u"], [], [])
    stopping = handler(Server, serving(), "delete:servers")
    await stopping.delete("u")
    assert stopping.noted.kept == ["u"]

    purging = handler(User, serving(), "delete:users")
    purging.purge = "1"
    await purging.delete("u")
    assert (purging.noted.kept, purging.noted.forgotten) == ([], ["u"])
    gone = handler(User, None, "delete:users")
    gone.purge = "1"
    await gone.delete("u")
    assert (gone.status, gone.noted.forgotten, asked_host) == (204, ["u"], ["u", "u"])

    wrong = handler(User, serving(), "delete:users")
    wrong.purge = "yes"
    assert await status_of(wrong.delete("u")) == 400
    assert wrong.noted.kept == []
    stranger = handler(User, serving(), "read:users")
    stranger.purge = "1"
    with pytest.raises(HTTPError, match="403"):
        await stranger.delete("u")
    assert (stranger.noted.forgotten, asked_host) == ([], ["u", "u"])


def test_a_delete_archives_and_a_purge_does_not(beneath: list[str], asked_host: list[str]) -> None:
    archives_or_purges(asked_host)


@in_loop
async def nothing_is_called_off_for_strangers(beneath: list[str]) -> None:
    user = Somebody()
    user.spawners[""].spawn(forever())
    stranger = handler(Server, user, "read:users")
    for call in (handler(User, user, "read:users").delete, stranger.delete, stranger.post):
        with pytest.raises(HTTPError, match="403"):
            await call("u")
    assert user.spawners[""].pending == "spawn"
    assert beneath == []
    user.spawners[""]._spawn_future.cancel()  # type: ignore[union-attr]


def test_who_may_not_end_a_session_calls_nothing_off(beneath: list[str]) -> None:
    nothing_is_called_off_for_strangers(beneath)


@in_loop
async def waits_for_the_start(beneath: list[str]) -> None:
    user = Somebody()
    spawner, serves = user.spawners[""], asyncio.Event()

    async def start() -> None:
        spawner.server = "s"
        await serves.wait()

    spawner.spawn(start())
    again = handler(Server, user, "start:servers")
    second = asyncio.ensure_future(again.post("u"))
    await asyncio.sleep(0.1)
    assert not second.done()
    serves.set()
    await second
    assert again.status == 201
    assert beneath == []


def test_the_second_to_start_is_answered_when_it_serves(beneath: list[str]) -> None:
    waits_for_the_start(beneath)


@in_loop
async def shares_the_failure(beneath: list[str]) -> None:
    user = Somebody()

    async def start() -> None:
        await asyncio.sleep(0.05)
        raise HTTPError(429, "full")

    user.spawners[""].spawn(start())
    assert await status_of(handler(Server, user, "start:servers").post("u")) == 429
    assert beneath == []
    await handler(Server, user, "start:servers").post("u")  # a new attempt
    assert beneath == ["start"]


def test_the_second_to_start_hears_why_it_failed(beneath: list[str]) -> None:
    shares_the_failure(beneath)


@in_loop
async def is_answered_when_called_off(beneath: list[str]) -> None:
    user = Somebody()
    user.spawners[""].spawn(forever())
    second = asyncio.ensure_future(handler(Server, user, "start:servers").post("u"))
    await asyncio.sleep(0.05)
    await handler(Server, user, "delete:servers").delete("u")
    assert await status_of(second) == 409
    assert beneath == ["stop"]


def test_a_start_that_is_called_off_is_answered(beneath: list[str]) -> None:
    is_answered_when_called_off(beneath)
