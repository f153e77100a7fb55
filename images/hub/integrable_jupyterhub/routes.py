"""An internal service: gives a restarted proxy its routes back.

The proxy keeps its routes in memory. JupyterHub checks them only once per
`last_activity_interval`; sessions would stay unreachable until then.
"""

import json
import os
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from integrable_jupyterhub.config import SECRETS_FOLDER, HubConfig, read_secret

WATCH_SECONDS = 1.0
# The proxy is away, on its way down or up: look more often.
AWAY_SECONDS = 0.2


def has_hub_route(routes: Mapping[str, Mapping[str, Any]]) -> bool:
    """Does this table come from the hub? A fresh proxy knows its --default-target at most."""
    return any(route.get("hub") for route in routes.values())


def look(proxy_api: str, proxy_token: str, hub_api: str, hub_token: str) -> float:
    """Look once, let the hub restore what is missing; return the seconds to the next look."""
    try:
        if not has_hub_route(json.loads(_ask("GET", f"{proxy_api}/api/routes", proxy_token))):
            _ask("POST", f"{hub_api}/proxy", hub_token)
            print("routes: the proxy had lost its routes; restored", flush=True)
    except (OSError, HTTPException, ValueError):
        return AWAY_SECONDS
    return WATCH_SECONDS


def _ask(method: str, url: str, token: str) -> bytes:
    where = urlsplit(url)
    connection = HTTPConnection(where.netloc, timeout=10)
    try:
        connection.request(method, where.path, headers={"Authorization": f"token {token}"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise HTTPException(f"{answer.status} from {url}")
        return answer.read()
    finally:
        connection.close()


def main() -> int:
    """Watch until JupyterHub ends, which interrupts its services."""
    config = HubConfig.load()
    proxy_token = read_secret(SECRETS_FOLDER / "proxy_token")
    hub_token = os.environ["JUPYTERHUB_API_TOKEN"]
    try:
        while True:
            time.sleep(look(config.proxy_api_url, proxy_token, config.hub_api_url, hub_token))
    except KeyboardInterrupt:
        return 0
