"""What the reaper takes away, and what it leaves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import NotFound
from integrable_jupyterhub import reaper
from integrable_jupyterhub.reaper import Container, Reaper, Since, dead, forget, orphans
from jupyterhub import orm
from jupyterhub.utils import utcnow
from sqlalchemy.orm import Session

from tests.unit.images.samples import in_loop

A, B, C = (Container(f"id-{name}", name, name != "c") for name in "abc")


def test_containers_that_nobody_owns_are_orphans() -> None:
    assert orphans([A, B, C], {"a", "c", "z"}) == [B]


def test_who_serves_without_a_running_container_is_dead() -> None:
    assert dead(["a", "c", "z"], [A, B, C]) == {"c", "z"}


def test_docker_s_list_is_read() -> None:
    listed = {"Id": "x", "Names": ["/a"], "State": "running", "Labels": {}}
    assert Container.of(listed) == Container("x", "a", True)
    assert not Container.of({**listed, "State": "created"}).running


def test_who_is_at_the_same_for_too_long_is_stuck() -> None:
    stuck = Since()
    assert stuck.longer_than(100, {"a": "spawn", "b": "check"}, 0) == []
    assert stuck.longer_than(100, {"a": "stop", "b": "check"}, 60) == []
    assert stuck.longer_than(100, {"a": "stop", "b": "check"}, 120) == ["b"]
    assert stuck.longer_than(100, {"a": "stop"}, 161) == ["a"]
    assert stuck.longer_than(100, {}, 200) == []
    assert stuck.longer_than(100, {"a": "stop"}, 300) == []  # another time


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Session]:
    session: Session = orm.new_session_factory(f"sqlite:///{tmp_path / 'hub.sqlite'}")()
    session.add(orm.OAuthClient(identifier="jupyterhub", secret="", redirect_uri=""))
    session.add(orm.Service(name="lms"))
    session.commit()
    for name in ("live", "ended"):
        user = orm.User(name=name)
        server = orm.Server(base_url=f"/user/{name}/")
        spawner = orm.Spawner(name="", user=user)
        session.add_all([user, server, spawner])
        session.add(
            orm.OAuthClient(identifier=f"jupyterhub-user-{name}", secret="", redirect_uri="")
        )
        if name == "live":
            spawner.server = server
        session.commit()
        user.new_api_token(note=f"Server at /user/{name}/")
        user.new_api_token(note="for the browser")
    session.query(orm.Service).one().new_api_token("t" * 64, note="from config", generated=False)
    session.commit()
    yield session
    session.close()


def notes(db: Session) -> list[str]:
    tokens = db.query(orm.APIToken)
    return sorted(f"{token.user.name if token.user else '-'}: {token.note}" for token in tokens)


def test_rows_of_ended_sessions_go_and_others_stay(db: Session) -> None:
    assert forget(db, {"jupyterhub-user-live"}, {"/user/live/"}) == 3
    assert notes(db) == [
        "-: from config",
        "ended: for the browser",
        "live: Server at /user/live/",
        "live: for the browser",
    ]
    clients = {client.identifier for client in db.query(orm.OAuthClient)}
    assert clients == {"jupyterhub", "jupyterhub-user-live"}
    assert [server.base_url for server in db.query(orm.Server)] == ["/user/live/"]
    assert forget(db, {"jupyterhub-user-live"}, {"/user/live/"}) == 0


def test_expired_tokens_go(db: Session) -> None:
    token = db.query(orm.APIToken).filter_by(note="for the browser").first()
    assert token is not None
    token.expires_at = utcnow(with_tz=False) - timedelta(seconds=1)
    db.commit()
    before = len(notes(db))
    forget(db, {"jupyterhub-user-live", "jupyterhub-user-ended"}, {"/user/live/", "/user/ended/"})
    assert len(notes(db)) == before - 1


class FakeDocker:
    def __init__(self, *names: str) -> None:
        self.names, self.removed = list(names), list[str]()
        self.while_listing: Callable[[], None] = lambda: None

    def containers(self, all: bool) -> list[dict[str, Any]]:  # noqa: A002
        assert all
        listed = [
            {"Id": f"id-{name}", "Names": [f"/{name}"], "State": "running"} for name in self.names
        ]
        self.while_listing()
        return listed

    def remove_container(self, container: str, **how: Any) -> None:
        self.removed.append(container)
        raise NotFound("gone meanwhile")


class FakeSpawner:
    name, start_timeout = "", 130

    def __init__(self, container_name: str, pending: str | None = None) -> None:
        self.container_name = self._log_name = container_name
        self.pending, self.polls = pending, 0
        self.answer = asyncio.Event()
        self.oauth_client_id = f"jupyterhub-user-{container_name}"
        self._spawn_future = None
        self.user: Any = None

    @property
    def ready(self) -> bool:
        return not self.pending

    active = True

    async def poll(self) -> int | None:
        self.polls += 1
        await self.answer.wait()
        return 1 if self.container_name == "dead" else None


class FakeApp:
    """As much of JupyterHub as the reaper looks at."""

    def __init__(self, db: Session, *spawners: FakeSpawner) -> None:
        self.db, self.log = db, logging.getLogger("test")
        self._service_map: dict[str, Any] = {}
        self.config = SimpleNamespace(DockerSpawner=SimpleNamespace(client_kwargs={}))
        self.users: dict[int, Any] = {}
        self.checked = self.expired = 0
        self.proxy = SimpleNamespace(check_routes=self._check)
        self.archives = SimpleNamespace(expire=self._expire)
        for spawner in spawners:
            self.add(spawner)

    def add(self, spawner: FakeSpawner) -> None:
        user = SimpleNamespace(spawners={"": spawner}, base_url=f"/user/{spawner.container_name}/")
        self.users[len(self.users)] = spawner.user = user

    async def _expire(self) -> None:
        self.expired += 1

    async def _check(self, users: Any, services: Any) -> None:
        assert users is self.users
        self.checked += 1


def reaper_of(monkeypatch: pytest.MonkeyPatch, app: FakeApp, docker: FakeDocker) -> Reaper:
    monkeypatch.setattr(reaper, "APIClient", lambda **_: docker)
    return Reaper(app)


def test_a_look_removes_orphans_and_ends_the_dead(
    monkeypatch: pytest.MonkeyPatch, db: Session
) -> None:
    ended = []

    async def end(user: Any, name: str, *_: Any) -> None:
        ended.append(user.spawners[name])

    monkeypatch.setattr(reaper, "end", end)
    serving, starting, crashed = FakeSpawner("a"), FakeSpawner("b", "spawn"), FakeSpawner("dead")
    app, docker = FakeApp(db, serving, starting, crashed), FakeDocker("a", "b", "left")

    @in_loop
    async def look() -> None:
        one = reaper_of(monkeypatch, app, docker)
        await one.look()
        assert docker.removed == []  # it may be a moment between two notes
        monkeypatch.setattr(reaper, "ORPHAN_SECONDS", 0)
        await one.look()
        await one.reconcile()
        one.look_soon(crashed)  # the proxy asks too: one look
        one.look_soon(starting)
        crashed.answer.set()
        while not ended:
            await asyncio.sleep(0.01)

    look()
    assert docker.removed == ["id-left"]
    assert (serving.polls, starting.polls, crashed.polls) == (0, 0, 1)
    assert ended == [crashed]
    assert (app.checked, app.expired) == (1, 1)


def test_who_begins_while_docker_lists_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, db: Session
) -> None:
    monkeypatch.setattr(reaper, "ORPHAN_SECONDS", -1)
    listed, later = FakeSpawner("listed", "spawn"), FakeSpawner("later")
    app, docker = FakeApp(db), FakeDocker("listed")

    def begin() -> None:
        app.add(listed)
        app.add(later)

    docker.while_listing = begin

    @in_loop
    async def look() -> None:
        await reaper_of(monkeypatch, app, docker).look()
        await asyncio.sleep(0.05)

    look()
    assert (docker.removed, listed.polls, later.polls) == ([], 0, 0)


def test_who_is_stuck_is_ended(monkeypatch: pytest.MonkeyPatch, db: Session) -> None:
    hanging, ended = FakeSpawner("a", "check"), []

    async def end(user: Any, name: str, *_: Any, patience: float) -> None:
        ended.append((user.spawners[name], patience))

    monkeypatch.setattr(reaper, "end", end)
    app = FakeApp(db, hanging)

    @in_loop
    async def look() -> None:
        one = reaper_of(monkeypatch, app, FakeDocker("a"))
        for now in (0.0, 200.0, 261.0):
            assert not ended
            monkeypatch.setattr(time, "monotonic", lambda now=now: now)
            await one._unstick()

    look()
    assert ended == [(hanging, 0)]


def test_a_failed_look_is_not_the_last(monkeypatch: pytest.MonkeyPatch, db: Session) -> None:
    monkeypatch.setattr(reaper, "LOOK_SECONDS", 0)
    docker, app = FakeDocker(), FakeApp(db)
    failures = [OSError("no socket")]

    def fail_once() -> None:
        if failures:
            raise failures.pop()

    docker.while_listing = fail_once

    @in_loop
    async def run() -> None:
        running = asyncio.ensure_future(reaper_of(monkeypatch, app, docker).run())
        while not app.checked:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        running.cancel()

    run()
    assert app.checked == 1  # once a minute
