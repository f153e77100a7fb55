"""Stand-ins for a host: programs that say what a test wants, and facts that are given."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from pyinfra.api.command import StringCommand
from pyinfra.context import ctx_host


class Programs:
    """A folder of small shell scripts that come before the machine's own programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def add(self, name: str, body: str = "") -> None:
        """A program whose body is shell; it says nothing and succeeds without one."""
        (self.folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.folder / name).chmod(0o755)

    def says(self, name: str, output: str) -> None:
        """A program that prints `output`, whatever it is asked."""
        self.add(name, f"cat <<'END'\n{output.strip()}\nEND")

    def run(self, script: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a script as a host would: by sh, from an empty environment."""
        return subprocess.run(
            ["sh", "-c", script],
            input=stdin,
            env={"PATH": f"{self.folder}:/usr/bin:/bin", "LC_ALL": "C"},  # no dockerd of our own
            capture_output=True,
            text=True,
            check=False,
        )

    def output(self, script: str) -> list[str]:
        """What a fact's command prints; it must succeed and complain of nothing."""
        done = self.run(script)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()


class FakeHost:
    """What operations see of a host: facts by their class, and the place to say "no change"."""

    name = "hub"

    def __init__(self, facts: Mapping[Any, Any], failed: tuple[str, ...] = ()) -> None:
        self.facts = facts
        self.noops: list[str] = []
        lost = [SimpleNamespace(name=name) for name in failed]
        self.state = SimpleNamespace(failed_hosts=lost, is_executing=False)

    def get_fact(self, fact: type, **_: Any) -> Any:
        return self.facts[fact]

    def noop(self, message: str) -> None:
        self.noops.append(message)


def commands(
    operation: Any, facts: Mapping[Any, Any], failed: tuple[str, ...] = (), **arguments: Any
) -> list[StringCommand]:
    """What an operation does to a host with these facts, where the run has lost some others."""
    with ctx_host.use(FakeHost(facts, failed)):
        return list(operation._inner(**arguments))


def text(command: StringCommand) -> str:
    """A command as logs show it."""
    return str(command)


def stdin(command: StringCommand) -> str:
    """What a command gets on its standard input, which no log shows."""
    return str(command.connector_arguments.get("_stdin", ""))


def defined_in(package: ModuleType) -> dict[str, Any]:
    """What the modules of a package define themselves, by name: also what it does not hand on."""
    modules = pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    return {
        name: value
        for module in map(importlib.import_module, (found.name for found in modules))
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__
    }
