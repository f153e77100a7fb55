"""What the texts for people name exists: links, verbs, tests, paths."""

from __future__ import annotations

import ast
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.deployment import runbook_lines

ROOT = Path(__file__).parents[2]
TEXTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("images/**/*.md"),
        *ROOT.glob("files/ssl/README.md"),
        *ROOT.glob("client/*.md"),
        *ROOT.glob("examples/**/*.md"),
    ]
)
README = ROOT / "README.md"
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
# Folders of the repository that a path in backquotes may begin with.
PATH = re.compile(
    r"`((?:hubhost|roles|tests|files|images|docs|examples|group_data|requirements)/[\w./-]*)[`:]"
)
NOT_TYPED = {
    "make demo-down": "tests never touch the demo",
    "make refresh-images": "it changes the clone that the tests run in, and all images",
    "make patch DEADLINE=MINUTES": "the same; with IMAGES=keep it is typed",
}
"""Lines of the runbook that no test types, and why."""
MADE_BY_A_PERSON = {"group_data/GROUP.py"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as the usual hosts of Markdown make them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("text", TEXTS, ids=name_of)
def test_every_link_leads_somewhere(text: Path) -> None:
    broken = []
    for link in LINK.findall(text.read_text()):
        file, _, anchor = link.partition("#")
        target = (text.parent / file).resolve() if file else text
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("text", TEXTS, ids=name_of)
def test_every_path_exists(text: Path) -> None:
    named = set(PATH.findall(text.read_text())) - MADE_BY_A_PERSON
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("text", TEXTS, ids=name_of)
def test_every_test_that_is_named_as_evidence_exists(text: Path) -> None:
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", text.read_text())
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE)
    ]
    assert missing == []


@pytest.mark.parametrize("text", TEXTS, ids=name_of)
def test_every_verb_in_an_example_exists(text: Path) -> None:
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    examples = re.findall(r"^```\w*\n(.*?)^```", text.read_text(), re.MULTILINE | re.DOTALL)
    # At the beginning of a line, perhaps after a variable.
    command = re.compile(r"^(?:[A-Z_]+=\S+ )?make ([a-z-]+)", re.MULTILINE)
    named = {verb for example in examples for verb in command.findall(example)}
    assert named - verbs == set()


def test_every_command_of_the_runbook_is_typed_by_a_test() -> None:
    texts = {
        node.value
        for file in (ROOT / "tests" / "behaviour").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant)
    }
    lines = set(runbook_lines())
    assert NOT_TYPED.keys() <= lines
    assert sorted(lines - texts - NOT_TYPED.keys()) == []


def test_the_readme_lists_the_verbs_of_make_help() -> None:
    told = subprocess.run(["make", "-C", ROOT, "help"], capture_output=True, text=True, check=True)
    listed = re.findall(r"^\| `make ([a-z-]+)", README.read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(re.findall(r"^make ([a-z-]+)", told.stdout, re.MULTILINE))


def test_the_readme_shows_what_the_demo_prints() -> None:
    demo = (ROOT / "tests" / "lab" / "demo.py").read_text()
    template = demo.partition('print(f"""\n')[2].partition('""")')[0]
    labels = [line[:17].strip() for line in template.splitlines() if line.startswith("  ")]
    labels = [label for label in labels if label]
    shown = README.read_text()
    assert len(labels) >= 6
    assert [label for label in labels if f"\n  {label} " not in shown] == []


@pytest.mark.parametrize("picture", sorted(ROOT.glob("docs/*.svg")), ids=name_of)
def test_a_picture_is_complete_in_itself(picture: Path) -> None:
    tree = ET.parse(picture)  # noqa: S314  (our own file)
    assert not re.search(r"(?:href|src|url)\s*[=(]\s*[\"']?http", picture.read_text())
    assert tree.find("{http://www.w3.org/2000/svg}desc") is not None
