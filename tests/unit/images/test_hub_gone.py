"""What is said where there is no session: served by tornado, asked by HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import integrable_jupyterhub
import pytest
from integrable_jupyterhub import drain, embedding, gone
from integrable_jupyterhub.config import EndedPage
from integrable_jupyterhub.gone import (
    Maintenance,
    NoServer,
    NoSession,
    Unreachable,
    is_program,
    language,
    user_and_rest,
)
from jinja2 import Environment, FileSystemLoader
from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.handlers import BaseHandler
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application

from tests.unit.images.samples import in_loop

LMS, PORTAL, EVIL = "https://lms.example", "https://portal.example", "https://evil.example"

PLAIN = BaseHandler.set_default_headers


def spawner(pending: str | None = None, ready: bool = False) -> Any:
    return SimpleNamespace(pending=pending, ready=ready)


USERS = {
    "stopped": SimpleNamespace(spawners={}),
    "stopping": SimpleNamespace(spawners={"": spawner("stop")}),
    "starting": SimpleNamespace(spawners={"": spawner("spawn")}),
    "looked for": SimpleNamespace(spawners={"": spawner("check")}),
    "serving": SimpleNamespace(spawners={"": spawner(ready=True)}),
}


@pytest.fixture(autouse=True)
def origins(monkeypatch: pytest.MonkeyPatch) -> None:
    """JupyterHub's handlers as the hub has them, for one test."""
    for name in ("set_default_headers", "content_security_policy"):
        monkeypatch.setattr(BaseHandler, name, getattr(BaseHandler, name))
    monkeypatch.setattr(gone.Gone, "find_user", lambda _, name: USERS.get(name))
    embedding.install((LMS, PORTAL))


class Asker:
    def __init__(self, port: int, looked: list[Any]) -> None:
        self.port, self.looked = port, looked

    async def ask(self, path: str, method: str = "GET", **headers: str) -> HTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await AsyncHTTPClient().fetch(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            headers=named,
            body=b"" if method in ("POST", "PUT", "PATCH") else None,
            raise_error=False,
            follow_redirects=False,
        )


class Api(APIHandler):  # type: ignore[misc]
    async def prepare(self) -> None:
        self._jupyterhub_user = None

    def get(self) -> None:
        self.finish("{}")


@asynccontextmanager
async def hub(**page: Any) -> AsyncIterator[Asker]:
    templates = Path(integrable_jupyterhub.__file__).parent / "templates"
    looked: list[Any] = []
    app = Application(
        [
            (r"/user/(?P<user_name>[^/]+)(?P<rest>/.*)?", NoServer),
            (r"/hub/login", NoSession),
            (r"/hub/maintenance", Maintenance),
            (r"/hub/error/(?P<code>\d+)", Unreachable),
            (r"/hub/api/x", Api),
        ],
        db=SimpleNamespace(dirty=False),
        hub=SimpleNamespace(base_url="/hub/"),
        ended_page=EndedPage(**page),
        look=looked.append,
        jinja2_env=Environment(
            loader=FileSystemLoader(templates), autoescape=True, enable_async=True
        ),
    )
    server = HTTPServer(app)
    socket, port = bind_unused_port()
    server.add_socket(socket)
    try:
        yield Asker(port, looked)
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("nobody", 404),
        ("stopped", 424),
        ("stopping", 424),
        ("starting", 503),
        ("looked%20for", 503),
        ("serving", 503),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_a_program_is_told_how_it_stands(method: str, name: str, status: int) -> None:
    @in_loop
    async def ask() -> None:
        async with hub() as here:
            answer = await here.ask(f"/user/{name}/api/status", method)
        assert answer.code == status
        assert json.loads(answer.body)["status"] == status
        assert answer.headers["Content-Type"] == "application/json"
        assert "Set-Cookie" not in answer.headers
        assert ("Retry-After" in answer.headers) is (status == 503)

    ask()


@in_loop
async def test_people_get_a_page_in_their_language() -> None:
    async with hub() as here:
        english = await here.ask("/user/nobody/lab?token=x", Accept="text/html,*/*")
        german = await here.ask("/user/stopped/lab", Accept_Language="de-AT,de;q=0.9,en;q=0.8")
        starting = await here.ask("/user/starting/lab")
        login = await here.ask("/hub/login?next=x")
    assert (english.code, german.code, starting.code, login.code) == (404, 424, 503, 403)
    assert '<html lang="en">' in english.body.decode()
    assert "This session has ended" in english.body.decode()
    assert '<html lang="de">' in german.body.decode()
    assert "Diese Sitzung ist beendet" in german.body.decode()
    assert "is starting" in starting.body.decode()
    assert "Refresh" in starting.headers
    assert "Refresh" not in english.headers
    for answer in (english, german, starting, login):
        assert "Set-Cookie" not in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"


@in_loop
async def test_text_and_link_are_settings_and_no_html() -> None:
    async with hub(text_de="Zurück <b>zum Kurs</b>", link=f"{LMS}/?a=1&b=2") as here:
        german = (await here.ask("/user/nobody/lab", Accept_Language="de")).body.decode()
        english = (await here.ask("/user/nobody/lab")).body.decode()
    assert "Zurück &lt;b&gt;zum Kurs" in german
    assert f'href="{LMS}/?a=1&amp;b=2"' in german
    assert "short-lived" in english


@in_loop
async def test_the_proxys_question_has_an_unreachable_session_looked_at() -> None:
    async with hub() as here:
        program = await here.ask("/hub/error/503?url=%2Fuser%2Fserving%2Fapi%2Fstatus")
        people = await here.ask("/hub/error/503?url=%2Fuser%2Fstopped%2Flab%3Ftoken%3Dx")
        nobody = await here.ask("/hub/error/404?url=%2Fwhatever")
    assert json.loads(program.body)["status"] == 503
    assert "is starting" in people.body.decode()
    assert nobody.code == 404 or "has ended" in nobody.body.decode()
    assert here.looked == [USERS["serving"].spawners[""]]


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", "en"),
        ("de", "de"),
        ("fr, de;q=0.5", "de"),
        ("de;q=0.5, en;q=0.9", "en"),
        ("de;q=0", "en"),
        ("DE-ch", "de"),
        ("de;q=x, fr", "en"),
    ],
)
def test_the_language_is_the_best_of_ours(accepted: str, chosen: str) -> None:
    assert language(accepted) == chosen


@pytest.mark.parametrize(
    ("method", "rest", "accept", "program"),
    [
        ("GET", "/api/status", "text/html", True),
        ("GET", "/lab", "application/json", True),
        ("GET", "/lab", "text/html,application/json", False),
        ("GET", "/lab/tree/api/x", "*/*", False),
        ("GET", "", "", False),
        ("PUT", "/lab", "text/html", True),
    ],
)
def test_programs_are_told_from_people(method: str, rest: str, accept: str, program: bool) -> None:
    assert is_program(method, rest, accept) is program


def test_the_users_name_is_read_from_a_path() -> None:
    assert user_and_rest("/j/user/a%20b/api/x", "/j/") == ("a b", "/api/x")
    assert user_and_rest("/j/user/a", "/j/") == ("a", "")
    assert user_and_rest("/user/a/api", "/j/") == ("", "")


@pytest.mark.parametrize("path", ["/hub/api/x", "/user/nobody/api/status"])
def test_listed_origins_may_ask_the_api_and_others_may_not(path: str) -> None:
    @in_loop
    async def ask() -> None:
        async with hub() as here:
            for origin in (LMS, PORTAL):
                for method in ("OPTIONS", "GET"):
                    headers = (await here.ask(path, method, Origin=origin)).headers
                    assert headers["Access-Control-Allow-Origin"] == origin
                    assert headers["Access-Control-Allow-Credentials"] == "true"
                    assert "DELETE" in headers["Access-Control-Allow-Methods"]
                    assert "authorization" in headers["Access-Control-Allow-Headers"]
                    assert "Origin" in headers.get_list("Vary")
            for others in ({"Origin": EVIL}, {"Origin": f"{LMS}.evil.example"}, {}):
                headers = (await here.ask(path, **others)).headers
                assert "Access-Control-Allow-Origin" not in headers
                assert "Access-Control-Allow-Credentials" not in headers
                assert "Origin" in headers.get_list("Vary")

    ask()


@in_loop
async def test_a_page_is_for_no_other_origins_programs() -> None:
    async with hub() as here:
        headers = (await here.ask("/hub/login", Origin=LMS)).headers
    assert "Access-Control-Allow-Origin" not in headers
    assert headers["Content-Security-Policy"] == f"frame-ancestors 'self' {LMS} {PORTAL}"


@in_loop
async def test_without_origins_nobody_frames_and_nobody_asks() -> None:
    BaseHandler.set_default_headers = PLAIN
    embedding.install(())
    async with hub() as here:
        headers = (await here.ask("/hub/api/x", Origin=LMS)).headers
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'; default-src 'none'"
    assert not {"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"} & headers.keys()


# --- Drained ---------------------------------------------------------------------------------
@pytest.fixture
def drained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "state.json"
    file.write_text('{"minutes": 1, "deadline": 4102444800}')
    monkeypatch.setattr(drain, "FILE", file)


@pytest.mark.usefixtures("drained")
@in_loop
async def test_while_the_hub_is_drained_people_read_of_maintenance_and_programs_the_truth() -> None:
    async with hub(text_en="Our own words.") as here:
        person = await here.ask("/user/stopped/lab", Accept="text/html")
        german = await here.ask("/user/nobody/lab", Accept_Language="de")
        program = await here.ask("/user/stopped/api/status")
        starting = await here.ask("/user/starting/lab")
        login = await here.ask("/hub/login?next=x")
        told = await here.ask("/hub/maintenance")
    assert (person.code, german.code, program.code) == (503, 503, 424)
    assert int(person.headers["Retry-After"]) > 3600
    assert "<h1>Maintenance</h1>" in person.body.decode()
    assert "Our own words" not in person.body.decode()
    assert "Wartungsarbeiten" in german.body.decode()
    # Who has no valid token is told so, whatever else is the matter.
    assert login.code == 403
    assert starting.headers["Retry-After"] == "2"
    assert json.loads(told.body) == {"drained": True, "ends": "2100-01-01T00:00:00+00:00"}


@in_loop
async def test_a_hub_that_is_not_drained_says_so() -> None:
    async with hub() as here:
        told = await here.ask("/hub/maintenance")
    assert json.loads(told.body) == {"drained": False, "ends": None}
    assert told.headers["Cache-Control"] == "no-store"
