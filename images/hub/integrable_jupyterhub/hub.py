"""Starts the hub: checks what it is told, prepares its database, then becomes JupyterHub."""

import os
import sys

from sqlalchemy import create_engine

from integrable_jupyterhub import database
from integrable_jupyterhub.config import ConfigError, HubConfig, Secrets


def _say(line: str) -> None:
    print(f"hub: {line}", file=sys.stderr, flush=True)


def prepare() -> None:
    """What is wrong shows here, as one line, instead of in a traceback of JupyterHub."""
    config, secrets = HubConfig.load(), Secrets.load()
    url = database.url(config.database, secrets.database_password)
    engine = create_engine(url, **database.ENGINE_OPTIONS)
    database.wait(engine, say=_say)
    revoked = database.revoke_tokens_not_in(engine, secrets.all_service_tokens)
    engine.dispose()
    if revoked:
        _say(f"revoked service tokens that are no longer configured: {revoked}")


def main() -> int:
    """Does not return unless something is wrong."""
    try:
        prepare()
    except ConfigError as error:
        _say(str(error))
        return 1
    return os.execv(sys.executable, [sys.executable, "-m", "integrable_jupyterhub", "app"])
