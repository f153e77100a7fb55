"""`pyinfra inventory.py deploy.py` as the tests run it: what changed, what it said, how long."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubhost.engine import engine_packages
from hubhost.images import PREFIX
from tests.lab import engine
from tests.lab.host import ROOT, Host, copy_images, ssh_command

PYINFRA = ROOT / ".venv" / "bin" / "pyinfra"
RUNBOOK = ROOT / "docs" / "operations.md"
ON_HOST = "host# "
COMMAND = re.compile(rf"{ON_HOST}|(?:[A-Z_]+=\S+ )*(?:make |\.venv/bin/|\./)")
"""How a line in a block of the runbook begins, where it is something to type."""


@dataclass(frozen=True)
class Run:
    """One run of the deployment. `changed` are names of operations, in order."""

    exit_code: int
    changed: list[str]
    output: str
    seconds: float

    @property
    def failed(self) -> str | None:
        """The name of the operation that the run ended at; pyinfra's JSON does not tell."""
        before, error, _ = self.output.partition("Error: executed")
        return (
            before.rpartition("Starting operation: ")[2].splitlines()[0].strip() if error else None
        )

    @property
    def commands(self) -> int:
        """How many commands ran on the host; needs the run to be verbose (``-vv``)."""
        return len(re.findall(r"\] >>> ", self.output))

    @property
    def error_lines(self) -> list[str]:
        """What a person reads when it ends in an error: the lines after pyinfra's own prefix."""
        _, found, message = self.output.partition("--> pyinfra error")
        return message.partition(": ")[2].strip().splitlines() if found else []


@dataclass(frozen=True)
class Command:
    """What a line of the runbook came to."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


@dataclass(frozen=True)
class Deployment:
    """The installer, pointed at one lab host."""

    host: Host
    checkout: Path = ROOT

    def command(self, *options: str, script: str = "deploy.py", **settings: Any) -> list[str]:
        """The command line; `settings` win over group_data, as `--data` does."""
        data = [part for k, v in settings.items() for part in ("--data", f"{k}={_literal(v)}")]
        return [str(PYINFRA), "-y", *options, *data, "inventory.py", script]

    @property
    def environment(self) -> dict[str, str]:
        """As a person's shell has it, not as `make test` leaves it: that make told of its level."""
        own = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MAKELEVEL"}}
        return {**own, "LAB": self.host.name, "PYINFRA_PROGRESS": "off"}

    def run(
        self,
        *options: str,
        script: str = "deploy.py",
        variables: Mapping[str, str] | None = None,
        check: bool = True,
        timeout: float = 2400,
        **settings: Any,
    ) -> Run:
        """Deploy, or run another script, which takes what it needs from environment `variables`.

        An error is an AssertionError with all that was said, unless check=False.
        """
        started = time.monotonic()
        done = subprocess.run(
            self.command("--json", *options, script=script, **settings),
            cwd=self.checkout,
            env={**self.environment, **(variables or {})},
            capture_output=True,
            text=True,
            timeout=timeout * self.host.patience,
            check=False,
        )
        seconds = time.monotonic() - started
        results = json.loads(done.stdout)["results"] if done.stdout else None
        operations = results["operations"] if results else []  # a dry run has none
        run = Run(
            done.returncode, [o["name"] for o in operations if o["success"]], done.stderr, seconds
        )
        assert not check or run.exit_code == 0, done.stderr
        return run

    @contextmanager
    def given(self, **settings: Any) -> Iterator[None]:
        """Settings of the host's own, as inventory.py names them, for all verbs."""
        file = self.host.folder / "settings.json"
        file.write_text(json.dumps(settings))
        try:
            yield
        finally:
            file.unlink()

    @contextmanager
    def begun(
        self, *options: str, script: str = "deploy.py", **settings: Any
    ) -> Iterator[subprocess.Popen[str]]:
        """A deployment that goes on while the test does; what it says can be read when it ended."""
        with subprocess.Popen(
            self.command(*options, script=script, **settings),
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as run:
            try:
                yield run
            finally:
                run.kill()

    def runbook(
        self,
        line: str,
        *,
        timeout: float = 900,
        until: Callable[[str], bool] | None = None,
        **names: str,
    ) -> Command:
        """Do what docs/operations.md tells a person to type: that very line.

        `host#` is a root shell on the host; pyinfra asks for the return key, and gets it. Words of
        the line in capitals, NAME for one, are replaced by what `names` gives for them. A command
        that goes on is interrupted once `until` is satisfied with what it has printed.

        Raises:
            AssertionError: the runbook has no such line.
        """
        assert line in runbook_lines(), f"not in docs/operations.md: {line}"
        for name, value in names.items():
            line = re.sub(rf"(?<![\w-]){name}(?![\w=-])", value, line)
        on_host, shell = line.startswith(ON_HOST), ("bash", "-c", line.removeprefix(ON_HOST))
        command = ssh_command(self.host.ssh_config, shell) if on_host else [*shell]
        if until:
            return self._interrupted(command, until, timeout)
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            input="\n" * 9,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Command(done.returncode, done.stdout, done.stderr)

    def _interrupted(
        self, command: list[str], until: Callable[[str], bool], timeout: float
    ) -> Command:
        with (
            tempfile.NamedTemporaryFile("w") as said,
            subprocess.Popen(
                # A shell that started the tests in the background has this signal ignored.
                ["env", "--default-signal=INT", *command],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                start_new_session=True,
            ) as running,
        ):

            def printed() -> str:
                return Path(said.name).read_text()

            try:
                met = engine.until(lambda: until(printed()), timeout)
            finally:
                os.killpg(running.pid, signal.SIGINT)
            assert met, printed()
            running.wait(60)
            return Command(running.returncode, printed(), "")


def runbook_lines() -> list[str]:
    """The commands in docs/operations.md, without their comments."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", RUNBOOK.read_text(), re.MULTILINE | re.DOTALL)
    lines = [re.split(r"\s+# ", line)[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if COMMAND.match(line)]


def _literal(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def give_images(source: Host, target: Host) -> None:
    """Docker, and the images that another lab has built: a deployment would take minutes."""
    packages = " ".join(engine_packages("", str(target.debian)))
    target.sh(
        "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update;"
        f" apt-get -qq install --no-install-recommends -y {packages} >/dev/null",
        timeout=300 * target.patience,
    )
    images = f"docker images --format '{{{{.Repository}}}}:{{{{.Tag}}}}' | grep ^{PREFIX}"
    copy_images(source, target, *source.sh(images).split())


if __name__ == "__main__":  # python -m tests.deployment SOURCE TARGET
    give_images(*map(Host.read, sys.argv[1:]))
