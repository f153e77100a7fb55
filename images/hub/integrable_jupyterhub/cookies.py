"""Attributes of every cookie, whoever sets it: hub, oauth, `_xsrf`."""

import http.cookies
from collections.abc import Collection
from typing import Any

from tornado.web import RequestHandler


def allow_partitioned() -> None:
    """Register the attribute with `http.cookies`; Python 3.14 has it, older ones raise CookieError.

    https://docs.python.org/3.14/library/http.cookies.html#http.cookies.Morsel.partitioned
    """
    morsel: Any = http.cookies.Morsel
    morsel._reserved.setdefault("partitioned", "Partitioned")
    morsel._flags.add("partitioned")


def attributes(origins: Collection[str]) -> dict[str, Any]:
    """Where others embed us, a cookie lives in their page's partition; else at home only."""
    if origins:
        return {"samesite": "None", "secure": True, "partitioned": True}
    return {"samesite": "Lax", "secure": True}


def install(origins: Collection[str], max_age: int) -> None:
    """Whatever sets a cookie in this process; no cookie lives longer than a session, `max_age` s.

    JupyterHub's cookie_options miss some: `_xsrf`, those of OAuth, and each that is cleared, which
    a browser ignores for a partitioned one.
    """
    plain = RequestHandler.set_cookie

    def set_cookie(self: Any, name: str, *args: Any, **kwargs: Any) -> None:
        plain(self, name, *args, **kwargs)
        cookie = self._new_cookie[name]
        cookie.update(attributes(origins))
        if cookie.value:  # else it is being cleared
            # Browsers prefer it to Expires.
            cookie["max-age"] = min(int(cookie["max-age"] or max_age), max_age)

    RequestHandler.set_cookie = set_cookie  # type: ignore[method-assign]
