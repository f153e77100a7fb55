"""How a session's server starts: the script, and what the server is spared."""

from __future__ import annotations

import importlib
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[3] / "images" / "notebook"
STARTER = NOTEBOOK / "singleuser.py"
HUB_SIDE = ("jupyterhub", "sqlalchemy", "alembic")


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
@pytest.fixture
def modules() -> Iterator[None]:
    """What a test imports is not imported afterwards."""
    before = dict(sys.modules)
    for name in [n for n in sys.modules if n.partition(".")[0] in HUB_SIDE]:
        del sys.modules[name]
    yield
    sys.modules.clear()
    sys.modules.update(before)


def test_the_servers_names_are_found_without_what_only_a_hub_needs(modules: None) -> None:
    starter = runpy.run_path(str(STARTER))
    starter["prepare"]()
    log = importlib.import_module("jupyterhub.log")
    for name in ("metrics", "scopes", "utils"):
        importlib.import_module(f"jupyterhub.{name}")

    assert log.HealthCheckHandler is starter["HealthCheckHandler"]
    loaded = [n for n in sys.modules if n.partition(".")[0] in HUB_SIDE[1:]]
    assert sorted(loaded) == ["sqlalchemy", "sqlalchemy.exc"]


def test_whoever_asks_for_the_database_gets_it(modules: None) -> None:
    runpy.run_path(str(STARTER))["prepare"]()
    assert importlib.import_module("jupyterhub.orm").User.__tablename__ == "users"
    errors = importlib.import_module("sqlalchemy.exc")
    assert issubclass(errors.OperationalError, errors.SQLAlchemyError)
