"""How a session's server starts: the script, and what the server is spared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[3] / "images" / "notebook"
STARTER = NOTEBOOK / "singleuser.py"


# --- start-singleuser.sh --------------------------------------------------------------------
class Start:
    """The script, in a folder that it believes is its container."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.hooks = folder / "before-notebook.d"
        self.skeleton = folder / "skel"
        for path in (self.home, self.hooks, self.skeleton, folder / "bin"):
            path.mkdir()
        python = folder / "bin" / "python3"
        python.write_text('#!/bin/sh\necho "$USER/$LOGNAME $HOOK: $*"\n')
        python.chmod(0o755)

    def run(self, *arguments: str, **env: str) -> str:
        script = (NOTEBOOK / "start-singleuser.sh").read_text()
        script = script.replace("/etc/skel", str(self.skeleton))
        script = script.replace("--update=none", "-n")  # before coreutils 9.3, here perhaps
        script = script.replace("/usr/local/bin/before-notebook.d", str(self.hooks))
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-c", script, "start", *arguments],
            env={"PATH": path, "HOME": str(self.home), "NB_USER": "jovyan", **env},
            capture_output=True,
            text=True,
            check=True,
        ).stdout


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return Start(tmp_path)


def test_the_server_starts_with_the_arguments_of_notebook_args(start: Start) -> None:
    told = start.run("--more", NOTEBOOK_ARGS="--a=1 --b")
    assert told == "jovyan/jovyan : -P /usr/local/lib/singleuser.py --a=1 --b --more\n"


def test_a_session_has_a_name_though_its_user_is_in_no_list(start: Start) -> None:
    assert start.run(NB_USER="ada").startswith("ada/ada ")


def test_the_home_gets_what_the_image_wants_in_it_and_keeps_its_own(start: Start) -> None:
    (start.skeleton / ".cache").mkdir()
    (start.skeleton / ".cache" / "fonts").write_text("image")
    (start.skeleton / "mine").write_text("image")
    (start.home / "mine").write_text("session")
    start.run()
    assert (start.home / ".cache" / "fonts").read_text() == "image"
    assert (start.home / "mine").read_text() == "session"


def test_hooks_run_in_order_and_may_set_the_environment(start: Start) -> None:
    (start.hooks / "10-a.sh").write_text("export HOOK=a")
    (start.hooks / "20-b.sh").write_text("export HOOK=${HOOK}b")
    (start.hooks / "30-c").write_text("#!/bin/sh\necho ran")
    (start.hooks / "30-c").chmod(0o755)
    (start.hooks / "40-text").write_text("no program")
    told = start.run().splitlines()
    assert told[0] == "ran"
    assert told[1].startswith("jovyan/jovyan ab:")


# --- singleuser.py --------------------------------------------------------------------------
def prepared(code: str) -> str:
    """What a program prints that begins as the server does."""
    begin = f"import runpy, sys; starter = runpy.run_path({str(STARTER)!r}); starter['prepare']()\n"
    done = subprocess.run(
        [sys.executable, "-c", begin + code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_servers_names_are_found_without_what_only_a_hub_needs() -> None:
    told = prepared("""
import jupyterhub.log, jupyterhub.metrics, jupyterhub.scopes, jupyterhub.utils
assert jupyterhub.log.HealthCheckHandler is starter["HealthCheckHandler"]
print(*sorted(n for n in sys.modules if n.partition(".")[0] in ("sqlalchemy", "alembic")))
""")
    assert told == "sqlalchemy sqlalchemy.exc"


def test_whoever_asks_for_the_database_gets_it() -> None:
    told = prepared("""
from jupyterhub import orm
print(orm.User.__tablename__)
import sqlalchemy.exc
assert issubclass(sqlalchemy.exc.OperationalError, sqlalchemy.exc.SQLAlchemyError)
""")
    assert told == "users"
