"""Take over the `.env` of a reference configuration: `make env-import FILE=.env`.

Settings go into group_data/all.py, secrets into a file that only its owner reads; the next deploy
streams them to the host and deletes that file.
"""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubhost.errors import Problem, Problems
from hubhost.secrets import IMPORTED, MAX_TOKEN, SERVICE_TOKENS, parse_service_tokens
from hubhost.settings import HOME, load

ALL = Path(__file__).parents[1] / HOME

SETTINGS = {
    "POSTGRES_DB": "database_name",
    "POSTGRES_USER": "database_user",
    "DOCKER_NETWORK_NAME": "network_name",
}
SECRETS = {
    "POSTGRES_PASSWORD": "database_password",
    "CONFIGPROXY_AUTH_TOKEN": "proxy_token",
    "JPY_COOKIE_SECRET": "cookie_secret",
}
OUR_IMAGE = re.compile(r"integrable-jupyterhub-notebook(:.*)?")
TLS_FILES = {
    "tls_key_file": "jupyterhub_proxy.key",
    "tls_certificate_file": "jupyterhub_proxy.crt",
}


@dataclass
class Import:
    """What a `.env` becomes: settings, secrets, and what a person should know of it."""

    settings: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)


def parse_env(text: str) -> dict[str, str]:
    """Read KEY=VALUE lines as Docker Compose does: comments, and quotes around a value.

    Raises:
        Problems: a line that is no assignment.
    """
    values = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = re.fullmatch(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", stripped)
        if not match:
            problem = Problem(f"line {number}", "is not KEY=VALUE", "mend it")
            raise Problems([problem])
        value = match[2].strip()
        quoted = re.fullmatch(r"""(['"])(.*)\1(?:\s+#.*)?""", value)
        values[match[1]] = quoted[2] if quoted else re.sub(r"\s+#.*", "", value)
    return values


def translate(env: Mapping[str, str], folder: Path) -> Import:
    """Turn the variables of a `.env` that lies in `folder` into settings and secrets.

    Raises:
        Problems: service tokens that can't be taken over or mended.
    """
    found = Import()
    for key, value in env.items():
        if key in SETTINGS:
            found.settings[SETTINGS[key]] = value
        elif key in SECRETS:
            if key == "JPY_COOKIE_SECRET" and not re.fullmatch(r"(?:[0-9a-fA-F]{2}){32,}", value):
                message = "is not at least 32 bytes in hex"
                raise Problems([Problem(key, message, "make one with `openssl rand -hex 32`")])
            found.secrets[SECRETS[key]] = value
        elif key == "ACCESS_CONTROL_ORIGINS":
            origins = [origin.strip() for origin in value.split(";") if origin.strip()]
            found.settings["access_control_origins"] = [o.rstrip("/") for o in origins]
        elif key == "DOCKER_NOTEBOOK_IMAGE":
            ours = not value or OUR_IMAGE.fullmatch(value)
            found.settings["notebook_image"] = None if ours else value
        elif key == "JPY_SERVICE_ADMINS":
            tokens = parse_service_tokens(_replace_long_tokens(value, found.notes))
            found.settings["service_admins"] = list(tokens)
            found.secrets[SERVICE_TOKENS] = ";".join(f"{n}:{t}" for n, t in tokens.items())
        elif key == "SSL_DIR_PATH":
            _tls_files(folder / value, found)
        else:
            found.notes.append(f"{key} is not a variable of the reference configuration: left out")
    return found


def _replace_long_tokens(value: str, notes: list[str]) -> str:
    """The reference README makes tokens of 128 characters, which JupyterHub no longer takes."""
    entries = []
    for entry in value.split(";"):
        name, colon, token = entry.partition(":")
        if len(token.strip()) > MAX_TOKEN:
            token = secrets.token_hex(32)
            notes.append(
                f"the token of {name.strip()} had more than {MAX_TOKEN} characters and is replaced"
                " by a new one: give it to the integrator after the next deploy"
            )
        entries.append(name + colon + token)
    return ";".join(entries)


def _tls_files(folder: Path, found: Import) -> None:
    files = {setting: folder / name for setting, name in TLS_FILES.items()}
    if all(file.is_file() for file in files.values()):
        found.settings |= {setting: str(file.resolve()) for setting, file in files.items()}
    else:
        names = " and ".join(TLS_FILES.values())
        found.notes.append(
            f"SSL_DIR_PATH: {folder} lacks {names}: the proxy makes a pair of its own"
        )


def set_values(text: str, values: Mapping[str, Any]) -> str:
    """Replace the values of top-level assignments in Python source; comments and order stay.

    Raises:
        KeyError: a name that the source does not assign.
    """
    places = {
        target.id: node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    starts = [0]  # of each line, in bytes, as ast counts columns
    source = text.encode()
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    changed = [name for name, value in values.items() if ast.literal_eval(places[name]) != value]
    for name in sorted(changed, key=lambda name: places[name].lineno, reverse=True):
        place, value = places[name], values[name]
        start = starts[place.lineno - 1] + place.col_offset
        end = starts[(place.end_lineno or 0) - 1] + (place.end_col_offset or 0)
        shown = (
            json.dumps(value, ensure_ascii=False) if isinstance(value, str | list) else repr(value)
        )
        source = source[:start] + shown.encode() + source[end:]
    return source.decode()


def main(arguments: list[str]) -> int:
    """Import the file named by the only argument; print what was done, but no secret."""
    try:
        file = Path("".join(arguments[:1]))
        found = translate(parse_env(file.read_text()), file.parent)
        present = {k: v for k, v in runpy.run_path(str(ALL)).items() if not k.startswith("_")}
        load(present | found.settings)
    except OSError as error:
        print(f"FILE: {error.filename}: {error.strerror}; name the .env to import", file=sys.stderr)
        return 1
    except UnicodeDecodeError:
        print(f"FILE: {arguments[0]}: is no text; name the .env to import", file=sys.stderr)
        return 1
    except Problems as error:
        print(error, file=sys.stderr)
        return 1
    ALL.write_text(set_values(ALL.read_text(), found.settings))
    descriptor = os.open(IMPORTED, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        os.fchmod(descriptor, 0o600)
        json.dump(found.secrets, out)
    for setting, value in found.settings.items():
        print(f"{setting} = {value!r}")
    print(f"{len(found.secrets)} secrets wait in {IMPORTED.name} for the next deploy")
    for note in found.notes:
        print(f"note: {note}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
