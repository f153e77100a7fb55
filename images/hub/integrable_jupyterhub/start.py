"""Starts the hub: checks what it is told, waits for its database, then becomes JupyterHub."""

import os
import sys

from sqlalchemy import create_engine

from integrable_jupyterhub import database
from integrable_jupyterhub.config import ConfigError, HubConfig, Secrets

JUPYTERHUB_CONFIG = "/opt/hub/jupyterhub_config.py"


def _say(line: str) -> None:
    print(f"hub: {line}", file=sys.stderr, flush=True)


def hub() -> int:
    try:
        config, secrets = HubConfig.load(), Secrets.load()
        engine = create_engine(
            database.url(config.database, secrets.database_password), **database.ENGINE_OPTIONS
        )
        database.wait(engine, say=_say)
        revoked = database.revoke_tokens_not_in(engine, secrets.all_service_tokens)
        engine.dispose()
    except ConfigError as error:
        _say(str(error))
        return 1
    if revoked:
        _say(f"revoked {revoked} service tokens that are no longer configured")
    os.execv(sys.executable, [sys.executable, "-m", "jupyterhub", "-f", JUPYTERHUB_CONFIG])
