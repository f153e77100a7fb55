"""Templates: all render, and a value that is missing is an error."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from hubhost.isolation import JUMPS
from hubhost.paths import FIREWALL
from hubhost.templates import FILES, render

VALUES: dict[str, dict[str, Any]] = {
    "firewall/apply.sh": {"jumps": JUMPS},
    "firewall/integrable-jupyterhub-firewall.service": {"firewall": FIREWALL},
}
UNIT = "firewall/integrable-jupyterhub-firewall.service"


def unit(section: str) -> dict[str, str]:
    text = render(UNIT, **VALUES[UNIT])
    body = text.partition(f"[{section}]\n")[2].partition("\n[")[0]
    return dict(line.split("=", 1) for line in body.splitlines() if "=" in line and line[0] != "#")


def test_there_are_values_for_every_template() -> None:
    templates = {
        path.relative_to(FILES).as_posix()
        for path in FILES.rglob("*")
        if path.is_file() and path.relative_to(FILES).parts[0] != "ssl"
    }
    assert templates == set(VALUES)


@pytest.mark.parametrize("template", VALUES)
def test_a_template_renders_whole(template: str) -> None:
    text = render(template, **VALUES[template])
    assert not re.search(r"\{\{|\{%|%\}|\}\}", text)
    assert text.endswith("\n")


@pytest.mark.parametrize("template", VALUES)
def test_a_value_that_is_missing_is_an_error(template: str) -> None:
    with pytest.raises(UndefinedError):
        render(template)


def test_the_unit_stands_before_docker_and_docker_needs_it() -> None:
    assert "docker.service" in unit("Unit")["Before"].split()
    assert unit("Install")["RequiredBy"] == "docker.service"


def test_the_unit_comes_back_with_nftables() -> None:
    assert unit("Unit")["PartOf"] == "nftables.service"
    assert "nftables.service" in unit("Unit")["After"].split()


def test_the_unit_runs_the_script() -> None:
    service = unit("Service")
    assert service["ExecStart"] == service["ExecReload"] == f"{FIREWALL}/apply.sh"


# --- apply.sh, run against an iptables that only remembers ---------------------------------
IPTABLES = (
    rf"#!{sys.executable} -IS"
    r"""
import json, os, pathlib, sys
file = pathlib.Path(os.environ["TABLE"])
table = json.loads(file.read_text())
name, words = pathlib.Path(sys.argv[0]).name, [w for w in sys.argv[1:] if w != "-w"]
with open(os.environ["LOG"], "a") as log:
    log.write(" ".join([name, *words]) + "\n")
if name == "iptables-restore":
    sys.exit(1 if "broken" in sys.stdin.read() else 0)
if name == "sysctl":
    sys.exit(0)
verb, chain, rest = words[0], words[1], words[2:]
if verb == "-N":
    if chain in table:
        sys.exit(1)
    table[chain] = []
elif verb == "-S":
    print(f"-N {chain}", *(f"-A {chain} {rule}" for rule in table[chain]), sep="\n")
elif verb == "-I":
    table[chain].insert(int(rest[0]) - 1, " ".join(rest[1:]))
elif verb == "-D":
    table[chain].pop(int(rest[0]) - 1)
file.write_text(json.dumps(table))
"""
)


class Kernel:
    """A folder of programs that stand in for iptables, and what apply.sh made of its table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name in ("iptables", "iptables-restore", "sysctl"):
            (self.bin / name).write_text(IPTABLES)
            (self.bin / name).chmod(0o755)
        (folder / "apply.sh").write_text(render("firewall/apply.sh", jumps=JUMPS))
        (folder / "v4.rules").write_text("*filter\nCOMMIT\n")

    def apply(self, table: str) -> tuple[int, str, list[str]]:
        (self.folder / "table").write_text(table)
        (self.folder / "log").write_text("")
        environment = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "TABLE": str(self.folder / "table"),
            "LOG": str(self.folder / "log"),
        }
        done = subprocess.run(["sh", self.folder / "apply.sh"], env=environment, check=False)
        log = (self.folder / "log").read_text().splitlines()
        return done.returncode, (self.folder / "table").read_text(), log


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # before Docker ever ran
        ('{"INPUT": []}', '{"INPUT": ["-j JHUB-INPUT"], "DOCKER-USER": ["-j JHUB-FORWARD"]}'),
        # as it should be
        (
            '{"INPUT": ["-j JHUB-INPUT"], "DOCKER-USER": ["-j JHUB-FORWARD", "-j RETURN"]}',
            '{"INPUT": ["-j JHUB-INPUT"], "DOCKER-USER": ["-j JHUB-FORWARD", "-j RETURN"]}',
        ),
        # somebody put a rule of their own first
        (
            '{"INPUT": ["-j ufw", "-j JHUB-INPUT", "-j x"], "DOCKER-USER": ["-j RETURN"]}',
            (
                '{"INPUT": ["-j JHUB-INPUT", "-j ufw", "-j x"],'
                ' "DOCKER-USER": ["-j JHUB-FORWARD", "-j RETURN"]}'
            ),
        ),
        # and ours are there several times
        (
            '{"INPUT": ["-j a", "-j JHUB-INPUT", "-j b", "-j JHUB-INPUT"], "DOCKER-USER": []}',
            '{"INPUT": ["-j JHUB-INPUT", "-j a", "-j b"], "DOCKER-USER": ["-j JHUB-FORWARD"]}',
        ),
    ],
    ids=["bare", "good", "not first", "several"],
)
def test_our_jump_becomes_the_first_rule_and_the_only_one(
    kernel: Kernel, before: str, after: str
) -> None:
    code, table, _ = kernel.apply(before)
    assert (code, table) == (0, after)


def test_the_jump_is_never_missing_while_it_moves(kernel: Kernel) -> None:
    _, _, log = kernel.apply('{"INPUT": ["-j a", "-j JHUB-INPUT"], "DOCKER-USER": []}')
    changes = [line for line in log if line.startswith(("iptables -I INPUT", "iptables -D INPUT"))]
    assert changes == ["iptables -I INPUT 1 -j JHUB-INPUT", "iptables -D INPUT 3"]


def test_rules_are_tried_before_they_are_loaded_beside_others(kernel: Kernel) -> None:
    _, _, log = kernel.apply('{"INPUT": []}')
    assert [line for line in log if "restore" in line] == [
        "iptables-restore -w 10 --noflush --test".replace("-w ", ""),
        "iptables-restore -w 10 --noflush".replace("-w ", ""),
    ]


def test_broken_rules_are_an_error_and_change_nothing(kernel: Kernel) -> None:
    (kernel.folder / "v4.rules").write_text("broken\n")
    code, table, log = kernel.apply('{"INPUT": []}')
    assert code != 0
    assert table == '{"INPUT": []}'
    assert len([line for line in log if "restore" in line]) == 1
