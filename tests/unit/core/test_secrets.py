"""Secrets: the script that makes them, really run, and the format of service tokens."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubhost.errors import Problems
from hubhost.hostfile import SERVICES_GROUP
from hubhost.secrets import ALL_SECRETS, imported_files, parse_service_tokens, secrets_script

TOKEN = "a" * 64


class Place:
    """The secrets folder of a host that is a temporary folder; only root may change owners."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "secrets"
        self.chowned = root / "chowned"
        self.bin = root / "bin"
        self.bin.mkdir()
        # Notes who was to own what; makes the folder as install does, owners apart.
        (self.bin / "chown").write_text(f'#!/bin/sh\necho "$@" >> {self.chowned}\n')
        (self.bin / "install").write_text(
            '#!/bin/sh\nfor f; do :; done; mkdir -p "$f"; chmod 700 "$f"\n'
        )
        for program in self.bin.iterdir():
            program.chmod(0o755)

    def run(self, *services: str) -> subprocess.CompletedProcess[str]:
        script = "set -eu\n" + secrets_script(
            PurePosixPath(self.folder), ALL_SECRETS, services or ("lms",)
        )
        return subprocess.run(
            ["sh", "-c", script],
            env={"PATH": f"{self.bin}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=True,
        )

    def read(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.folder.iterdir()}

    def write(self, name: str, value: str) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / name).write_text(value)

    @property
    def tokens(self) -> dict[str, str]:
        return parse_service_tokens(self.read()["service_tokens"])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_all_secrets_are_made_and_nothing_else_is_left(place: Place) -> None:
    place.run()
    assert set(place.read()) == {
        "database_password",
        "proxy_token",
        "cookie_secret",
        "culler_token",
        "routes_token",
        "service_tokens",
    }


def test_a_secret_is_32_random_bytes_in_hex(place: Place) -> None:
    place.run()
    made = {name: value for name, value in place.read().items() if name != "service_tokens"}
    assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in made.values())
    assert len(set(made.values())) == len(made)


def test_each_service_gets_a_token_of_its_own(place: Place) -> None:
    place.run("lms", "grader.v2", "x-y_z")
    assert list(place.tokens) == ["lms", "grader.v2", "x-y_z"]
    assert len(set(place.tokens.values())) == 3
    assert all(re.fullmatch(r"[0-9a-f]{64}", token) for token in place.tokens.values())


def test_nothing_is_printed(place: Place) -> None:
    done = place.run()
    assert (done.stdout, done.stderr) == ("", "")


def test_running_again_changes_nothing(place: Place) -> None:
    place.run("lms", "grader")
    before = place.read()
    place.run("lms", "grader")
    assert place.read() == before


def test_secrets_that_are_there_are_kept(place: Place) -> None:
    place.write("database_password", "given")
    place.write("service_tokens", f"lms:{TOKEN}")
    place.run("lms")
    assert place.read()["database_password"] == "given"
    assert place.tokens == {"lms": TOKEN}


def test_an_empty_secret_is_made_anew(place: Place) -> None:
    place.write("proxy_token", "")
    place.run()
    assert len(place.read()["proxy_token"]) == 64


def test_a_new_service_gets_a_token_and_the_others_keep_theirs(place: Place) -> None:
    place.write("service_tokens", f"lms:{TOKEN}")
    place.run("grader", "lms")
    assert list(place.tokens) == ["grader", "lms"]
    assert place.tokens["lms"] == TOKEN


def test_a_service_that_is_gone_loses_its_token(place: Place) -> None:
    place.write("service_tokens", f"lms:{TOKEN};old:{TOKEN[1:]}")
    place.run("lms")
    assert place.tokens == {"lms": TOKEN}


def test_a_service_whose_name_begins_like_anothers_gets_its_own_token(place: Place) -> None:
    place.write("service_tokens", f"lms.old:{TOKEN}")
    place.run("lms", "lms.old")
    assert place.tokens["lms"] != TOKEN
    assert place.tokens["lms.old"] == TOKEN


def test_only_root_and_the_services_read_them(place: Place) -> None:
    place.run()
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in place.folder.iterdir()} == {0o640}
    lines = place.chowned.read_text().splitlines()
    owners = {name: owner for owner, name in map(str.split, lines)}
    assert owners == {secret.name: f"0:{SERVICES_GROUP}" for secret in ALL_SECRETS}


def test_no_secret_is_an_argument_of_a_program(place: Place) -> None:
    script = secrets_script(PurePosixPath("/x"), ALL_SECRETS, ("lms",))
    # The shell's own printf is no program; everything else gets names only.
    uses = [line for line in script.splitlines() if "$new" in line or "$token" in line]
    assert all("printf %s" in line or line.lstrip().startswith(("new=", "if [")) for line in uses)


@pytest.mark.parametrize("half_written", [".cookie_secret.new", ".service_tokens.new"])
def test_the_rest_of_a_killed_run_does_no_harm(place: Place, half_written: str) -> None:
    place.write(half_written, "abc")
    place.run()
    assert half_written not in place.read()
    assert len(place.read()["cookie_secret"]) == 64
    assert list(place.tokens) == ["lms"]


# --- Imported secrets ------------------------------------------------------------------------
def test_without_an_import_nothing_is_taken_over(tmp_path: Path) -> None:
    assert imported_files(tmp_path / "none", PurePosixPath("/s")) == ()


def test_imported_secrets_become_files_that_the_services_read(tmp_path: Path) -> None:
    (tmp_path / "import").write_text(json.dumps({"database_password": "x", "service_tokens": "y"}))
    files = imported_files(tmp_path / "import", PurePosixPath("/s"))
    assert [(str(f.path), f.content, f.mode, f.group) for f in files] == [
        ("/s/database_password", "x", 0o640, SERVICES_GROUP),
        ("/s/service_tokens", "y", 0o640, SERVICES_GROUP),
    ]


# --- Service tokens --------------------------------------------------------------------------
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,10}", fullmatch=True)
TOKENS = st.from_regex(r"[!-9<-~]{8,64}", fullmatch=True)


@given(st.dictionaries(NAMES, TOKENS, max_size=4))
def test_tokens_are_read_as_they_were_written(tokens: dict[str, str]) -> None:
    assert parse_service_tokens(";".join(f"{n}:{t}" for n, t in tokens.items())) == tokens


def test_blanks_and_empty_entries_are_forgiven() -> None:
    assert parse_service_tokens(f" a:{TOKEN} ; ;b:{TOKEN[1:]};") == {"a": TOKEN, "b": TOKEN[1:]}


NOT_A_PAIR = "names have letters, digits, '.', '_', '-'; tokens no ':', ';' or blank"
MAKE_ONE = "make one with `openssl rand -hex 32`"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("lms:", [f"entry 1 is not name:token; {NOT_A_PAIR}"]),
        (f":{TOKEN}", [f"entry 1 is not name:token; {NOT_A_PAIR}"]),
        (f"lms:{TOKEN}:x", [f"entry 1 is not name:token; {NOT_A_PAIR}"]),
        (f"l ms:{TOKEN}", [f"entry 1 is not name:token; {NOT_A_PAIR}"]),
        ("lms:two words", [f"entry 1 is not name:token; {NOT_A_PAIR}"]),
        (
            f"lms:{TOKEN}b",
            [f"the token of lms has 65 characters, JupyterHub takes 8 to 64; {MAKE_ONE}"],
        ),
        (
            "lms:1234567",
            [f"the token of lms has 7 characters, JupyterHub takes 8 to 64; {MAKE_ONE}"],
        ),
        (f"lms:{TOKEN};lms:{TOKEN}", ["names lms twice; name each service once"]),
        (
            "a:1;b:2",
            [
                f"the token of a has 1 characters, JupyterHub takes 8 to 64; {MAKE_ONE}",
                f"the token of b has 1 characters, JupyterHub takes 8 to 64; {MAKE_ONE}",
            ],
        ),
    ],
)
def test_bad_tokens_are_a_line_each(text: str, lines: list[str]) -> None:
    with pytest.raises(Problems) as caught:
        parse_service_tokens(text)
    assert str(caught.value).splitlines() == [f"JPY_SERVICE_ADMINS: {line}" for line in lines]


@pytest.mark.parametrize(
    "text",
    [
        f"lms:{TOKEN}b",
        f"l ms:{TOKEN}",
        f"lms:{TOKEN}:x",
        TOKEN,
    ],
)
def test_no_part_of_a_token_is_in_an_error(text: str) -> None:
    with pytest.raises(Problems) as caught:
        parse_service_tokens(text)
    assert "aaaa" not in str(caught.value)


def test_two_services_with_one_token_are_refused() -> None:
    with pytest.raises(Problems):
        parse_service_tokens(f"a:{TOKEN};b:{TOKEN}")
