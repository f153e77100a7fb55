"""What happens to the database before the hub starts. On SQLite, with JupyterHub's own tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from integrable_jupyterhub import database, revisions
from integrable_jupyterhub.config import ConfigError
from jupyterhub import orm
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

OLD, NEW, OTHER = "o" * 64, "n" * 64, "x" * 64


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Services `lms` and `portal` with a token each, and a user whose token has a sly note."""
    factory = orm.new_session_factory(f"sqlite:///{tmp_path / 'hub.sqlite'}")
    session: Session = factory()
    session.add(orm.OAuthClient(identifier="jupyterhub", secret="", redirect_uri=""))
    lms, portal, user = orm.Service(name="lms"), orm.Service(name="portal"), orm.User(name="u")
    session.add_all([lms, portal, user])
    session.commit()
    lms.new_api_token(OLD, note="from config", generated=False)
    portal.new_api_token(OTHER, note="from config", generated=False)
    user.new_api_token("u" * 64, note="from config", generated=False)
    yield session
    session.close()


def engine_of(session: Session) -> Engine:
    engine = session.get_bind()
    assert isinstance(engine, Engine)
    return engine


def test_a_replaced_token_stops_working(session: Session) -> None:
    assert orm.APIToken.find(session, OLD)  # the positive control
    assert database.revoke_tokens_not_in(engine_of(session), {NEW, OTHER}) == 1
    session.expire_all()
    assert orm.APIToken.find(session, OLD) is None
    assert orm.APIToken.find(session, OTHER)


def test_nobody_elses_tokens_are_touched(session: Session) -> None:
    assert database.revoke_tokens_not_in(engine_of(session), set()) == 2
    assert orm.APIToken.find(session, "u" * 64)


def test_configured_tokens_stay(session: Session) -> None:
    assert database.revoke_tokens_not_in(engine_of(session), {OLD, OTHER}) == 0
    assert orm.APIToken.find(session, OLD)


def test_an_empty_database_is_fine(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    assert database.revoke_tokens_not_in(engine, {NEW}) == 0


def test_the_hub_waits_until_its_database_answers(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    engine = create_engine(f"sqlite:///{folder / 'hub.sqlite'}")
    said: list[str] = []
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            folder.mkdir()

    database.wait(engine, say=said.append, pause=pause)
    assert len(pauses) == 3
    assert len(said) == 1
    assert "waiting for the database" in said[0]


def test_a_database_that_never_comes_is_said_in_one_line_without_the_password() -> None:
    url = "postgresql+psycopg://hub:verysecret@127.0.0.1:1/hub"
    with pytest.raises(ConfigError, match=r"no database at 127\.0\.0\.1:1 after 0 s") as caught:
        database.wait(create_engine(url), seconds=0, say=lambda _: None, pause=lambda _: None)
    assert "verysecret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_tells_which_schemas_it_knows_its_own_first(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    assert revisions.main() == 0
    known = capsys.readouterr().out.split()
    assert known[0] == session.execute(text("SELECT version_num FROM alembic_version")).scalar()
    assert "4621fec11365" in known  # JupyterHub 5's
