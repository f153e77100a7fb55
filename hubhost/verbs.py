"""What the verbs that run pyinfra themselves, such as `make status`, have in common."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def pyinfra(script: str, *options: str) -> list[str]:
    """The command line that runs a script on the hosts of the inventory: those that LIMIT names.

    The Makefile makes LIMIT of HOST, for the other verbs too.
    """
    program = Path(sys.executable).with_name("pyinfra")
    limit = os.environ.get("LIMIT")
    return [str(program), *options, *(("--limit", limit) if limit else ()), "inventory.py", script]
