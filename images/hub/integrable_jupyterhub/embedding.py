"""What browsers let other sites do with the hub: the origins of `access_control_origins`."""

from collections.abc import Collection, Mapping
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.handlers import BaseHandler

from integrable_jupyterhub.gone import NoServer

CORS = {
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": "accept, authorization, content-type, x-xsrftoken",
    "Access-Control-Expose-Headers": "retry-after",
    "Access-Control-Max-Age": "600",
}


def ancestors(origins: Collection[str]) -> str:
    """Who may show us in a frame: nobody, not even ourselves, where nobody is named."""
    return "frame-ancestors " + (" ".join(["'self'", *origins]) if origins else "'none'")


def cors(origins: Collection[str], origin: str) -> Mapping[str, str]:
    """Headers for a page of `origin`; it is echoed, for one header can't allow more than one."""
    if not origins:
        return {}
    vary = {"Vary": "Origin"}
    return {**vary, **CORS, "Access-Control-Allow-Origin": origin} if origin in origins else vary


def install(origins: Collection[str]) -> None:
    """For all of JupyterHub's handlers; static headers in its settings would know no request."""
    plain = BaseHandler.set_default_headers

    def set_default_headers(self: Any) -> None:
        plain(self)
        # A session's token stands in its address.
        self.set_header("Referrer-Policy", "no-referrer")
        if isinstance(self, (APIHandler, NoServer)):
            for name, value in cors(origins, self.request.headers.get("Origin", "")).items():
                self.set_header(name, value)

    BaseHandler.set_default_headers = set_default_headers
    # APIHandler adds "default-src 'none'".
    BaseHandler.content_security_policy = property(lambda _: ancestors(origins))
