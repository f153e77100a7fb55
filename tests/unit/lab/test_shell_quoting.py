"""./lab-shell: the command arrives at the far shell exactly as typed."""

import importlib.machinery
import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.errors import LabError
from tests.lab.host import ROOT, ssh_command

ARGUMENT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@pytest.fixture(scope="module")
def lab_shell() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("lab_shell", str(ROOT / "lab-shell"))
    spec = importlib.util.spec_from_loader("lab_shell", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@given(st.lists(ARGUMENT, max_size=4))
def test_a_shell_takes_the_arguments_apart_as_they_were(arguments: list[str]) -> None:
    call = ssh_command(Path("config"), ("printf", "%s\\0", "first", *arguments))
    # sshd hands the last argument to the login shell with -c.
    seen = subprocess.run(["sh", "-c", call[-1]], capture_output=True, check=True).stdout
    assert seen.decode().split("\0")[:-1] == ["first", *arguments]


def test_no_command_means_a_login_shell() -> None:
    assert ssh_command(Path("config"), (), "-t") == ["ssh", "-F", "config", "-t", "lab"]


def test_everything_after_the_dashes_is_the_command(lab_shell: ModuleType) -> None:
    assert lab_shell.parse(["--", "ls", "--lab", "x", "--"]) == ("demo", ("ls", "--lab", "x", "--"))
    assert lab_shell.parse(["--lab", "test-1", "--", "id"]) == ("test-1", ("id",))
    assert lab_shell.parse(["--lab=test-1", "--", "id", ""]) == ("test-1", ("id", ""))


@pytest.mark.parametrize(
    "arguments", [[], ["--"], ["ls"], ["--lab", "demo"], ["--lab", "demo", "--"], ["--help"]]
)
def test_no_command_is_an_error_that_shows_the_usage(
    lab_shell: ModuleType, arguments: list[str]
) -> None:
    with pytest.raises(LabError, match=r"usage: \./lab-shell \[--lab NAME\] -- CMD"):
        lab_shell.parse(arguments)
