"""The database goes away while somebody asks, or while a session stops."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from integrable_jupyterhub import outage
from sqlalchemy.exc import OperationalError
from tornado.web import HTTPError

from tests.unit.images.samples import in_loop

BROKEN = OperationalError("SELECT 1", {}, Exception("the connection is closed"))


class Handler:
    """Who asks is known once the database has failed `failures` times."""

    def __init__(self, failures: int, error: Exception = BROKEN) -> None:
        self.failures, self.error, self.asked = failures, error, 0
        self.rolled_back = 0
        self.db = SimpleNamespace(rollback=self._rollback)

    def _rollback(self) -> None:
        self.rolled_back += 1

    async def get_current_user(self) -> str | None:
        if not hasattr(self, "_jupyterhub_user"):
            self._jupyterhub_user: str | None = None
            self.asked += 1
            if self.asked <= self.failures:
                raise self.error
            self._jupyterhub_user = "lms"
        return self._jupyterhub_user


async def prepared(handler: Handler) -> str | None:
    """Who JupyterHub takes the client for."""
    seen = []

    async def plain(self: Handler) -> None:
        try:
            seen.append(await self.get_current_user())
        except Exception:  # noqa: BLE001
            seen.append(None)

    await outage._prepare(plain)(handler)
    return seen[0]


@in_loop
async def test_a_client_is_known_and_a_broken_connection_is_replaced() -> None:
    well, broken = Handler(0), Handler(1)
    assert (await prepared(well), well.rolled_back) == ("lms", 0)
    assert (await prepared(broken), broken.rolled_back) == ("lms", 1)


@in_loop
async def test_while_the_database_is_away_it_is_503_and_not_403() -> None:
    with pytest.raises(HTTPError) as caught:
        await prepared(Handler(2))
    assert caught.value.status_code == 503
    assert int(caught.value.headers["Retry-After"]) > 0  # type: ignore[attr-defined]


@in_loop
async def test_other_errors_are_left_to_jupyterhub() -> None:
    handler = Handler(9, ValueError("a bad cookie"))
    assert (await prepared(handler), handler.asked) == (None, 2)


class User:
    """Its stop fails half-way until the third time, and leaves the session pending."""

    name = "u"

    def __init__(self) -> None:
        self.spawners = {"": SimpleNamespace(_stop_pending=False)}
        self.log, self.stopped, self.rolled_back = logging.getLogger("test"), 0, 0
        self.db = SimpleNamespace(rollback=self._rollback)

    def _rollback(self) -> None:
        self.rolled_back += 1

    async def stop(self, server_name: str = "") -> None:
        self.spawners[server_name]._stop_pending = True
        self.stopped += 1
        if self.stopped < 3:
            raise BROKEN
        self.spawners.pop(server_name)


@in_loop
async def test_a_stop_goes_on_when_the_database_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "AGAIN_SECONDS", 0)
    user = User()
    await outage._stop(User.stop)(user)
    assert (user.rolled_back, user.spawners) == (2, {})


@in_loop
async def test_a_stop_that_fails_for_good_leaves_nothing_pending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outage, "PATIENCE_SECONDS", 0)
    user: Any = User()
    with pytest.raises(OperationalError):
        await outage._stop(User.stop)(user)
    assert not user.spawners[""]._stop_pending
