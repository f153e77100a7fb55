"""The entrypoints, run with stand-ins for the programs they start."""

import os
import signal
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

IMAGES = Path(__file__).parents[3] / "images"


class Scripts:
    """A copy of an entrypoint that believes `folder` is its container."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.volume = folder / "volume"
        self.programs = folder / "17" / "bin"
        self.secrets = folder / "secrets"
        self.log = folder / "log"
        for path in (self.volume, self.programs, self.secrets):
            path.mkdir(parents=True)
        self.log.touch()

    def program(self, name: str, text: str = "") -> None:
        path = self.programs / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.log}\n{text}\n')
        path.chmod(0o755)

    def run(self, image: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        text = (IMAGES / image / "entrypoint.sh").read_text()
        text = text.replace("/var/lib/postgresql/data", str(self.volume))
        script = self.folder / "entrypoint.sh"
        script.write_text(text.replace("/run/secrets", str(self.secrets)))
        return subprocess.run(
            ["sh", script, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": f"{self.programs}:{os.environ['PATH']}", **env},
        )

    @property
    def data(self) -> Path:
        return self.volume / "pgdata"


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    return Scripts(tmp_path)


@pytest.fixture
def database(scripts: Scripts) -> Scripts:
    (scripts.secrets / "database_password").write_text("pass'word\n")
    scripts.program("initdb", 'mkdir "$2" && echo 17 > "$2/PG_VERSION"')
    # In single-user mode: note the SQL. exec: the shell's stand-in for "the server runs now".
    scripts.program(
        "postgres", f'case "$*" in *--single*) sed "s/^/sql: /" >> {scripts.log};; esac'
    )
    return scripts


def run_database(scripts: Scripts) -> subprocess.CompletedProcess[str]:
    return scripts.run("database", POSTGRES_USER="hub", POSTGRES_DB="hub db")


def sql(scripts: Scripts) -> list[str]:
    lines = scripts.log.read_text().splitlines()
    return [line.removeprefix("sql: ") for line in lines if line.startswith("sql: ")]


def test_an_empty_volume_gets_a_cluster_with_role_and_database(database: Scripts) -> None:
    result = run_database(database)
    assert result.returncode == 0, result.stderr
    assert sql(database) == [
        'CREATE ROLE "hub" LOGIN',
        'CREATE DATABASE "hub db" OWNER "hub"',
        "ALTER ROLE \"hub\" LOGIN PASSWORD 'pass''word'",
    ]
    assert (database.data / "PG_VERSION").exists()
    assert database.log.read_text().splitlines()[-1].startswith("postgres -c config_file=")


def test_a_full_volume_is_waited_for_and_not_written_to(database: Scripts) -> None:
    """The second look finds room; `sleep` does not hold up the test."""
    database.program(
        "df", f"printf 'Avail\n'; grep -q sleep {database.log} && echo ' 41' || echo ' 39'"
    )
    database.program("sleep", f"! grep -q initdb {database.log}")
    result = run_database(database)
    assert result.returncode == 0
    assert result.stderr.splitlines() == [
        "database: waits, for less than 40 MB are free on its volume; make room"
    ]
    assert len(sql(database)) == 3


def test_a_cluster_is_kept_and_its_password_set_again(database: Scripts) -> None:
    run_database(database)
    (database.secrets / "database_password").write_text("another\n")
    database.log.write_text("")
    assert run_database(database).returncode == 0
    assert sql(database) == ["ALTER ROLE \"hub\" LOGIN PASSWORD 'another'"]
    assert "initdb" not in database.log.read_text()


def test_a_half_made_cluster_is_made_anew(database: Scripts) -> None:
    half = database.volume / "pgdata.new"
    half.mkdir()
    (half / "half").touch()
    assert run_database(database).returncode == 0
    assert not half.exists()
    assert not (database.data / "half").exists()


def test_a_kill_in_initdb_leaves_no_cluster(database: Scripts) -> None:
    database.program("initdb", 'mkdir "$2"; touch "$2/half"; kill -9 $PPID')
    assert run_database(database).returncode == -9
    assert not database.data.exists()


def test_another_major_version_is_refused_in_one_line(database: Scripts) -> None:
    database.data.mkdir()
    (database.data / "PG_VERSION").write_text("15\n")
    result = run_database(database)
    assert result.returncode == 1
    assert "data of PostgreSQL 15, this image is PostgreSQL 17" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "postgres" not in database.log.read_text()


def test_a_folder_that_is_no_cluster_is_left_alone(database: Scripts) -> None:
    database.data.mkdir()
    (database.data / "precious").touch()
    result = run_database(database)
    assert result.returncode == 1
    assert "no PG_VERSION" in result.stderr
    assert (database.data / "precious").exists()


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_without_a_password_nothing_starts(database: Scripts, content: str | None) -> None:
    file = database.secrets / "database_password"
    file.unlink()
    if content is not None:
        file.write_text(content)
    result = run_database(database)
    assert result.returncode == 1
    assert "database_password" in result.stderr
    assert "postgres" not in database.log.read_text()


def test_a_password_that_cannot_be_set_is_an_error(database: Scripts) -> None:
    database.data.mkdir()
    (database.data / "PG_VERSION").write_text("17\n")
    database.program("postgres", "exit 1")
    result = run_database(database)
    assert result.returncode == 1
    assert "cannot set the password of role hub" in result.stderr
    assert "pass'word" not in result.stderr + result.stdout + database.log.read_text()


def test_the_proxy_gets_its_token_in_the_environment_only(scripts: Scripts) -> None:
    (scripts.secrets / "proxy_token").write_text("secret\n")
    scripts.program("node", 'echo "token=$CONFIGPROXY_AUTH_TOKEN"')
    result = scripts.run("proxy", "--port", "8000")
    assert result.stdout == "token=secret\n"
    assert "--port 8000" in scripts.log.read_text()
    assert "secret" not in scripts.log.read_text().replace("/secrets/", "")


@pytest.mark.parametrize("content", [None, ""])
def test_the_proxy_does_not_start_without_a_token(scripts: Scripts, content: str | None) -> None:
    """It would, and leave its API open to everybody."""
    if content is not None:
        (scripts.secrets / "proxy_token").write_text(content)
    scripts.program("node")
    result = scripts.run("proxy")
    assert result.returncode == 1
    assert "proxy_token" in result.stderr
    assert scripts.log.read_text() == ""


@pytest.mark.parametrize("package", ["integrable_jupyterhub", "docker_filter"])
def test_whoever_is_still_starting_ends_when_told(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process of a container has no default action for SIGTERM."""
    command = import_module(f"{package}.__main__")

    def slow(name: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError(f"{name} is imported all the same")

    monkeypatch.setattr(command, "import_module", slow)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit, match="143"):
            command.main(["health"])
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("script", sorted(IMAGES.glob("*/*.sh")), ids=lambda path: path.parent.name)
def test_scripts_are_executable_and_parse(script: Path) -> None:
    assert os.access(script, os.X_OK)
    shell = script.read_text().splitlines()[0].removeprefix("#!")
    subprocess.run([shell, "-n", script], check=True)
