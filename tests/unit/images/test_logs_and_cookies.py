"""Logs without tokens, cookies with Partitioned, and the session's server configuration."""

import http.cookies
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tornado.httputil
from integrable_jupyterhub import cookies, redact
from tornado.web import Application, RequestHandler
from traitlets.config import Config

SERVER_CONFIG = Path(__file__).parents[3] / "images" / "notebook" / "jupyter_server_config.py"
CULL = ("CULL_IDLE_SECONDS", "CULL_MAX_AGE_SECONDS")
SECRET = "0123456789abcdef"
LOGGED = [
    f"302 GET /user/u/lab?token={SECRET} -> /hub/login",
    f"/hub/login?next=%2Fuser%2Fu%2Flab%3Ftoken%3D{SECRET}%26reset",
    f"/hub/error/503?url=%2Flab%253Ftoken%253D{SECRET}",
    f"/lab?a=1&token={SECRET}&b=2",
    f'"Referer": "https://x/?TOKEN={SECRET}"',
]


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """These things are global to a process."""
    factory = logging.getLogRecordFactory()
    morsel: Any = http.cookies.Morsel
    monkeypatch.setattr(morsel, "_reserved", {**morsel._reserved})
    monkeypatch.setattr(morsel, "_flags", {*morsel._flags} - {"partitioned"})
    morsel._reserved.pop("partitioned", None)
    for name in ("set_cookie", "set_header"):
        monkeypatch.setattr(RequestHandler, name, getattr(RequestHandler, name))
    yield
    logging.setLogRecordFactory(factory)
    tornado.httputil.set_parse_body_config(tornado.httputil.ParseBodyConfig())


@pytest.mark.parametrize("line", LOGGED)
def test_a_token_is_hidden_and_the_rest_is_kept(line: str) -> None:
    assert redact.redact(line) == line.replace(SECRET, "[secret]")


def test_what_is_no_token_is_kept() -> None:
    line = "201 POST /hub/api/users/u/tokens (integrator@172.27.0.4) 12ms"
    assert redact.redact(line) == line


def test_every_logger_is_covered(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("any").error("GET /lab?token=%s", SECRET)
    assert SECRET in caplog.text  # the positive control
    caplog.clear()
    redact.install()
    logging.getLogger("any").error("GET /lab?token=%s", SECRET)
    assert SECRET not in caplog.text
    assert "token=[secret]" in caplog.text


def test_partitioned_cookies_can_be_set() -> None:
    cookies.allow_partitioned()
    cookie = http.cookies.SimpleCookie({"a": "b"})
    cookie["a"]["partitioned"] = True
    assert cookie.output() == "Set-Cookie: a=b; Partitioned"


def server_config(monkeypatch: pytest.MonkeyPatch, **env: str) -> Config:
    c = Config()
    for name in ("ACCESS_CONTROL_ORIGINS", "COOKIE_MAX_AGE", *CULL):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    exec(SERVER_CONFIG.read_text(), {"get_config": lambda: c})  # noqa: S102
    return c


def parse_as_a_form(body: bytes) -> None:
    tornado.httputil.parse_body_arguments("application/x-www-form-urlencoded", body, {}, {})


def test_a_file_full_of_ampersands_can_be_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"content": "' + b"&a" * 5000 + b'"}'
    with pytest.raises(tornado.httputil.HTTPInputError):
        parse_as_a_form(body)  # the positive control
    server_config(monkeypatch)
    parse_as_a_form(body)


def test_a_session_hides_tokens_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server_config(monkeypatch)
    for line in LOGGED:
        logging.getLogger("ServerApp").error(line)
    assert SECRET not in caplog.text
    assert caplog.text.count("[secret]") == len(LOGGED)


def test_a_session_asks_nobody_for_news(monkeypatch: pytest.MonkeyPatch) -> None:
    c = server_config(monkeypatch)
    assert c.LabApp.news_url is None
    assert c.LabApp.check_for_updates_class == "jupyterlab.NeverCheckForUpdate"
    page = json.loads((SERVER_CONFIG.parent / "page_config.json").read_text())
    assert page["disabledExtensions"]["@jupyterlab/apputils-extension:announcements"] is True


def test_nobody_embeds_a_session_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    server = server_config(monkeypatch).ServerApp
    assert server.tornado_settings["headers"] == {
        "Content-Security-Policy": "frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
    }
    assert not {"allow_origin_pat", "allow_credentials"} & set(server)


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({}, {}),
        (
            {"ACCESS_CONTROL_ORIGINS": "https://a;https://b"},
            {"origins": ["https://a", "https://b"]},
        ),
        (
            {"CULL_IDLE_SECONDS": "1800", "CULL_MAX_AGE_SECONDS": "28800"},
            {"idleSeconds": 1800, "maxAgeSeconds": 28800},
        ),
        ({"JUPYTERHUB_BASE_URL": "/jupyter/"}, {"hub": "/jupyter/hub/"}),
    ],
)
def test_pages_are_told_who_may_send_them_messages_and_when_the_session_ends(
    env: dict[str, str], told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = server_config(monkeypatch, **env).ServerApp.tornado_settings
    assert settings["page_config_data"] == {
        "integrableJupyterHub": {
            "origins": [],
            "idleSeconds": None,
            "maxAgeSeconds": None,
            "hub": "",
            **told,
        }
    }


def test_a_session_is_embedded_by_the_listed_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    c = server_config(
        monkeypatch, ACCESS_CONTROL_ORIGINS="https://lms.example;https://portal.example:8443"
    )
    headers = c.ServerApp.tornado_settings["headers"]
    assert headers["Content-Security-Policy"] == (
        "frame-ancestors 'self' https://lms.example https://portal.example:8443"
    )
    assert headers["Vary"] == "Origin"
    assert c.ServerApp.allow_credentials is True
    allowed = re.compile(c.ServerApp.allow_origin_pat)
    assert allowed.match("https://lms.example")
    assert allowed.match("https://portal.example:8443")
    assert not allowed.match("https://lms.example.evil.example")
    assert not allowed.match("https://lmsxexample")


def some_handler() -> RequestHandler:
    connection: Any = SimpleNamespace(set_close_callback=bool)
    line = tornado.httputil.RequestStartLine("GET", "/", "HTTP/1.1")
    headers = tornado.httputil.HTTPHeaders({"Host": "hub.example"})
    request = tornado.httputil.HTTPServerRequest(
        start_line=line, headers=headers, connection=connection
    )
    return RequestHandler(Application(cookie_secret="s"), request)


@pytest.mark.parametrize("listed", [[], ["https://lms.example", "https://portal.example"]])
def test_a_session_allows_no_origin_that_is_not_listed(
    monkeypatch: pytest.MonkeyPatch, listed: list[str]
) -> None:
    """jupyter_server would let anybody ask who names Authorization."""
    server_config(monkeypatch, ACCESS_CONTROL_ORIGINS=";".join(listed))
    for origin in ("https://lms.example", "https://evil.example", "*"):
        handler = some_handler()
        handler.set_header("Access-Control-Allow-Origin", origin)
        handler.set_header("Vary", "Origin")
        allowed = handler._headers.get("Access-Control-Allow-Origin")
        assert allowed == (origin if origin in listed else None)
        assert handler._headers["Vary"] == "Origin"


def hub_cookies(origins: tuple[str, ...]) -> None:
    cookies.allow_partitioned()
    cookies.install(origins, 28800)


@pytest.mark.parametrize("whose", ["hub", "session"])
@pytest.mark.parametrize("origins", [(), ("https://lms.example",)])
def test_every_cookie_has_the_attributes_and_a_short_life(
    monkeypatch: pytest.MonkeyPatch, whose: str, origins: tuple[str, ...]
) -> None:
    if whose == "hub":
        hub_cookies(origins)
    else:
        server_config(monkeypatch, ACCESS_CONTROL_ORIGINS=";".join(origins), COOKIE_MAX_AGE="28800")
    handler = some_handler()
    handler.set_signed_cookie("login", "x", path="/user/u/")
    handler.set_cookie("_xsrf", "y", max_age=3600)
    handler.clear_cookie("old")
    sent = {name: {**cookie} for name, cookie in handler._new_cookie.items()}
    assert sent.keys() == {"login", "_xsrf", "old"}
    for cookie in sent.values():
        assert cookie["secure"]
        assert cookie["samesite"] == ("None" if origins else "Lax")
        assert bool(cookie["partitioned"]) is bool(origins)
    assert [sent[name]["max-age"] for name in ("login", "_xsrf", "old")] == [28800, 3600, ""]
