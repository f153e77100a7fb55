"""pyinfra's command line with a bare Debian 13 behind the @fake connector.

FAKE_FOLDER holds `inventory.py`, and, where a test wants them, `report` (what the host says of
itself) and `.imported-secrets.json`; what would have run on the host is noted in `commands`.
"""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine

import hubhost.secrets

FOLDER = Path(os.environ["FAKE_FOLDER"])
GOOD = f"""\
os_id debian
os_version 13
architecture x86_64
user_id 0
clock {time.time():.0f}
memory_mb 7953
systemd yes
time_service active
disk_mb 41200
state_options rw,relatime
missing integrable-jupyterhub-notebook:1
"""


def answer(command: str) -> str:
    """What a bare Debian 13 prints."""
    if "##PYINFRA_NOCMD##" in command:  # the fact needs a program that is not installed
        return "##PYINFRA_NOCMD##"
    if "os_id" in command:
        report = FOLDER / "report"
        return report.read_text() if report.exists() else GOOD
    return "version 13" if "VERSION_ID" in command else ""


def lookup(_: FakeConnector, command: str) -> tuple[bool, CommandOutput]:
    with (FOLDER / "commands").open("a") as log:
        log.write(f"{command}\n")
    lines = [OutputLine("stdout", line) for line in answer(command).splitlines()]
    return True, CommandOutput(lines)


def main() -> Any:
    setattr(FakeConnector, "_lookup_response", lookup)  # noqa: B010
    hubhost.secrets.IMPORTED = FOLDER / ".imported-secrets.json"
    sys.argv[0] = "pyinfra"
    return import_module("pyinfra_cli.main").main()


if __name__ == "__main__":
    sys.exit(main())
