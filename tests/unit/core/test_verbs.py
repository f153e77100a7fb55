"""The command line of the verbs that run pyinfra themselves."""

import sys
from pathlib import Path

import pytest

from hubhost.verbs import pyinfra


def test_host_limits_a_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    program = str(Path(sys.executable).with_name("pyinfra"))
    monkeypatch.setenv("LIMIT", "hub*")
    limited = [program, "-y", "--limit", "hub*", "inventory.py", "ops/logs.py"]
    assert pyinfra("ops/logs.py", "-y") == limited
    monkeypatch.setenv("LIMIT", "")
    assert pyinfra("ops/logs.py") == [program, "inventory.py", "ops/logs.py"]
