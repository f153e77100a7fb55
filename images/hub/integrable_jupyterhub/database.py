"""The database before the hub: reachable, and without tokens that are no longer configured."""

import time
from collections.abc import Callable, Collection
from typing import Any

from jupyterhub.utils import compare_token
from sqlalchemy import URL, Engine, inspect, text
from sqlalchemy.exc import OperationalError

from integrable_jupyterhub.config import ConfigError, Database

ENGINE_OPTIONS: dict[str, Any] = {
    # A connection that a restart of the database has cut is replaced, not reported to a client.
    "pool_pre_ping": True,
    # The hub's event loop stands still while it connects or asks. Where packets get lost (a flushed
    # firewall), TCP by itself would go on trying for as long again as the way was cut, or for ever.
    "connect_args": {
        "connect_timeout": 3,
        "tcp_user_timeout": 5000,  # ms, for what is not acknowledged
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
    },
}


def url(database: Database, password: str) -> str:
    """The address for SQLAlchemy and psycopg 3, password included."""
    return URL.create(
        "postgresql+psycopg",
        username=database.user,
        password=password,
        host=database.host,
        port=database.port,
        database=database.name,
    ).render_as_string(hide_password=False)


def wait(
    engine: Engine,
    seconds: float = 60,
    say: Callable[[str], None] = print,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Return when the database answers; raise ConfigError with its last word after `seconds`."""
    where = f"{engine.url.host}:{engine.url.port}"
    deadline = time.monotonic() + seconds
    waiting = False
    while True:
        try:
            with engine.connect():
                return
        except OperationalError as error:
            if time.monotonic() >= deadline:
                reason = " ".join(str(error.orig).split())
                raise ConfigError(f"no database at {where} after {seconds:g} s: {reason}") from None
        if not waiting:
            say(f"waiting for the database at {where}")
            waiting = True
        pause(0.5)


def revoke_tokens_not_in(engine: Engine, configured: Collection[str]) -> int:
    """Delete the services' configured tokens that are not in `configured`; return how many.

    JupyterHub adds the tokens of its configuration to the database ("from config") and never
    removes them: a token that was replaced would go on working. Plain SQL on three columns, as it
    runs before a new JupyterHub has upgraded its schema.
    """
    if not inspect(engine).has_table("api_tokens"):
        return 0
    with engine.begin() as connection:
        rows = connection.execute(
            text(
                "SELECT id, hashed FROM api_tokens"
                " WHERE note = 'from config' AND service_id IS NOT NULL"
            )
        ).all()
        stale = [
            {"id": row.id}
            for row in rows
            if not any(compare_token(row.hashed, token) for token in configured)
        ]
        if stale:
            connection.execute(text("DELETE FROM api_tokens WHERE id = :id"), stale)
    return len(stale)
