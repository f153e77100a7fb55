"""An internal service: gives a restarted proxy its routes back.

The proxy keeps its routes in memory. JupyterHub itself checks them with every `last_activity_interval`
only; sessions would stay unreachable until then.
"""

import json
import os
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

from integrable_jupyterhub.config import SECRETS_FOLDER, HubConfig, read_secret

WATCH_SECONDS = 1.0
# Just restarted, or on its way down: look more often.
AWAY_SECONDS = 0.2


def has_hub_route(routes: Mapping[str, Mapping[str, Any]]) -> bool:
    """Does this routing table come from the hub? A fresh proxy knows its --default-target at most."""
    return any(route.get("hub") for route in routes.values())


class Watch:
    """One proxy, watched for one hub."""

    def __init__(self, proxy_api: str, proxy_token: str, hub_api: str, hub_token: str) -> None:
        self.routes = _request(f"{proxy_api}/api/routes", proxy_token, "GET")
        self.refresh = _request(f"{hub_api}/proxy", hub_token, "POST")

    def look(self) -> float:
        """Look once, let the hub restore what is missing; return the seconds until the next look."""
        try:
            with urllib.request.urlopen(self.routes, timeout=5) as answer:
                routes = json.load(answer)
            if has_hub_route(routes):
                return WATCH_SECONDS
            with urllib.request.urlopen(self.refresh, timeout=30):
                print("routes: the proxy had lost its routes; restored", flush=True)
            return WATCH_SECONDS
        except (OSError, ValueError):
            return AWAY_SECONDS


def _request(url: str, token: str, method: str) -> urllib.request.Request:
    return urllib.request.Request(url, method=method, headers={"Authorization": f"token {token}"})


def main() -> int:
    config = HubConfig.load()
    watch = Watch(
        config.proxy_api_url,
        read_secret(SECRETS_FOLDER / "proxy_token"),
        config.hub_api_url,
        os.environ["JUPYTERHUB_API_TOKEN"],
    )
    while True:
        time.sleep(watch.look())
