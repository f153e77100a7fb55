"""Templates: all render, and a value that is missing is an error."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from hubhost.facts import GUARD_STATE
from hubhost.isolation import JUMPS, JUMPS6
from hubhost.paths import FIREWALL, GUARD_DIGEST
from hubhost.templates import FILES, render

MIGRATE: dict[str, Any] = {
    **{name: f"/{name}" for name in ("migration", "secrets", "tls_folder", "units")},
    **{name: name for name in ("project", "network", "role_label", "notebook", "hub_service")},
    "keep_log": "keep_log() { :; }",
    **{name: name for name in ("hub", "proxy", "tls_key", "tls_certificate", "network_options")},
    "containers": [
        {name: name for name in ("id", "name", "new_name", "service", "restart", "connect")}
        | {"running": True}
    ],
    "rules": [{"place": 1, "rule": "-j DROP", "listed": "'-j DROP'"}],
    "kept": ["a"],
    "changed": ["b"],
    "tls": True,
    "notebook_id": "sha256:1",
    "hub_runs": True,
    "hub_port": 8081,
    "base_url": "/",
    "services_group": 65600,
}
VALUES: dict[str, dict[str, Any]] = {
    "migrate/look": {"migration": "/m", "hub": "h", "proxy": "p", "role_label": "l"},
    "migrate/take-over": MIGRATE,
    "migrate/undo": MIGRATE,
    "backup/backup.service": {"folder": "/f", "script": "/x/backup.sh", "state": "/s"},
    "backup/backup.sh": {
        **{name: f"/{name}" for name in ("folder", "own_folder", "work", "tls", "recipients")},
        **{name: f"/{name}" for name in ("backup", "archive", "archived", "secrets")},
        **{name: name for name in ("name", "database", "namespace", "secret_names")},
        "reserve_kb": 1024,
        "keep": 3,
    },
    "backup/backup.timer": {"hours": 6, "times": "03,09,15,21"},
    "daily/daily": {
        "address": "192.0.2.1:1",
        "archive": "/a",
        "ca_certificates": "",
        "database_volume": "v",
        "etc": "/e",
        "forget": "/f",
        "image_label": "i",
        "log_days": 7,
        "logs": "/l",
        "renewal": "r",
        "role_label": "l",
        "seconds": 1814400,
        "security_mirror": "http://m",
        "state": "/s",
        "suite": "trixie",
        "tls": "/x",
    },
    "daily/daily.service": {"daily": "/d"},
    "daily/daily.timer": {},
    "doctor/doctor": {
        "address": "192.0.2.1:1",
        "daily": "/d",
        "etc": "/e",
        "jumps": [("iptables", "INPUT")],
        "logs_script": "/l",
        "mirrors": [("debian_mirror", "m", 80)],
        "network": "n",
        "port": 1,
        "role_label": "l",
        "state": "/s",
        "tls": "/x",
    },
    "doctor/redact": {},
    "firewall/apply.sh": {
        "jumps": JUMPS,
        "jumps6": JUMPS6,
        "guard_state": GUARD_STATE,
        "guard_digest": GUARD_DIGEST,
    },
    "firewall/bridge.nft": {"others": ["o"], "flows": ["f"], "replies": ["r"]},
    "firewall/docker.conf": {"firewall": FIREWALL},
    "firewall/guard.nft": {
        "bridge": "br-jhub",
        "link_local": "169.254.0.0/16",
        "flows": ["f"],
        "unbound": ["172.27.0.2"],
        "public": ["p"],
        "strangers": ["s"],
    },
    "firewall/integrable-jupyterhub-firewall.service": {"firewall": FIREWALL},
    "database/carry": {
        "hub": "h",
        "database": "d",
        "volume": "v",
        "before": "b",
        "offline": "o",
        "offline_options": "--name o",
        "dumps": "/d",
        "kept": 5,
        "undo": "/u",
        "program": "/p",
    },
    "forget/forget": {"kept": "/k", "requests": "/r", "role_label": "l", "unit": "u"},
    "release/release.sh": {
        "releases": "/r",
        "names": ["a", "b"],
        "database": "a",
        "carry": "/c",
        "digest_label": "l",
        "keep_log": "k",
        "firewall": "/f",
        "firewall_unit": "f.service",
        "units": "/u",
        "prefix": "p-",
    },
    "forget/integrable-jupyterhub-forget.path": {"requests": "/r"},
    "forget/integrable-jupyterhub-forget.service": {"forget": "/f"},
    "logs/logs": {"kept": "/k", "prefix": "p"},
    "session/network.nft": {
        "doors": [("172.27.0.2", 8081)],
        "kbytes_per_second": 1,
        "kbytes_burst": 2,
        "answer_kbytes_per_second": 1,
        "answer_kbytes_burst": 2,
        "opened_per_second": 3,
        "opened_burst": 4,
        "connections": 5,
    },
    "session/resolv.conf": {},
    "session/runtime": {},
    "session/seccomp.json": {},
    "uninstall/functions.sh": {"units": "/u"},
    "uninstall/uninstall.sh": {
        "units": "/u",
        "etc": "/e",
        "state": "/s",
        "before": "/s/before",
        "backups": "/s/backup",
        "backups_elsewhere": "/b/hub_*.age",
        "logs": "/l",
        "build_slice": "x.slice",
        "daemon_json": "/d",
        "role_label": "r",
        "name_label": "n",
        "prefix": "p-",
        "volumes": ("v", "w"),
        "engine": ("docker.io", "runc"),
    },
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
    assert not re.search(r"\{\{ |\{%|%\}| \}\}", text)  # without blanks: Docker's
    assert text.endswith("\n")


@pytest.mark.parametrize("template", [name for name, values in VALUES.items() if values])
def test_a_value_that_is_missing_is_an_error(template: str) -> None:
    with pytest.raises(UndefinedError):
        render(template)


def test_the_unit_stands_before_docker_and_docker_needs_it() -> None:
    assert "docker.service" in unit("Unit")["Before"].split()
    assert unit("Install")["RequiredBy"] == "docker.service"


def test_docker_ends_its_start_with_our_rules_and_fails_with_them() -> None:
    text = render("firewall/docker.conf", firewall=FIREWALL)
    assert f"\nExecStartPost={FIREWALL}/apply.sh\n" in text  # no "-" that would forgive


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
    if name.endswith("-restore") and "nft" in name:
        log.write(sys.stdin.read())
if name.endswith("-restore"):
    sys.exit(1 if "broken" in sys.stdin.read() else 0)
if name == "nft":
    text = "" if "list" in words else open(words[-1] if words[-1] != "-" else 0).read()
    sys.exit("broken" in text or "ibrname" in text and os.environ["IBRNAME"] == "no")
if name.endswith("-save"):
    print(os.environ["OTHER"])
if words[:1] == ["-V"]:
    print(os.environ["VARIANT"])
if name == "sysctl" or name.endswith("-save") or words[:1] == ["-V"]:
    sys.exit(0)
verb, shown, rest = words[0], words[1], words[2:]
chain = shown + ("6" if name == "ip6tables" else "")
if verb == "-N":
    if chain in table:
        sys.exit(1)
    table[chain] = []
elif verb == "-S":
    rules = table.setdefault(chain, [])
    print(f"-N {shown}", *(f"-A {shown} {rule}" for rule in rules), sep="\n")
elif verb == "-I":
    table[chain].insert(int(rest[0]) - 1, " ".join(rest[1:]))
elif verb == "-D":
    table[chain].pop(int(rest[0]) - 1)
file.write_text(json.dumps(table))
"""
)
PROGRAMS = [
    "nft",
    "sysctl",
    *(
        f"{program}{variant}{suffix}"
        for program in ("iptables", "ip6tables")
        for variant in ("", "-legacy", "-nft")
        for suffix in ("", "-save", "-restore")
    ),
]
NFT, LEGACY = "iptables v1.8.11 (nf_tables)", "iptables v1.8.11 (legacy)"


class Kernel:
    """A folder of programs that stand in for iptables and nft, and what apply.sh made of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name in PROGRAMS:
            (self.bin / name).write_text(IPTABLES)
            (self.bin / name).chmod(0o755)
        values = VALUES["firewall/apply.sh"] | {"guard_digest": str(folder / "digest")}
        (folder / "apply.sh").write_text(render("firewall/apply.sh", **values))
        for name in ("v4.rules", "v6.rules"):
            (folder / name).write_text("*filter\nCOMMIT\n")
        (folder / "guard.nft").write_text("table inet jhub\n")
        (folder / "bridge.nft").write_text("meta ibrname\n")
        (folder / "bridge-by-address.nft").write_text("ether type\n")

    def apply(
        self, table: str = "{}", *, variant: str = NFT, other: str = "", ibrname: str = "yes"
    ) -> tuple[int, str, list[str]]:
        """Exit code, the table afterwards, and what was called with what."""
        (self.folder / "table").write_text(table)
        (self.folder / "log").write_text("")
        environment = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "TABLE": str(self.folder / "table"),
            "LOG": str(self.folder / "log"),
            "VARIANT": variant,
            "OTHER": other,
            "IBRNAME": ibrname,
        }
        done = subprocess.run(["sh", self.folder / "apply.sh"], env=environment, check=False)
        log = (self.folder / "log").read_text().splitlines()
        return done.returncode, (self.folder / "table").read_text(), log


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


GOOD = {
    "FORWARD": ["-j DOCKER-USER"],
    "DOCKER-USER": ["-j JHUB-FORWARD"],
    "INPUT": ["-j JHUB-INPUT"],
    "FORWARD6": ["-j JHUB-DENY6"],
    "INPUT6": ["-j JHUB-DENY6"],
}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {}),  # before Docker ever ran
        # as it should be
        ({"DOCKER-USER": ["-j JHUB-FORWARD", "-j RETURN"]},) * 2,
        # somebody put a rule of their own first
        (
            {"INPUT": ["-j ufw", "-j JHUB-INPUT", "-j x"], "FORWARD6": ["-j ufw6"]},
            {
                "INPUT": ["-j JHUB-INPUT", "-j ufw", "-j x"],
                "FORWARD6": ["-j JHUB-DENY6", "-j ufw6"],
            },
        ),
        # and ours are there several times
        (
            {"INPUT": ["-j a", "-j JHUB-INPUT", "-j b", "-j JHUB-INPUT"]},
            {"INPUT": ["-j JHUB-INPUT", "-j a", "-j b"]},
        ),
        # everything was flushed, and Docker's jump with it
        (
            {"FORWARD": [], "DOCKER-USER": [], "INPUT": []},
            {},
        ),
    ],
    ids=["bare", "good", "not first", "several", "flushed"],
)
def test_each_jump_becomes_the_first_rule_and_the_only_one(
    kernel: Kernel, before: dict[str, list[str]], after: dict[str, list[str]]
) -> None:
    code, table, _ = kernel.apply(json.dumps(before))
    assert (code, json.loads(table)) == (0, GOOD | after)


def test_the_jump_is_never_missing_while_it_moves(kernel: Kernel) -> None:
    _, _, log = kernel.apply('{"INPUT": ["-j a", "-j JHUB-INPUT"]}')
    changes = [line for line in log if line.startswith(("iptables -I INPUT", "iptables -D INPUT"))]
    assert changes == ["iptables -I INPUT 1 -j JHUB-INPUT", "iptables -D INPUT 3"]


def test_all_is_tried_before_anything_is_loaded_beside_others(kernel: Kernel) -> None:
    _, _, log = kernel.apply()
    assert [line for line in log if "restore" in line or "--" in line.partition(" ")[2]][:8] == [
        "iptables-restore 10 --noflush --test",
        "ip6tables-restore 10 --noflush --test",
        "nft --check --file guard.nft",
        "nft --check --file bridge.nft",
        "nft --check --file bridge.nft",
        "nft --file -",
        "iptables-restore 10 --noflush",
        "ip6tables-restore 10 --noflush",
    ]


def test_a_kernel_that_cannot_name_bridges_tells_them_by_address(kernel: Kernel) -> None:
    _, _, log = kernel.apply(ibrname="no")
    assert "nft --check --file bridge-by-address.nft" in log


def test_the_rules_in_the_other_iptables_are_removed_and_no_others(kernel: Kernel) -> None:
    """After `update-alternatives`; by a real iptables-nft-save's words."""
    other = """\
*filter
:INPUT ACCEPT [0:0]
:DOCKER-USER - [0:0]
:JHUB-FORWARD - [0:0]
:JHUB-USER - [0:0]
-A INPUT -j ufw
-A INPUT -j JHUB-USER
-A DOCKER-USER -j JHUB-FORWARD
-A JHUB-FORWARD -i br-jhub -j JHUB-USER
COMMIT"""
    _, _, log = kernel.apply(variant=LEGACY, other=other)
    start = log.index("iptables-nft-restore 10 --noflush")
    assert log[start + 1 : start + 9] == [
        "*filter",
        "-D INPUT -j JHUB-USER",
        "-D DOCKER-USER -j JHUB-FORWARD",
        "-F JHUB-FORWARD",
        "-F JHUB-USER",
        "-X JHUB-FORWARD",
        "-X JHUB-USER",
        "COMMIT",
    ]


def test_where_the_other_iptables_holds_nothing_of_ours_nothing_is_removed(kernel: Kernel) -> None:
    _, _, log = kernel.apply(variant=LEGACY, other="*filter\n-A INPUT -j ufw\nCOMMIT")
    assert "iptables-nft-restore 10 --noflush" in log
    assert "*filter" not in log


def test_what_is_loaded_is_remembered(kernel: Kernel) -> None:
    kernel.apply()
    assert re.fullmatch(r"[0-9a-f]{64}  -\n", (kernel.folder / "digest").read_text())


@pytest.mark.parametrize("name", ["v4.rules", "v6.rules", "guard.nft", "bridge-by-address.nft"])
def test_broken_rules_are_an_error_and_change_nothing(kernel: Kernel, name: str) -> None:
    (kernel.folder / name).write_text("broken\n")
    code, table, log = kernel.apply(ibrname="no")
    assert code != 0
    assert json.loads(table) == {}
    loads = ("nft --file -", "iptables-restore 10 --noflush", "ip6tables-restore 10 --noflush")
    assert not set(loads) & set(log)
