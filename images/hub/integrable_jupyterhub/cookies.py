"""Partitioned cookies (CHIPS) for Pythons that do not know them."""

import http.cookies
from typing import Any


def allow_partitioned() -> None:
    """Register the attribute with `http.cookies`; Python 3.14 has it, older ones raise CookieError.

    https://docs.python.org/3.14/library/http.cookies.html#http.cookies.Morsel.partitioned
    """
    morsel: Any = http.cookies.Morsel
    morsel._reserved.setdefault("partitioned", "Partitioned")
    morsel._flags.add("partitioned")
