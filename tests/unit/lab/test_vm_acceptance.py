"""The page that `make test-vm` writes."""

import re

from tests.lab.host import ROOT
from tests.vm_acceptance import (
    BEHAVIOUR,
    TESTS,
    Acceptance,
    document,
    scrubbed,
    section,
    sections,
)

ABOUT = {"Debian": "13.8", "kernel": "6.12.118", "CPU": "emulated"}


def acceptance(*, passed: bool) -> Acceptance:
    return Acceptance(13, ABOUT, 21.4, 1500, passed, "1 passed")


def test_the_tests_that_it_runs_exist() -> None:
    for file, tests in BEHAVIOUR.items():
        text = (ROOT / "tests" / "behaviour" / f"{file}.py").read_text()
        for test in tests:
            assert re.search(rf"^def {test}\(", text, re.MULTILINE), test
    assert (ROOT / TESTS[0]).is_dir()


def test_a_failure_is_told() -> None:
    assert "**failed**" in section(acceptance(passed=False), "QEMU")
    assert "failed" not in section(acceptance(passed=True), "QEMU")


def test_a_row_says_what_it_is_true_of_and_how_long_it_took() -> None:
    row = "| 13.8 | 6.12.118 | emulated | 21 s | 25 min | passed |"
    lines = section(acceptance(passed=True), "QEMU emulator version 7.2").splitlines()
    assert row in lines
    (head,) = [line for line in lines if line.startswith("| Debian")]
    assert head.count("|") == row.count("|")


def test_a_run_on_one_debian_keeps_the_others_section() -> None:
    told = {debian: section(acceptance(passed=True), f"QEMU {debian}") for debian in (12, 13)}
    page = document(told)
    assert sections(page) == told
    assert document(sections(page)) == page
    assert page.index("## Debian 13") < page.index("## Debian 12")


def test_nothing_of_this_machine_is_in_the_output() -> None:
    said = f"\x1b[32mPASSED\x1b[0m {ROOT}/tests/a.py, lab test-0a1b2c3d\n"
    assert scrubbed(said, "test-0a1b2c3d") == "PASSED tests/a.py, lab vm"
