"""What kernel and worker tell each other."""

from __future__ import annotations

from typing import NamedTuple


class Frame(NamedTuple):
    """A kind, and a body of any text without NUL, which ends the frame."""

    kind: str
    body: str = ""

    def encode(self) -> bytes:
        return f"{self.kind}\n{self.body}".replace("\0", "").encode(errors="replace") + b"\0"

    @classmethod
    def decode(cls, raw: bytes) -> Frame:
        kind, _, body = raw.decode(errors="replace").partition("\n")
        return cls(kind, body)
