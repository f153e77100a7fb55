"""Files on a host: which of them are outdated; and how problems are said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from hubhost.errors import Problem, Problems
from hubhost.hostfile import FileState, HostFile, outdated

FILE = HostFile(PurePosixPath("/etc/x"), "content\n", 0o640, 65600)
STATE = FileState(FILE.sha256, 0o640, 0, 65600)


def test_the_digest_is_that_of_sha256sum() -> None:
    assert HostFile(PurePosixPath("/x"), "").sha256 == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def test_a_file_as_it_should_be_is_left_alone() -> None:
    assert outdated([FILE], {"/etc/x": STATE}) == []


def test_a_missing_file_is_outdated() -> None:
    assert outdated([FILE], {"/etc/y": STATE}) == [FILE]


@pytest.mark.parametrize("change", [{"sha256": "0"}, {"mode": 0o644}, {"owner": 1}, {"group": 0}])
def test_a_change_of_content_mode_owner_or_group_is_noticed(change: dict[str, int]) -> None:
    assert outdated([FILE], {"/etc/x": replace(STATE, **change)}) == [FILE]  # type: ignore[arg-type]


def test_only_what_differs_is_written() -> None:
    other = replace(FILE, path=PurePosixPath("/etc/y"))
    assert outdated([FILE, other], {"/etc/x": STATE}) == [other]


def test_a_files_content_is_not_in_its_repr() -> None:
    assert "content" not in repr(FILE).replace("content=", "")


def test_a_problem_is_one_line_with_subject_message_and_remedy() -> None:
    assert str(Problem("disk", "is full", "make room")) == "disk: is full; make room"


def test_several_problems_are_a_line_each() -> None:
    both = Problems([Problem("a", "b", "c"), Problem("d", "e", "f")])
    assert str(both) == "a: b; c\nd: e; f"
