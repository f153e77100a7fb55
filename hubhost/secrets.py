"""Secrets of an installation: what there is, and the script that makes them on the host."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hubhost.errors import Problem, Problems
from hubhost.hostfile import SERVICES_GROUP, HostFile
from hubhost.settings import SERVICE_NAME

MIN_TOKEN, MAX_TOKEN = 8, 64
"""JupyterHub 6 exits on other service tokens: "Cannot create tokens larger than 64 characters"."""

SERVICE_TOKENS = "service_tokens"
"""``name:token;name2:token2`` — JPY_SERVICE_ADMINS of the reference configuration."""


IMPORTED = Path(__file__).parents[1] / ".imported-secrets.json"
"""What `make env-import` leaves for the next deploy, which deletes it."""


@dataclass(frozen=True)
class Secret:
    """A file below the secrets folder, made of 32 random bytes in hex.

    Only root enters the folder. Containers run as other users, without the capability to read
    root's files: the services' own group may read what is mounted (docs/decisions/0002-secrets.md).
    """

    name: str
    mode: int = 0o640
    group: int = SERVICES_GROUP


ALL_SECRETS = tuple(
    Secret(name)
    for name in (
        "database_password",
        "proxy_token",
        "cookie_secret",
        "culler_token",
        "routes_token",
        SERVICE_TOKENS,
    )
)


def imported_files(source: Path, folder: PurePosixPath) -> tuple[HostFile, ...]:
    """The secrets that wait to be taken over, as files for the host; empty where none wait."""
    if not source.exists():
        return ()
    values: dict[str, str] = json.loads(source.read_text())
    secrets = {secret.name: secret for secret in ALL_SECRETS}
    return tuple(
        HostFile(folder / name, value, secrets[name].mode, secrets[name].group)
        for name, value in values.items()
    )


def secrets_script(
    folder: PurePosixPath, wanted: tuple[Secret, ...], services: tuple[str, ...]
) -> str:
    """Shell: make what is missing, keep what is there, give each service a token of its own.

    What is made never leaves the host: it is in no argument and no output.
    """
    lines = [
        f"install -d -m 700 -o 0 -g 0 {folder}; cd {folder}; umask 077",
        "random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \\n'; }",
        "tokens=$(cat service_tokens 2>/dev/null || true); new=",
        f"for name in {shlex.join(services)}; do",
        "  token=$(printf %s \"$tokens\" | tr ';' '\\n' |",
        "    awk -F: -v name=\"$name\" '$1 == name { print $2 }')",
        '  new="$new${new:+;}$name:${token:-$(random)}"',
        "done",
        'if [ "$new" != "$tokens" ]; then',
        '  printf %s "$new" > .service_tokens.new; mv .service_tokens.new service_tokens',
        "fi",
    ]
    for secret in wanted:
        if secret.name != SERVICE_TOKENS:
            lines.append(
                f"[ -s {secret.name} ] || {{ random > .{secret.name}.new;"
                f" mv .{secret.name}.new {secret.name}; }}"
            )
        lines += [
            f"chown 0:{secret.group} {secret.name}",
            f"chmod {secret.mode:o} {secret.name}",
        ]
    return "\n".join(lines)


def parse_service_tokens(text: str) -> dict[str, str]:
    """Read ``name:token;name2:token2``.

    Raises:
        Problems: a name or token that JupyterHub, or this format, can't take.
    """
    tokens: dict[str, str] = {}
    problems = []
    pairs = filter(None, (part.strip() for part in text.split(";")))
    for number, pair in enumerate(pairs, 1):
        name, _, token = pair.partition(":")
        if not SERVICE_NAME.fullmatch(name) or not re.fullmatch(r"[^:;\s]+", token):
            problems.append(
                Problem(
                    "JPY_SERVICE_ADMINS",
                    f"entry {number} is not name:token",
                    "names have letters, digits, '.', '_', '-'; tokens no ':', ';' or blank",
                )
            )
        elif not MIN_TOKEN <= len(token) <= MAX_TOKEN:
            problems.append(
                Problem(
                    "JPY_SERVICE_ADMINS",
                    f"the token of {name} has {len(token)} characters, JupyterHub takes"
                    f" {MIN_TOKEN} to {MAX_TOKEN}",
                    "make one with `openssl rand -hex 32`",
                )
            )
        elif name in tokens:
            problems.append(
                Problem("JPY_SERVICE_ADMINS", f"names {name} twice", "name each service once")
            )
        elif token in tokens.values():
            message = f"{name} has the same token as another service"
            problems.append(Problem("JPY_SERVICE_ADMINS", message, "give each its own"))
        else:
            tokens[name] = token
    if problems:
        raise Problems(problems)
    return tokens
