"""To keep nothing of a user: archives and rows here, and lines of logs, which the host erases.

`python -m integrable_jupyterhub purge` is `make forget`'s part in the hub: it reads a name.
"""

import json
import os
import sys
from collections.abc import Iterator
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote

from sqlalchemy import create_engine, text

from integrable_jupyterhub import archive, database
from integrable_jupyterhub.config import SECRETS_FOLDER, HubConfig, Secrets, read_secret

FOLDER = Path("/var/lib/jupyterhub/forget")
"""Requests to the host, a file each, worked off by files/forget/forget."""


def spellings(name: str) -> list[str]:
    """How logs name a user: as it is, in addresses, in JSON; the longest first.

    A container's name may be the name as a slug, which ends in this part of its hash
    (jupyterhub.slugs).
    """
    plain = {name, sha256(name.encode()).hexdigest()[:8]}
    quoted = {quote(n, safe=safe) for n in plain for safe in ("", "@~!$&'()*+,;=:")}
    twice = {quote(n, safe="") for n in quoted}
    every = plain | quoted | twice
    return sorted(every | {json.dumps(n, ensure_ascii=False)[1:-1] for n in every}, key=len)[::-1]


def ask_host(name: str, folder: Path = FOLDER) -> None:
    """Have the host erase the lines that name the user. Raises OSError.

    Each time a new file: the host deletes one after its work, and what has come since is not lost.
    """
    text = "\0".join(spellings(name))
    (folder / token_hex(32)).write_bytes(text.encode("utf-8", "replace"))


def kept(name: str, config: HubConfig) -> int:
    """How many rows and archives there are of a user; asked so that no log names the user."""
    engine = create_engine(
        database.url(config.database, Secrets.load().database_password), **database.ENGINE_OPTIONS
    )
    with engine.connect() as connection:
        count = text("select count(*) from users where name = :name")
        rows: int = connection.execute(count, {"name": name}).scalar_one()
    return rows + len(archive.Store(archive.FOLDER, config.archive).ids(name))


def erase(name: str, config: HubConfig) -> int:
    """What an integrator does: DELETE with purge. The status."""
    connection = HTTPConnection(config.hub_ip, config.hub_port, timeout=120)
    token = read_secret(SECRETS_FOLDER / "culler_token")
    path = f"{config.base_url}hub/api/users/{quote(name, safe='')}?purge=1"
    connection.request("DELETE", path, headers={"Authorization": f"token {token}"})
    return connection.getresponse().status


def main() -> int:
    """DRY: print how much there is, and the spellings, each ended by NUL. Else erase it."""
    name = sys.stdin.read().removesuffix("\n")  # which pyinfra adds
    config = HubConfig.load()
    if "DRY" in os.environ:
        sys.stdout.write("".join(f"{word}\0" for word in _told(name, config)))
        return 0
    status = erase(name, config)
    if status != 204:
        print(f"the hub answered {status}", file=sys.stderr)
    return int(status != 204)


def _told(name: str, config: HubConfig) -> Iterator[str]:
    yield str(kept(name, config))
    yield from spellings(name)
