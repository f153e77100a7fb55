"""The hub, as one of its services sees it: users, their sessions, tokens, archives."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from integrable_jupyterhub_client.errors import (
    HubError,
    NotAllowed,
    NotFound,
    SessionGone,
    StartFailed,
)
from integrable_jupyterhub_client.http import Caller, error_of
from integrable_jupyterhub_client.session import Content, Session

API = "/hub/api"
POLL_S = 0.2


@dataclass(frozen=True)
class Archive:
    """A home that was kept when its session ended; *size* in bytes, of the tar.gz."""

    id: str
    user: str
    created: datetime
    size: int


class Hub:
    """A hub's REST API, by a service token.

    *url*: the public URL, with its path if it has one. *ca*: a PEM file of whom to trust, for a
    certificate that no public authority signed. *patience*: for how many seconds calls are tried
    again while the hub restarts or is full. Every method raises HubError.
    """

    def __init__(
        self, url: str, token: str, ca: Path | str | None = None, *, patience: float = 30
    ) -> None:
        self.public_url = url.rstrip("/").removesuffix(API)
        self.token, self.ca, self.patience = token, ca, patience
        self._caller = Caller(self.api_url, token, ca, patience)
        self.http, self.request = self._caller.http, self._caller.request
        self._ask = self._caller.ask

    @property
    def api_url(self) -> str:
        return self.public_url + API

    # --- A session in one go -------------------------------------------------------------------
    def session(
        self,
        name: str | None = None,
        *,
        files: Mapping[str, Content] | None = None,
        timeout: float = 120,
        purge: bool = False,
    ) -> Session:
        """A new user's session that serves and holds *files* (path: content).

        As a context manager, or by close(), it ends with its user. *name*: the user's; None: a new
        one. *timeout*: seconds until it has to serve. *purge*: at its end nothing is archived.
        """
        new = name or f"u{time.time_ns() // 10**6}_{secrets.randbelow(10**10):010}"
        if not self.create_user(new) and name:
            raise HubError(f"there is a user {name} already: start_server() and attach()", 409)
        try:
            self.start_server(new, timeout=timeout)
            session = self.attach(new, self.mint_token(new))
            session.put(files or {})
        except BaseException:
            with suppress(HubError):
                self.delete_user(new, purge=purge)
            raise
        session.ending = lambda: self.delete_user(new, purge=purge)
        return session

    def attach(self, name: str, token: str | None = None) -> Session:
        """The session of a user, which is somebody else's to end; *token*: None: a new one."""
        token = token or self.mint_token(name)
        url = f"{self.public_url}/user/{quote(name, safe='@')}"
        return Session(url, token, self.ca, patience=self.patience)

    # --- Step by step --------------------------------------------------------------------------
    def create_user(self, name: str) -> bool:
        """Create the user; False if it was there already."""
        return self._ask("POST", _user(name), {201, 409}, repeatable=True).status_code == 201

    def start_server(self, name: str, *, timeout: float = 120) -> None:
        """Start the user's server, if it is not running, and wait until it serves.

        *timeout*: seconds, those included in which the hub is full. Raises HubFull, StartFailed.
        """
        deadline = time.monotonic() + timeout
        path = f"{_user(name)}/server"
        # 201: it serves. 202: still starting. 400: running, or starting already.
        # 500: it did not start, for a reason that the hub tells.
        # 409: a hub that stops lets go of its starts.
        started = self._ask(
            "POST", path, {201, 202, 400, 500}, repeatable=True, again={409}, patience=timeout
        )
        if started.status_code == 500:
            raise StartFailed(str(error_of(f"POST {path}", started)), 500)
        while started.status_code != 201:
            user = self._ask("GET", _user(name), {200}).json()
            server = user.get("servers", {}).get("", {})
            if server.get("ready"):
                return
            if not server:
                raise StartFailed(f"the server of {name} failed to start")
            if time.monotonic() > deadline:
                raise StartFailed(f"the server of {name} does not serve after {timeout:g} s")
            time.sleep(POLL_S)

    def mint_token(self, name: str, *, expires_in: int = 3600) -> str:
        """A token that opens this user's session and nothing else; *expires_in* in seconds.

        Raises SessionGone if there is no such user.
        """
        body = {"scopes": [f"access:servers!user={name}"], "expires_in": expires_in}
        path = f"{_user(name)}/tokens"
        try:
            # One that is minted twice expires unseen.
            answer = self._ask("POST", path, {201}, body=body, repeatable=True)
        except (NotAllowed, NotFound) as error:
            # JupyterHub says 403 where there is nobody.
            if self._ask("GET", _user(name), {200, 404}).status_code == 404:
                raise SessionGone(f"there is no user {name}", 404) from error
            raise
        token: str = answer.json()["token"]
        return token

    def stop_server(self, name: str) -> None:
        """End the user's session, keep the user; nothing to do if there is none."""
        self._ask("DELETE", f"{_user(name)}/server", {202, 204, 404})

    def delete_user(self, name: str, *, purge: bool = False) -> None:
        """Delete the user with its session and all in it; nothing to do if it is gone.

        *purge*: nothing is archived, and what was archived before is erased.
        """
        self._ask("DELETE", f"{_user(name)}{'?purge=1' if purge else ''}", {204, 404})

    # --- Archives ------------------------------------------------------------------------------
    def archives(self, user: str | None = None) -> list[Archive]:
        """What was kept of a user's sessions, or of all, the oldest first."""
        path = "/archives" + (f"?user={quote(user, safe='')}" if user else "")
        found: Iterable[dict[str, Any]] = self._ask("GET", path, {200}).json()
        return [
            Archive(a["id"], a["user"], datetime.fromisoformat(a["created"]), a["size"])
            for a in found
        ]

    def fetch_archive(self, number: str) -> bytes:
        """The archive of this id: a tar.gz. What is in it was a session's: trust no path in it."""
        return self._ask("GET", _archive(number), {200}).content

    def delete_archive(self, number: str) -> None:
        """Erase the archive; nothing to do if it is gone."""
        self._ask("DELETE", _archive(number), {204, 404})

    def restore_archive(self, number: str, user: str) -> None:
        """Put what an archive holds into the user's running session."""
        path = f"{_archive(number)}/restore"
        answer = self._ask("POST", path, {200, 204, 424}, body={"user": user})
        if answer.status_code == 424:
            raise SessionGone(str(error_of(f"POST {path}", answer)), 424)


def _user(name: str) -> str:
    return f"/users/{quote(name, safe='@')}"


def _archive(number: str) -> str:
    return f"/archives/{quote(number, safe='')}"
