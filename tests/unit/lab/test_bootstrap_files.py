"""What the bootstrap starts from: locks that hold nothing of the machine that made them."""

import re
import subprocess

import pytest

from tests.lab.host import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_pins_and_hashes_everything_and_names_no_place(lock: object) -> None:
    text = ROOT.joinpath(str(lock)).read_text()
    assert not re.search(r"https?://|file:|--find-links|--(extra-)?index-url| @ ", text)
    entries = re.findall(r"^[a-z0-9].*(?:\n    --hash.*)*", text, re.MULTILINE | re.IGNORECASE)
    assert entries
    for entry in entries:
        assert re.match(r"[\w.-]+(\[\w+\])?==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_the_test_lock_holds_the_controllers_versions() -> None:
    def versions(name: str) -> dict[str, str]:
        text = (ROOT / "requirements" / name).read_text()
        return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))

    controller, everything = versions("controller.txt"), versions("test.txt")
    assert controller.items() <= everything.items()


def test_make_help_lists_every_verb_of_the_readme() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, check=True, text=True)
    verbs = {line.split()[1] for line in listed.stdout.splitlines()}
    assert verbs >= {
        "demo", "demo-down", "shell", "deploy", "test", "test-unit", "test-mutations", "lint",
        "lock", "refresh-images", "env-import", "venv",
    }  # fmt: skip
