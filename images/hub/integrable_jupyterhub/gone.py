"""What is said where there is no session (any more): JSON to programs, a page to people.

JupyterHub would redirect to a login page, which answers 200: like a session that is alive.
"""

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from jupyterhub.handlers import BaseHandler

from integrable_jupyterhub import drain
from integrable_jupyterhub.config import EndedPage


@dataclass(frozen=True)
class Words:
    """A page, in one language."""

    title: str
    text: str
    advice: str
    link: str
    starting: str
    starting_text: str
    drained: str
    drained_text: str


WORDS = {
    "en": Words(
        "This session has ended",
        "Notebook sessions are short-lived. This one is over, or the link to it has expired."
        " What it held is gone unless your course or application saved it.",
        "Go back to the page you came from and open the notebook there again.",
        "Go back",
        "This session is starting",
        "This page loads again by itself in a few seconds.",
        "Maintenance",
        "Notebook sessions can't be started at the moment. Please come back a little later.",
    ),
    "de": Words(
        "Diese Sitzung ist beendet",
        "Notebook-Sitzungen sind kurzlebig. Diese ist vorbei, oder der Link zu ihr ist abgelaufen."
        " Was in ihr war, ist gelöscht, falls Ihr Kurs oder Ihre Anwendung es nicht gesichert hat.",
        "Gehen Sie zu der Seite zurück, von der Sie kamen, und öffnen Sie das Notebook dort neu.",
        "Zurück",
        "Diese Sitzung startet",
        "Diese Seite lädt sich in einigen Sekunden von selbst neu.",
        "Wartungsarbeiten",
        "Notebook-Sitzungen können zurzeit nicht gestartet werden. Bitte kommen Sie etwas später"
        " wieder.",
    ),
}

NO_USER, STOPPED, NOT_YET = 404, 424, 503
MESSAGES = {
    NO_USER: "no such user",
    STOPPED: "the session has ended",
    NOT_YET: "the session does not answer yet",
    403: "no valid token",
}


def language(accepted: str) -> str:
    """The best of ours by Accept-Language; English where none fits."""
    best, chosen = 0.0, "en"
    for part in accepted.split(","):
        tag, *parameters = part.replace(" ", "").lower().split(";")
        try:
            weight = next((float(p[2:]) for p in parameters if p.startswith("q=")), 1.0)
        except ValueError:
            continue
        found = tag.partition("-")[0]
        if found in WORDS and weight > best:
            best, chosen = weight, found
    return chosen


def is_program(method: str, rest: str, accept: str) -> bool:
    """Does a program ask, or a person's browser? `rest` is the path below /user/NAME."""
    return (
        method not in ("GET", "HEAD")
        or rest.split("/")[1:2] == ["api"]
        or ("application/json" in accept and "text/html" not in accept)
    )


def status_of(user: Any) -> int:
    """How it stands with a user's session that the proxy does not reach."""
    if user is None:
        return NO_USER
    spawner = user.spawners.get("")
    starting = spawner and (spawner.pending in ("spawn", "check") or spawner.ready)
    return NOT_YET if starting else STOPPED


class Gone(BaseHandler):  # type: ignore[misc]
    """Answers in words; knows nobody, asks for no token, sets no cookie."""

    async def prepare(self) -> None:
        """Without JupyterHub's look at who asks."""
        self._jupyterhub_user = None
        self.parsed_scopes: dict[str, Any] = {}  # JupyterHub's own pages of errors look at it

    async def say(self, status: int, program: bool) -> None:
        # To programs it stays what it is: whether that session is over. Starting one is a 503.
        drained = drain.read() if status in (NO_USER, STOPPED) and not program else None
        self.set_status(NOT_YET if drained else status)
        self.set_header("Cache-Control", "no-store")
        if drained:
            self.set_header("Retry-After", str(drained.retry_after(time.time())))
        if status == NOT_YET:
            self.set_header("Retry-After", "2")
        if program:
            self.set_header("Content-Type", "application/json")
            self.finish(json.dumps({"status": status, "message": MESSAGES[status]}))
            return
        if status == NOT_YET:
            self.set_header("Refresh", "3")
        chosen = language(self.request.headers.get("Accept-Language", ""))
        page: EndedPage = self.settings["ended_page"]
        template = self.settings["jinja2_env"].get_template("no_session.html")
        self.set_header("Content-Language", chosen)
        self.add_header("Vary", "Accept-Language")
        self.finish(
            await template.render_async(
                words=WORDS[chosen],
                language=chosen,
                text=getattr(page, f"text_{chosen}"),
                link=page.link,
                starting=status == NOT_YET,
                drained=bool(drained),
            )
        )


class NoSession(Gone):
    """Where JupyterHub, and sessions, send everybody without a valid token.

    The status stays 403: API clients follow redirects to here, and 200 would mean a live session.
    """

    async def get(self) -> None:
        await self.say(403, is_program("GET", "", self.request.headers.get("Accept", "")))


class Maintenance(Gone):
    """/hub/maintenance: when the sessions end, for the banner in each; no secret, as little as
    that they have ended."""

    def get(self) -> None:
        drained = drain.read()
        ends = drained.deadline if drained else None
        told = datetime.fromtimestamp(ends, UTC).isoformat() if ends is not None else None
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"drained": drained is not None, "ends": told}))


class NoServer(Gone):
    """/user/NAME/…, when the proxy knows no way there.

    Whether a name exists is no secret: a running session tells by answering at all.
    """

    async def answer(self, user_name: str, rest: str | None) -> None:
        request = self.request
        accept = request.headers.get("Accept", "")
        status = status_of(self.find_user(user_name))
        await self.say(status, is_program(request.method, rest or "", accept))

    get = head = post = put = patch = delete = answer

    def options(self, user_name: str, rest: str | None) -> None:
        """A browser asks whether it may ask."""
        self.set_status(204)


class Unreachable(Gone):
    """/hub/error/CODE?url=…: the proxy asks what to say where it did not get through.

    It passes on the body and its type, and has chosen the status.
    """

    async def get(self, code: str) -> None:
        path = urlsplit(self.get_argument("url", "")).path
        name, rest = user_and_rest(path, self.base_url)
        user = self.find_user(name) if name else None
        spawner = user.spawners.get("") if user else None
        if spawner and spawner.ready:
            # A container that crashed is noticed now, not at the next regular look.
            self.settings["look"](spawner)
        await self.say(STOPPED if code == "404" else NOT_YET, is_program("GET", rest, ""))


def user_and_rest(path: str, base_url: str) -> tuple[str, str]:
    """The user's name in /user/NAME/…, and what follows it; empty when it is no such path."""
    name, slash, rest = path.removeprefix(f"{base_url}user/").partition("/")
    return (unquote(name), slash + rest) if path.startswith(f"{base_url}user/") else ("", "")
