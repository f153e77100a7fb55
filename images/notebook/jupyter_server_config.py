"""The single-user server of a session; what the hub decides comes in environment variables."""

import http.cookies
import json
import logging
import os
import re

import tornado.httputil

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

# Tokens stay out of the log: the server prints whole addresses when it answers 5xx.
_TOKEN = re.compile(r"(token(?:=|%(?:25)*3D))[^&\s\"'%]+", re.IGNORECASE)


class _Record(logging.LogRecord):
    def getMessage(self) -> str:  # noqa: N802
        return _TOKEN.sub(r"\1[secret]", super().getMessage())


logging.setLogRecordFactory(_Record)

# Embedding: the same origins and cookie attributes as the hub's.
_origins = [origin for origin in os.environ.get("ACCESS_CONTROL_ORIGINS", "").split(";") if origin]
if _origins:
    # Python < 3.14 does not know the attribute.
    http.cookies.Morsel._reserved.setdefault("partitioned", "Partitioned")
    http.cookies.Morsel._flags.add("partitioned")
    _ancestors = " ".join(["'self'", *_origins])
    c.ServerApp.tornado_settings = {
        "headers": {"Content-Security-Policy": f"frame-ancestors {_ancestors}"},
        "xsrf_cookie_kwargs": json.loads(os.environ.get("JUPYTERHUB_COOKIE_OPTIONS", "{}")),
    }
    c.ServerApp.allow_origin_pat = "|".join(f"{re.escape(origin)}$" for origin in _origins)
