"""Keeps tokens out of the logs."""

import logging
import re

# JupyterHub hides `?token=...` of a request's own address, but not the address inside another one
# (/hub/login?next=%2Fuser%2Fu%2Flab%3Ftoken%3D..., /hub/error/404?url=...).
_TOKEN = re.compile(r"(token(?:=|%(?:25)*3D))[^&\s\"'%]+", re.IGNORECASE)


def redact(text: str) -> str:
    """`text` without the values of `token` parameters, however often percent-encoded."""
    return _TOKEN.sub(r"\1[secret]", text)


class _Record(logging.LogRecord):
    def getMessage(self) -> str:  # noqa: N802
        return redact(super().getMessage())


def install() -> None:
    """For every logger and handler of this process, those to come included."""
    logging.setLogRecordFactory(_Record)
