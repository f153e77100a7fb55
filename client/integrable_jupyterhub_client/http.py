"""Calls to hub and session: what is tried again, what becomes of an answer that is an error."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from integrable_jupyterhub_client.errors import (
    HubError,
    HubFull,
    HubUnreachable,
    NotAllowed,
    NotFound,
)

CALL_S = 60
PAUSE_S = 0.5
AWAY = {502, 503}
"""The hub restarts, or what stands before it does not reach it."""
ONCE_MORE = {403}
"""JupyterHub that lost its database knows no token, for one call."""
REPEATABLE = {"GET", "HEAD", "PUT", "DELETE"}


@dataclass
class Caller:
    """HTTP below *url* with one *token*.

    *ca*: a PEM file of whom to trust; None: the authorities that requests brings along.
    The environment's proxies and certificates are not looked at; `http` is there to be set up.
    """

    url: str
    token: str = field(repr=False)
    ca: Path | str | None = None
    patience: float = 30
    """For how many seconds a call is tried again while the hub is away or full."""
    http: requests.Session = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.url = self.url.rstrip("/")
        self.http = requests.Session()
        self.http.trust_env = False  # or REQUESTS_CA_BUNDLE would win over verify
        self.http.verify = str(self.ca) if self.ca else True
        self.http.headers.update(
            {"Authorization": f"token {self.token}", "Accept": "application/json"}
        )

    def request(
        self, method: str, path: str, *, body: Any = None, timeout: float = CALL_S
    ) -> requests.Response:
        """One call, tried once, its answer as it is; no redirect is followed.

        Raises requests' exceptions.
        """
        return self.http.request(
            method, f"{self.url}{path}", json=body, timeout=timeout, allow_redirects=False
        )

    def ask(
        self,
        method: str,
        path: str,
        allowed: Collection[int],
        *,
        body: Any = None,
        repeatable: bool = False,
        again: Collection[int] = (),
        patience: float | None = None,
    ) -> requests.Response:
        """A call whose answer has to be among *allowed*.

        Tried again: after a 429, when `Retry-After` says; once after a 403; after no answer, 502 or
        503, and what is in *again*, only where a second time does no harm: GET, PUT, DELETE, and
        what is *repeatable*.
        """
        deadline = time.monotonic() + (self.patience if patience is None else patience)
        repeatable = repeatable or method in REPEATABLE
        refused = False
        if not repeatable:
            self.http.close()  # one that lies idle: the other side may close it just now
        while True:
            left = deadline - time.monotonic()
            # The last try, too, may take some time: one that serves is worth waiting for.
            try:
                answer = self.request(method, path, body=body, timeout=max(CALL_S, left))
            except requests.RequestException as error:
                # A certificate does not become right; a handshake that was cut is worth a try.
                wrong = isinstance(error, requests.exceptions.SSLError) and not _cut(error)
                if wrong or not repeatable or left < PAUSE_S:
                    raise HubUnreachable(f"{method} {path}: {error}") from error
                time.sleep(PAUSE_S)
                continue
            status = answer.status_code
            if status in allowed:
                return answer
            pause = retry_after(answer, PAUSE_S)
            if status in ONCE_MORE and not refused:
                refused = True
            elif not (status == 429 or (repeatable and status in {*AWAY, *again})) or pause > left:
                raise error_of(f"{method} {path}", answer)
            time.sleep(pause)


def _cut(error: requests.RequestException) -> bool:
    """Whether a TLS handshake ended in its middle, by a server or a firewall that came or went."""
    return "SSLEOFError" in str(error) or "SSLZeroReturnError" in str(error)


def retry_after(answer: requests.Response, otherwise: float) -> float:
    """The seconds that an answer asks to wait; HTTP's dates are not read."""
    told = answer.headers.get("Retry-After", "")
    return float(told) if told.isdecimal() else otherwise


def message_of(answer: requests.Response) -> str:
    """What an answer says, in one line."""
    try:
        text = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        text = answer.text
    return " ".join(text.split())[:300]


def error_of(call: str, answer: requests.Response) -> HubError:
    """The error that an answer is."""
    status = answer.status_code
    text = f"{call}: {status} {message_of(answer)}"
    if status == 429:
        return HubFull(text, retry_after(answer, 1))
    if status in AWAY:
        return HubUnreachable(text, status)
    # 302: to where those go who have no valid token.
    kinds = {302: NotAllowed, 401: NotAllowed, 403: NotAllowed, 404: NotFound}
    return kinds.get(status, HubError)(text, status)


def from_the_hub(answer: requests.Response) -> bool:
    """Whether the hub speaks in a session's place: its errors tell their status."""
    try:
        return bool(json.loads(answer.content)["status"] == answer.status_code)
    except (ValueError, KeyError, TypeError):
        return False
