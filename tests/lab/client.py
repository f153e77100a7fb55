"""The product's client, and what only tests want of it: any call, and its answer as it is."""

from __future__ import annotations

from typing import Any

import integrable_jupyterhub_client as client
import requests
from integrable_jupyterhub_client import HubError as ClientError
from integrable_jupyterhub_client import Session

__all__ = ["ClientError", "Hub", "Session"]


class Hub(client.Hub):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # A call is tried once: it must not find that the proxy closes an idle connection just then.
        self.http.headers["Connection"] = "close"

    def start_server(self, name: str, *, timeout: float | None = None) -> None:
        super().start_server(name, timeout=timeout or 4 * self.patience)

    def call(
        self, method: str, path: str, *allowed: int, body: dict[str, Any] | None = None
    ) -> requests.Response:
        """One API call, tried once; its status has to be among *allowed* (none: any)."""
        answer = self.request(method, path, body=body)
        if allowed and answer.status_code not in allowed:
            raise ClientError(
                f"{method} {path}: {answer.status_code}, not {allowed}: {answer.text}"
            )
        return answer
