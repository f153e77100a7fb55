"""Public keys that age encrypts to: whether one is whole, before a host is told of it."""

from __future__ import annotations

import base64
import binascii
from functools import reduce

BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
AGE = "age1"
SSH = "ssh-ed25519 "
SSH_BLOB = 51
"""Bytes of such a key: two lengths of four, its name, 32 of the key (RFC 8709, 4)."""


def recipient_problem(text: str) -> str | None:
    """What is wrong with a recipient: native (age-encryption.org/v1), or an SSH public key."""
    text = text.strip()
    if "PRIVATE KEY" in text or text.upper().startswith("AGE-SECRET-KEY-"):
        return "is a secret key; name its public key, and make a new one"
    if text.startswith(AGE):
        return None if _whole_bech32(text) else "is not whole: an age key has a checksum"
    if text.startswith(SSH) and "\n" not in text:
        try:
            blob = base64.b64decode(text.split()[1], validate=True)
        except (binascii.Error, IndexError):
            blob = b""
        whole = len(blob) == SSH_BLOB and blob[4:15] == b"ssh-ed25519"
        return None if whole else "is not whole: no key of ssh-ed25519"
    return "must be a public key, age1… or ssh-ed25519 …"


def _whole_bech32(text: str) -> bool:
    """Whether the checksum of BIP 173 fits, for the prefix "age" and 32 bytes."""
    part = text.removeprefix(AGE)
    if len(part) != 58 or set(part) - set(BECH32):
        return False
    values = [ord(c) >> 5 for c in "age"] + [0] + [ord(c) & 31 for c in "age"]
    values += map(BECH32.index, part)
    return reduce(_polymod, values, 1) == 1


def _polymod(checksum: int, value: int) -> int:
    top = checksum >> 25
    checksum = (checksum & 0x1FFFFFF) << 5 ^ value
    for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
        checksum ^= generator if top >> bit & 1 else 0
    return checksum
