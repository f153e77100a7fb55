"""The clock jumps: nothing that JupyterHub has noted gets older by it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from integrable_jupyterhub.clock import Clock
from jupyterhub import orm
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

LOG = logging.getLogger()
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC).replace(tzinfo=None)  # as JupyterHub notes it
HOUR = timedelta(hours=1)


class Watches:
    """Of a host: time goes on by both, but one may be set."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_000_000.0, 50.0
        self.clock = Clock(lambda: self.wall, lambda: self.steady)

    def pass_by(self, seconds: float, jump: float = 0.0) -> None:
        self.wall += seconds + jump
        self.steady += seconds


@pytest.fixture
def db(tmp_path: Path) -> Session:
    session: Session = orm.new_session_factory(f"sqlite:///{tmp_path / 'hub.sqlite'}")()
    user = orm.User(name="ada", created=NOON, last_activity=NOON)
    session.add(user)
    session.add(orm.User(name="never"))
    session.add(orm.Spawner(name="", user=user, started=NOON, last_activity=NOON))
    session.add(orm.OAuthClient(identifier="jupyterhub", secret="", redirect_uri=""))
    session.commit()
    user.new_api_token(expires_in=3600, note="for the browser")
    session.query(orm.APIToken).one().expires_at = NOON
    session.commit()
    return session


def noted(db: Session) -> set[Any]:
    ada = db.query(orm.User).filter_by(name="ada").one()
    spawner, token = db.query(orm.Spawner).one(), db.query(orm.APIToken).one()
    return {
        ada.created, ada.last_activity, spawner.started, spawner.last_activity, token.expires_at
    }  # fmt: skip


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_what_is_noted_jumps_along_once(db: Session, jump: timedelta) -> None:
    watches = Watches()
    watches.pass_by(7, jump.total_seconds())
    for _ in range(2):
        watches.clock.settle(db, LOG)
        assert noted(db) == {NOON + jump}
    db.expire_all()
    assert noted(db) == {NOON + jump}, "it is in the database, too"
    assert db.query(orm.User).filter_by(name="never").one().last_activity is None


def test_time_that_passes_is_no_jump_nor_is_a_clock_that_is_set_a_little(db: Session) -> None:
    watches = Watches()
    for _ in range(100):
        watches.pass_by(100, 20)
        watches.clock.settle(db, LOG)
    assert noted(db) == {NOON}


def test_a_jump_waits_for_the_database(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    watches = Watches()
    watches.pass_by(1, 3600)
    with monkeypatch.context() as broken:

        def away() -> None:
            raise OperationalError("UPDATE", {}, Exception("the connection is closed"))

        broken.setattr(db, "commit", away)
        watches.clock.settle(db, LOG)
    db.expire_all()
    assert noted(db) == {NOON}
    watches.clock.settle(db, LOG)
    assert noted(db) == {NOON + HOUR}
