"""`make env-import`: the reference configuration's .env becomes settings and secrets."""

from __future__ import annotations

import json
import re
import runpy
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubhost import env_import
from hubhost.env_import import main, parse_env, set_values, translate
from hubhost.errors import Problems
from hubhost.secrets import parse_service_tokens
from hubhost.settings import load
from tests.unit.core.sample import ALL, DEFAULTS

# Word for word what the reference configuration's README has people run.
SPECIFICATION = """\
cat << EOF > .env
POSTGRES_DB=jupyterhub
POSTGRES_USER=jupyterhub
POSTGRES_PASSWORD=$(openssl rand -hex 32)
CONFIGPROXY_AUTH_TOKEN=$(openssl rand -hex 32)
DOCKER_NETWORK_NAME=jupyterhub_network
JPY_SERVICE_ADMINS=service-admin:$(openssl rand -hex 64)
JPY_COOKIE_SECRET=$(openssl rand -hex 64)
DOCKER_NOTEBOOK_IMAGE=integrable-jupyterhub-notebook:latest
ACCESS_CONTROL_ORIGINS=
SSL_DIR_PATH=./configurable-http-proxy/ssl
EOF
"""


class Workplace:
    """A clone of this repository, as far as the import touches it, and a .env beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all = folder / "all.py"
        self.all.write_text(ALL.read_text())
        self.imported = folder / ".imported-secrets.json"
        self.env = folder / ".env"

    def specification(self) -> dict[str, str]:
        subprocess.run(["sh", "-c", SPECIFICATION], cwd=self.folder, check=True)
        return dict(line.split("=", 1) for line in self.env.read_text().splitlines())

    def run(self, text: str | None = None) -> int:
        if text is not None:
            self.env.write_text(text)
        return main([str(self.env)])

    @property
    def settings(self) -> dict[str, Any]:
        return {k: v for k, v in runpy.run_path(str(self.all)).items() if not k.startswith("_")}

    @property
    def secrets(self) -> dict[str, str]:
        read: dict[str, str] = json.loads(self.imported.read_text())
        return read


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    place = Workplace(tmp_path)
    monkeypatch.setattr(env_import, "ALL", place.all)
    monkeypatch.setattr(env_import, "IMPORTED", place.imported)
    return place


# --- The whole import --------------------------------------------------------------------------
def test_the_specifications_example_is_taken_over(workplace: Workplace) -> None:
    env = workplace.specification()
    assert workplace.run() == 0
    token = workplace.secrets.pop("service_tokens")
    assert {k: v for k, v in workplace.secrets.items() if k != "service_tokens"} == {
        "database_password": env["POSTGRES_PASSWORD"],
        "proxy_token": env["CONFIGPROXY_AUTH_TOKEN"],
        "cookie_secret": env["JPY_COOKIE_SECRET"],
    }
    assert list(parse_service_tokens(token)) == ["service-admin"]
    assert load(workplace.settings) == load(DEFAULTS)


def test_a_token_that_is_too_long_is_replaced_and_it_says_so(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    workplace.specification()
    workplace.run()
    assert re.fullmatch(r"service-admin:[0-9a-f]{64}", workplace.secrets["service_tokens"])
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    (note,) = [line for line in notes if "service-admin" in line]
    assert "64 characters and is replaced" in note


def test_a_token_that_fits_is_kept(workplace: Workplace) -> None:
    workplace.run(f"JPY_SERVICE_ADMINS=lms:{'a' * 64};grader:12345678\n")
    assert workplace.secrets["service_tokens"] == f"lms:{'a' * 64};grader:12345678"
    assert workplace.settings["service_admins"] == ["lms", "grader"]


def test_no_secret_is_printed(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    env = workplace.specification()
    workplace.run()
    said = "".join(capsys.readouterr())
    for name in ("POSTGRES_PASSWORD", "CONFIGPROXY_AUTH_TOKEN", "JPY_COOKIE_SECRET"):
        assert env[name] not in said
    for entry in (env["JPY_SERVICE_ADMINS"], workplace.secrets["service_tokens"]):
        assert entry.partition(":")[2] not in said


def test_no_secret_goes_into_the_settings(workplace: Workplace) -> None:
    env = workplace.specification()
    workplace.run()
    assert not [
        value for value in env.values() if len(value) > 60 and value in workplace.all.read_text()
    ]


def test_only_the_owner_reads_the_imported_secrets(workplace: Workplace) -> None:
    workplace.imported.touch(0o644)
    workplace.run("POSTGRES_PASSWORD=x\n")
    assert stat.S_IMODE(workplace.imported.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text",
    [
        "POSTGRES_PASSWORD=x\nnonsense\n",
        "POSTGRES_PASSWORD=x\nJPY_SERVICE_ADMINS=lms:short\n",
        "POSTGRES_PASSWORD=x\nJPY_COOKIE_SECRET=short\n",
        "POSTGRES_PASSWORD=x\nPOSTGRES_DB=Robert'); DROP\n",
        "POSTGRES_PASSWORD=x\nACCESS_CONTROL_ORIGINS=lms.example.org\n",
    ],
    ids=["line", "token", "cookie", "name", "origin"],
)
def test_on_an_error_nothing_is_written(
    workplace: Workplace, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert workplace.run(text) == 1
    assert workplace.all.read_text() == ALL.read_text()
    assert not workplace.imported.exists()
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1


def test_a_file_that_is_not_there_is_one_line(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert workplace.run() == 1
    assert capsys.readouterr().err == (
        f"FILE: {workplace.env}: No such file or directory; name the .env to import\n"
    )


def test_a_file_that_is_no_text_is_one_line(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    workplace.env.write_bytes(b"\xff\xfe")
    assert workplace.run() == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("place", [".imported-secrets.json", ".env"])
def test_secrets_on_this_machine_are_ignored_by_git(place: str) -> None:
    ignored = (ALL.parents[1] / ".gitignore").read_text().splitlines()
    assert place in ignored


# --- Variables --------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("key", "value", "settings"),
    [
        ("POSTGRES_DB", "hubdata", {"database_name": "hubdata"}),
        ("POSTGRES_USER", "hubuser", {"database_user": "hubuser"}),
        ("DOCKER_NETWORK_NAME", "other", {"network_name": "other"}),
        ("DOCKER_NOTEBOOK_IMAGE", "mine:1", {"notebook_image": "mine:1"}),
        ("DOCKER_NOTEBOOK_IMAGE", "", {"notebook_image": None}),
        ("DOCKER_NOTEBOOK_IMAGE", "integrable-jupyterhub-notebook", {"notebook_image": None}),
        (
            "ACCESS_CONTROL_ORIGINS",
            "https://127.1.2.7/;https://example.domain",
            {"access_control_origins": ["https://127.1.2.7", "https://example.domain"]},
        ),
        ("ACCESS_CONTROL_ORIGINS", " ; ", {"access_control_origins": []}),
    ],
)
def test_a_variable_becomes_a_setting(
    key: str, value: str, settings: dict[str, object], tmp_path: Path
) -> None:
    assert translate({key: value}, tmp_path).settings == settings


def test_key_and_certificate_of_the_proxy_are_taken_over(tmp_path: Path) -> None:
    folder = tmp_path / "ssl"
    folder.mkdir()
    for name in ("jupyterhub_proxy.key", "jupyterhub_proxy.crt"):
        (folder / name).touch()
    assert translate({"SSL_DIR_PATH": "./ssl"}, tmp_path).settings == {
        "tls_key_file": str(folder / "jupyterhub_proxy.key"),
        "tls_certificate_file": str(folder / "jupyterhub_proxy.crt"),
    }


def test_a_missing_key_is_a_note(tmp_path: Path) -> None:
    found = translate({"SSL_DIR_PATH": "ssl"}, tmp_path)
    assert found.settings == {}
    assert found.notes == [
        (
            f"SSL_DIR_PATH: {tmp_path}/ssl lacks jupyterhub_proxy.key and jupyterhub_proxy.crt:"
            " the proxy makes a pair of its own"
        )
    ]


def test_an_unknown_variable_is_a_note_without_its_value(tmp_path: Path) -> None:
    assert translate({"API_KEY": "s3cret"}, tmp_path).notes == [
        "API_KEY is not a variable of the reference configuration: left out"
    ]


@pytest.mark.parametrize("value", ["", "x" * 64, "ab" * 31, "a" * 65])
def test_a_cookie_secret_that_is_not_32_bytes_in_hex_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(Problems) as caught:
        translate({"JPY_COOKIE_SECRET": value}, tmp_path)
    assert str(caught.value) == (
        "JPY_COOKIE_SECRET: is not at least 32 bytes in hex; make one with `openssl rand -hex 32`"
    )


def test_secrets_are_not_in_the_repr(tmp_path: Path) -> None:
    assert "s3cret" not in repr(translate({"POSTGRES_PASSWORD": "s3cret"}, tmp_path))


# --- Lines ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("KEY=value", "value"),
        ("  KEY=value  ", "value"),
        ("export KEY=value", "value"),
        ("KEY=", ""),
        ("KEY=a=b", "a=b"),
        ("KEY='a b # c'", "a b # c"),
        ('KEY="a b" # comment', "a b"),
        ("KEY=a # comment", "a"),
        ("KEY=a#b", "a#b"),
    ],
)
def test_a_line_is_read_as_compose_reads_it(line: str, value: str) -> None:
    assert parse_env(line) == {"KEY": value}


def test_comments_and_empty_lines_are_left_out() -> None:
    assert parse_env("# POSTGRES_DB=x\n\n  # y\n") == {}


def test_a_line_that_is_no_assignment_is_named_by_its_number_only() -> None:
    with pytest.raises(Problems) as caught:
        parse_env("A=1\ns3cret\n")
    assert str(caught.value) == "line 2: is not KEY=VALUE; mend it"


# --- Settings in place ------------------------------------------------------------------------
def test_setting_a_value_changes_that_line_only() -> None:
    before = ALL.read_text().splitlines()
    after = set_values(ALL.read_text(), {"network_name": "other"}).splitlines()
    changed = [(b, a) for b, a in zip(before, after, strict=True) if a != b]
    assert changed == [
        (
            (
                'network_name = "jupyterhub_network"'
                "  # Docker network of services and sessions [DOCKER_NETWORK_NAME]"
            ),
            (
                'network_name = "other"'
                "  # Docker network of services and sessions [DOCKER_NETWORK_NAME]"
            ),
        )
    ]


def test_values_that_are_there_already_change_nothing() -> None:
    assert set_values(ALL.read_text(), DEFAULTS) == ALL.read_text()


TEXT = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=20)
VALUES = st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT, max_size=3)


@given(st.dictionaries(st.sampled_from(sorted(DEFAULTS)), VALUES, max_size=4))
def test_what_is_set_is_what_is_read(values: dict[str, Any]) -> None:
    scope: dict[str, Any] = {}
    exec(set_values(ALL.read_text(), values), scope)  # noqa: S102
    assert {name: scope[name] for name in DEFAULTS} == DEFAULTS | values


@pytest.mark.parametrize(
    "source",
    [
        pytest.param('x = [\n    "a",\n    "b",\n]  # c\ny = 1\n', id="several lines"),
        pytest.param('x = "München"  # c\ny = 1\n', id="not ASCII"),
    ],
)
def test_a_value_as_people_write_it_can_be_replaced(source: str) -> None:
    assert set_values(source, {"x": ["z"]}) == 'x = ["z"]  # c\ny = 1\n'


def test_a_name_that_the_source_does_not_assign_is_an_error() -> None:
    with pytest.raises(KeyError):
        set_values("x = 1\n", {"y": 2})
