"""The single-user server of a session; what the hub decides comes in environment variables."""

import http.cookies
import logging
import os
import re
from typing import Any

import tornado.httputil
import tornado.web

c = get_config()  # noqa: F821

# Files arrive as JSON but labelled as a form (PHP's curl does that). Since 6.6, tornado parses them
# as a form too and answers 400 when there are 1000 "&" in one.
tornado.httputil.set_parse_body_config(
    tornado.httputil.ParseBodyConfig(
        urlencoded=tornado.httputil.ParseUrlEncodedConfig(max_arguments=10**7)
    )
)

# Nothing here may phone home, and nothing outlives the session.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"
c.FileContentsManager.delete_to_trash = False
# Language servers: none is installed, and looking for twenty of them takes time at every start.
c.ServerApp.jpserver_extensions = {"jupyter_lsp": False}
if os.environ.get("SESSION_ARCHIVE_MB", "0") != "0":
    c.ServerApp.jpserver_extensions["session_archive"] = True

# While Docker is away nobody takes what a session says, and after 64 kB it would stand still: a
# line for each request is too much.
c.ServerApp.log_level = "WARN"

# Tokens stay out of the log: the server prints whole addresses when it answers 5xx.
_TOKEN = re.compile(r"(token(?:=|%(?:25)*3D))[^&\s\"'%]+", re.IGNORECASE)


class _Record(logging.LogRecord):
    def getMessage(self) -> str:  # noqa: N802
        return _TOKEN.sub(r"\1[secret]", super().getMessage())


logging.setLogRecordFactory(_Record)


def _seconds(variable: str) -> int | None:
    return int(os.environ[variable]) if os.environ.get(variable) else None


# Embedding: the same origins, headers and cookies as the hub's.
_origins = [origin for origin in os.environ.get("ACCESS_CONTROL_ORIGINS", "").split(";") if origin]
_ancestors = " ".join(["'self'", *_origins]) if _origins else "'none'"
_headers = {
    "Content-Security-Policy": f"frame-ancestors {_ancestors}",
    # A token stands in the address.
    "Referrer-Policy": "no-referrer",
}
if _origins:
    # The server echoes the origin when it is on the list.
    _headers["Vary"] = "Origin"
    c.ServerApp.allow_origin_pat = "|".join(f"{re.escape(origin)}$" for origin in _origins)
    c.ServerApp.allow_credentials = True
# What the pages have to know; extension/src/settings.ts reads it.
_pages = {
    "origins": _origins,
    "idleSeconds": _seconds("CULL_IDLE_SECONDS"),
    "maxAgeSeconds": _seconds("CULL_MAX_AGE_SECONDS"),
    "hub": f"{os.environ['JUPYTERHUB_BASE_URL']}hub/"
    if "JUPYTERHUB_BASE_URL" in os.environ
    else "",
}
c.ServerApp.tornado_settings = {
    "headers": _headers,
    "page_config_data": {"integrableJupyterHub": _pages},
}

# Every cookie, whoever sets it; Python < 3.14 does not know Partitioned.
http.cookies.Morsel._reserved.setdefault("partitioned", "Partitioned")
http.cookies.Morsel._flags.add("partitioned")
_attributes = {"samesite": "None" if _origins else "Lax", "secure": True}
if _origins:
    _attributes["partitioned"] = True
_max_age = int(os.environ.get("COOKIE_MAX_AGE", "28800"))
_set_cookie = tornado.web.RequestHandler.set_cookie


def _set_our_cookie(self: Any, name: str, *args: Any, **kwargs: Any) -> None:
    _set_cookie(self, name, *args, **kwargs)
    cookie = self._new_cookie[name]
    cookie.update(_attributes)
    if cookie.value:  # else it is being cleared
        cookie["max-age"] = min(int(cookie["max-age"] or _max_age), _max_age)


tornado.web.RequestHandler.set_cookie = _set_our_cookie

# The server lets any origin ask with a token, and answers each preflight that names Authorization.
_set_header = tornado.web.RequestHandler.set_header


def _set_our_header(self: Any, name: str, value: Any) -> None:
    if name.lower() != "access-control-allow-origin" or value in _origins:
        _set_header(self, name, value)


tornado.web.RequestHandler.set_header = _set_our_header
