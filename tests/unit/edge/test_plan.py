"""The whole deployment, planned and played against a host that only pretends (@fake).

Never evidence that it works; but that it is planned in order, says what a person needs and no
secret, and stops before it touches anything when something is wrong.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hubhost.secrets import ALL_SECRETS
from tests.unit.core.sample import ROOT

ROLES = [
    *("Preflight", "Record", "Sessions", "Docker", "Images", "Network", "Firewall", "Secrets"),
    *("TLS", "Handover", "Database", "Proxy", "Docker filter", "Forget", "Daily", "Hub"),
    *("Backup", "Release"),
]
PROGRESS = r"""
--> (Loading config|Loading inventory|Connecting to hosts|Disconnecting from hosts)\.\.\.
--> (Preparing operation files|Preparing operations)\.\.\.
    Loading: deploy\.py
    \[@fake/hub\] (Connected|Ready: deploy\.py)
"""


@dataclass(frozen=True)
class Run:
    exit_code: int
    output: str
    said: str
    commands: list[str]

    @property
    def plan(self) -> list[str]:
        names: list[str] = [step["name"] for step in json.loads(self.output)["plan"]]
        return names

    @property
    def error_lines(self) -> list[str]:
        _, found, message = self.said.partition("--> pyinfra error")
        assert found, self.said
        return message.partition(": ")[2].splitlines()


def pyinfra(
    folder: Path,
    *arguments: str,
    script: str = "deploy.py",
    variables: Mapping[str, str] | None = None,
    hosts: str = '["@fake/hub"]',
    **data: Any,
) -> Run:
    (folder / "inventory.py").write_text(f"hubs = {hosts}\n")
    settings = [word for key, value in data.items() for word in ("--data", f"{key}={value}")]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.unit.edge.fake_pyinfra", *arguments, *settings),
            *(str(folder / "inventory.py"), script),
        ],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "FAKE_FOLDER": str(folder),
            "PYINFRA_FAKE_DELAY": "0",
            "PYINFRA_FAKE_DELAY_JITTER": "0",
            "PYINFRA_PROGRESS": "off",
            **(variables or {}),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    log = folder / "commands"
    commands = log.read_text().splitlines() if log.exists() else []
    return Run(done.returncode, done.stdout, done.stderr, commands)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`pyinfra --dry` against a bare host."""
    return pyinfra(tmp_path_factory.mktemp("dry"), "--dry", "--json")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A whole deployment with imported secrets, as loud as it gets."""
    folder = tmp_path_factory.mktemp("real")
    imported = {secret.name: f"s3cret-{secret.name}" for secret in ALL_SECRETS}
    (folder / ".imported-secrets.json").write_text(json.dumps(imported))
    run = pyinfra(folder, "-y", "-vvv", "--debug", "--diff")
    assert not (folder / ".imported-secrets.json").exists()
    return run


def test_a_dry_run_on_a_bare_host_succeeds(planned: Run) -> None:
    assert planned.exit_code == 0, planned.said


def test_the_plan_is_a_checklist_that_a_person_reads(planned: Run) -> None:
    assert planned.plan == [
        "Preflight | Take the host's lock",
        "Record | Note what is on the host before anything is changed",
        "Sessions | Write the runtime and the rules of sessions",
        "Docker | Configure Docker",
        "Docker | Install AppArmor, by which Docker confines",
        "Docker | Install Docker and the tools that build images",
        "Docker | Hold the engine's packages, which make patch moves",
        "Docker | Start Docker",
        "Docker | Restart Docker if its configuration changed",
        "Images | Make the base image",
        "Images | Start building",
        "Images | Build the database image",
        "Images | Build the proxy image",
        "Images | Build the filter image",
        "Images | Build the hub image",
        "Images | Build the notebook image",
        "Images | Load images built elsewhere",
        "Network | Create jupyterhub_network",
        "Firewall | Write the rules",
        "Firewall | Apply the rules",
        "Secrets | Make the secrets that are missing",
        "TLS | Make a self-signed certificate",
        "Handover | Write the program",
        "Database | Delete the cluster of a former PostgreSQL, a week after",
        "Database | Run the database",
        "Proxy | Run the proxy",
        "Proxy | Serve the certificate",
        "Docker filter | Configure the Docker filter",
        "Docker filter | Run the Docker filter",
        "Forget | Make the folders that the hub writes to",
        "Forget | Write the script and its units",
        "Forget | Watch for requests to forget a user",
        "Daily | Write the daily look, and what shows logs",
        "Daily | Look daily",
        "Hub | Configure the hub",
        "Hub | Run the hub",
        "Backup | Make no backups",
        "Release | Record what runs",
        "Release | Delete images that no recorded release needs",
    ]


def test_roles_come_in_the_order_of_the_deployment(planned: Run) -> None:
    order = list(dict.fromkeys(name.partition(" | ")[0] for name in planned.plan))
    assert order == ROLES


def test_nothing_but_progress_is_said_beside_the_plan(planned: Run) -> None:
    allowed = [line for line in PROGRESS.splitlines() if line]
    said = [line for line in planned.said.splitlines() if line]
    assert [x for x in said if not any(re.fullmatch(pattern, x) for pattern in allowed)] == []


def test_a_dry_run_changes_nothing(planned: Run) -> None:
    changing = ("apt-get", "systemctl enable", "docker network create", "mv ", "docker build ")
    assert [line for line in planned.commands if line.startswith(changing)] == []


def test_a_deployment_runs_to_its_end(played: Run) -> None:
    assert played.exit_code == 0, played.said


def test_no_secret_is_printed_however_loud_the_run(played: Run) -> None:
    assert "Take over the imported secrets" in played.said
    assert "s3cret" not in played.said + played.output


def test_no_secret_is_in_a_command_on_the_host(played: Run) -> None:
    assert any("secrets/cookie_secret" in line for line in played.commands)
    assert "s3cret" not in "\n".join(played.commands)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"hubip": 1}, "hubip: no such setting; did you mean hub_ip?"),
        (
            {"hub_ip": "10.0.0.1"},
            (
                "hub_ip: 10.0.0.1 is not an address of 172.27.0.0/16; choose an address of"
                " 172.27.0.0/16 outside 172.27.128.0/17 in group_data/all.py"
            ),
        ),
    ],
    ids=["misspelt", "outside"],
)
def test_a_bad_setting_is_one_line_before_anything_runs(
    data: dict[str, Any], line: str, tmp_path: Path
) -> None:
    run = pyinfra(tmp_path, "-y", **data)
    assert run.exit_code != 0
    assert run.error_lines == [line]
    assert run.commands == []
    assert "Traceback" not in run.said


def test_a_bad_host_is_told_all_its_problems_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("os_id alpine\nuser_id 0\n")
    run = pyinfra(tmp_path, "-y")
    assert run.exit_code != 0
    subjects = [line.partition(":")[0] for line in run.error_lines]
    assert subjects == ["operating system", "init system", "memory", "disk", "clock"]
    assert "Traceback" not in run.said
    assert len([line for line in run.commands if "docker" in line and "create" in line]) == 0


# --- Verbs of day two ---------------------------------------------------------------------------
def test_a_rotation_says_what_it_costs_discards_and_deploys(planned: Run, tmp_path: Path) -> None:
    wanted = {"SECRET": "proxy_token,tls"}
    run = pyinfra(tmp_path, "--dry", "--json", script="ops/rotate.py", variables=wanted)
    assert run.exit_code == 0, run.said
    assert run.plan[:3] == ["Take the host's lock", "Discard proxy_token", "Discard tls"]
    assert [name.removeprefix("deploy.py | ") for name in run.plan[3:]] == planned.plan
    assert "proxy_token: proxy and hub are replaced, connections are cut" in run.said


def test_a_rotation_of_nothing_is_one_line_before_anything_runs(tmp_path: Path) -> None:
    run = pyinfra(tmp_path, "-y", script="ops/rotate.py", variables={"SECRET": "cookies"})
    assert run.exit_code != 0
    (line,) = run.error_lines
    assert line.startswith("SECRET: there is no 'cookies'; name one or more of database_password")
    assert run.commands == []


@pytest.mark.parametrize(
    ("script", "variables", "line"),
    [
        ("restore", {}, "FILE: not set; make restore FILE=backup.age KEY=key.txt"),
        ("restore", {"RESTORE_FILE": "x.age"}, "KEY: not set; make restore"),
        (
            "backup",
            {"BACKUP_TO": "/nowhere"},
            "TO: /nowhere is no folder that can be written here;",
        ),
        ("backup", {}, "backup_recipients: @fake/hub was deployed without any, so nobody"),
    ],
)
def test_a_backup_or_restore_that_cannot_be_is_one_line(
    script: str, variables: dict[str, str], line: str, tmp_path: Path
) -> None:
    run = pyinfra(tmp_path, "-y", script=f"ops/{script}.py", variables=variables)
    (said,) = run.error_lines
    assert said.startswith(line)
    assert run.exit_code != 0


def test_a_restore_names_its_host(tmp_path: Path) -> None:
    """An inventory of several must not all become one."""
    two = '["@fake/hub", "@fake/other"]'
    run = pyinfra(tmp_path, "-y", script="ops/restore.py", hosts=two)
    assert run.error_lines[0].startswith("HOST: the inventory has 2 hosts; name one: HOST=@fake/")
