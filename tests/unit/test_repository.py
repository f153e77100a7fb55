"""Rules that hold for the repository as a whole."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import mutations

ROOT = Path(__file__).parents[2]
LOCKS = sorted([*ROOT.glob("requirements/*.txt"), *ROOT.glob("images/*/*.txt")])
NPM_LOCKS = [
    path
    for path in sorted((ROOT / "images").rglob("package-lock.json"))
    if "node_modules" not in path.parts
]
ROLES = sorted(path for path in (ROOT / "roles").glob("*.py") if path.stem != "__init__")
# What knows pyinfra: facts, operations, and connection.py.
PURE = sorted(p for p in (ROOT / "hubhost").glob("*.py") if p.name != "connection.py")
RUNS_ON_HOSTS = [
    *sorted((ROOT / "hubhost").glob("*/*.py")),
    *sorted(
        path for path in (ROOT / "files").rglob("*") if path.is_file() and path.suffix != ".md"
    ),
]
SKIPPED = {".git", ".venv", ".lab", "node_modules", ".hypothesis", "ssl"}


def sources() -> Iterator[Path]:
    """Text files of the project, tracked or about to be."""
    for path in sorted(ROOT.rglob("*")):
        parts = set(path.relative_to(ROOT).parts)
        if not parts & SKIPPED and not any(p.endswith("_cache") for p in parts) and path.is_file():
            yield path


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


SCRIPTS = [
    path for path in sources() if path.read_bytes().startswith((b"#!/bin/sh", b"#!/bin/bash"))
]


def imports(path: Path) -> set[str]:
    """The top-level modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


# --- Locks ---------------------------------------------------------------------------------
def test_there_are_locks_to_look_at() -> None:
    assert len(LOCKS) >= 4
    assert len(NPM_LOCKS) == 2


@pytest.mark.parametrize("lock", [*LOCKS, *NPM_LOCKS], ids=name_of)
def test_a_lock_names_no_index(lock: Path) -> None:
    found = re.findall(
        r".*(?:https?://|--(?:extra-)?index-url|--find-links|--trusted-host|\"resolved\"|file:).*",
        lock.read_text(),
    )
    # The address of a funding page or a license is no index.
    assert [line for line in found if '"url": "https://' not in line] == []


@pytest.mark.parametrize("lock", LOCKS, ids=name_of)
def test_every_locked_python_package_has_a_version_and_a_hash(lock: Path) -> None:
    text = lock.read_text().replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert entries
    assert [
        e for e in entries if not re.match(r"[\w.\[\]-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", e)
    ] == []


@pytest.mark.parametrize("lock", NPM_LOCKS, ids=name_of)
def test_every_locked_npm_package_has_a_hash(lock: Path) -> None:
    packages = json.loads(lock.read_text())["packages"]
    assert [name for name, p in packages.items() if name and "integrity" not in p] == []


@pytest.mark.parametrize(
    "source", sorted([*ROOT.glob("images/*/*.in"), *ROOT.glob("requirements/*.in")]), ids=name_of
)
def test_every_list_of_requirements_is_locked(source: Path) -> None:
    lock = source.with_suffix(".txt").read_text()
    locked = set(re.findall(r"^([\w.-]+)(?:\[.*?\])?==", lock, re.MULTILINE))
    wanted = [re.split(r"[=<>~\[ ;]", line)[0] for line in source.read_text().splitlines()]
    names = [name.lower().replace("_", "-") for name in wanted if name and name[0] not in "#-"]
    assert names
    assert set(names) <= locked


# --- Secrets -------------------------------------------------------------------------------
def test_no_secret_is_in_the_repository() -> None:
    secret = re.compile(
        rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\n[A-Za-z0-9+/=]{40}|ghp_\w{30}|AKIA[0-9A-Z]{16}"
    )
    assert [name_of(path) for path in sources() if secret.search(path.read_bytes())] == []


@pytest.mark.parametrize("path", [".env", ".imported-secrets.json", ".lab/demo/key", "files/ssl/x"])
def test_what_may_hold_a_secret_is_ignored_by_git(path: str) -> None:
    done = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
    assert done.returncode == 0


# --- Layers --------------------------------------------------------------------------------
@pytest.mark.parametrize("module", PURE, ids=name_of)
def test_what_decides_knows_nothing_of_pyinfra(module: Path) -> None:
    assert not {"pyinfra", "paramiko"} & imports(module)
    text = module.read_text()
    assert not re.search(r"from hubhost(\.| import )(facts|operations|connection)", text)


@pytest.mark.parametrize("module", [p for p in PURE if p.name != "__init__.py"], ids=name_of)
def test_what_decides_knows_nothing_of_roles_and_tests(module: Path) -> None:
    assert not {"roles", "tests", "deploy", "inventory"} & imports(module)


@pytest.mark.parametrize("path", RUNS_ON_HOSTS, ids=name_of)
def test_hosts_need_no_python(path: Path) -> None:
    text = path.read_text()
    if path.suffix == ".py":
        strings = [n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant)]
        text = "\n".join(s for s in strings if isinstance(s, str))
    assert not re.search(r"\bpython3?\b|\bpip\b", text)
    # perl-base is in every Debian; what needs more of Perl than that would be no script for a host.
    assert ("perl" in text) == (path.name in {"forget", "logs", "redact"})


@pytest.mark.parametrize("package", ["hub/integrable_jupyterhub", "filter/docker_filter"])
def test_a_package_in_an_image_knows_nothing_of_the_installer(package: str) -> None:
    folder = ROOT / "images" / package
    assert not {m for path in folder.glob("*.py") for m in imports(path)} & {"hubhost", "pyinfra"}


# --- Roles ---------------------------------------------------------------------------------
@pytest.mark.parametrize("role", ROLES, ids=name_of)
def test_a_role_is_one_deploy_function_named_like_its_module(role: Path) -> None:
    functions = [n for n in ast.parse(role.read_text()).body if isinstance(n, ast.FunctionDef)]
    (deploy,) = [f for f in functions if any("deploy(" in ast.unparse(d) for d in f.decorator_list)]
    assert deploy.name == role.stem
    assert ast.unparse(deploy.args) == "settings: Settings"
    assert ast.get_docstring(deploy)


def operations_called(role: Path) -> Iterator[ast.Call]:
    """Calls of operations: ours, and pyinfra's own."""
    tree = ast.parse(role.read_text())
    ours, modules = set(), set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "hubhost.operations":
            ours |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module == "pyinfra.operations":
            modules |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module == "hubhost":
            modules |= {alias.name for alias in node.names if alias.name == "operations"}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        function = ast.unparse(call.func)
        if function in ours or function.partition(".")[0] in modules:
            yield call


@pytest.mark.parametrize("role", [r for r in ROLES if r.stem != "preflight"], ids=name_of)
def test_every_operation_has_a_name_that_a_person_reads(role: Path) -> None:
    calls = list(operations_called(role))
    assert calls
    names = [{k.arg: ast.unparse(k.value) for k in call.keywords}.get("name", "") for call in calls]
    assert [name for name in names if not re.match(r"f?['\"][A-Z][a-z]+ ", name)] == []


def test_the_deployment_runs_every_role_once() -> None:
    tree = ast.parse((ROOT / "deploy.py").read_text())
    called = [
        ast.unparse(node.value.func)
        for node in tree.body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    assert called == [
        *("preflight", "record", "sessions", "docker", "images", "network", "firewall"),
        *("secrets", "tls", "handover", "database", "proxy", "docker_filter", "forget", "daily"),
        *("hub", "backup", "release"),
    ]
    assert set(called) == {role.stem for role in ROLES}


# --- Scripts and documents -----------------------------------------------------------------
@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_a_script_is_valid_shell(script: Path) -> None:
    shell = script.read_text().splitlines()[0].removeprefix("#!").split()[0]
    text = re.sub(r"\{[{%].*?[%}]\}", "x", script.read_text())  # a template's places
    done = subprocess.run([shell, "-n"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "script",
    [path for path in SCRIPTS if path.name != "lab-init"],  # PID 1 goes on, whatever fails
    ids=name_of,
)
def test_a_script_stops_at_its_first_error(script: Path) -> None:
    assert re.search(r"^set -[a-z]*e", script.read_text(), re.MULTILINE)


def texts() -> Iterator[tuple[str, str]]:
    for path in sources():
        if path.suffix in {".py", ".md", ".toml", ".sh", ".yaml"} and "tests/unit" not in name_of(
            path
        ):
            yield name_of(path), path.read_text()


def test_every_verb_that_a_text_names_is_in_the_makefile() -> None:
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        (name, verb) for name, text in texts() for verb in re.findall(r"`make ([a-z][a-z-]*)", text)
    }
    assert {(name, verb) for name, verb in named if verb not in verbs} == set()


def test_every_document_that_a_text_names_exists() -> None:
    named = {
        (name, document)
        for name, text in texts()
        for document in re.findall(r"\bdocs/[\w/.-]+\.md\b", text)
    }
    assert {(n, d) for n, d in named if not (ROOT / d).exists()} == set()


# --- Mutations -----------------------------------------------------------------------------
MUTATIONS = mutations.read()


def test_there_are_mutations_of_all_that_decides() -> None:
    assert len(MUTATIONS) >= 40
    mutated = {m.file for m in MUTATIONS}
    trivial = {"__init__.py", "paths.py"}
    assert {name_of(p) for p in PURE if p.name not in trivial} <= mutated


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.why)
def test_a_mutation_can_be_applied_and_names_a_test(mutation: mutations.Mutation) -> None:
    assert mutation.problem(ROOT) is None


def test_no_mutation_is_there_twice() -> None:
    listed = [(m.file, m.find, m.replace) for m in MUTATIONS]
    assert len(set(listed)) == len(listed)
    assert len({m.why for m in MUTATIONS}) == len(MUTATIONS)


def test_the_list_of_mutations_has_no_unknown_keys() -> None:
    entries = tomllib.loads(mutations.LIST.read_text())["mutation"]
    assert {key for entry in entries for key in entry} == {"file", "find", "replace", "test", "why"}


# --- The lock of a host ----------------------------------------------------------------------
LOOKING_ONLY = {"doctor.py", "logs.py", "status.py"}


@pytest.mark.parametrize("script", sorted(ROOT.glob("ops/*.py")), ids=name_of)
def test_what_changes_a_host_takes_its_lock_first(script: Path) -> None:
    """By operations.exclusive, before any other operation; what looks only doesn't."""
    called = re.findall(r"operations\.(\w+)\(|^(exclusive)\(", script.read_text(), re.MULTILINE)
    names = [a or b for a, b in called]
    assert (names[:1] == ["exclusive"]) == (script.name not in LOOKING_ONLY), names
