"""Drain: the parameter, what lies on the host, and that both are read as they are meant."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from hubhost import drain
from hubhost.drain import Drain, begin, minutes_of
from hubhost.errors import Problems


@pytest.mark.parametrize(("text", "minutes"), [("", None), ("0", 0), ("30", 30), ("1440", 1440)])
def test_minutes(text: str, minutes: int | None) -> None:
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["soon", "-1", "1.5", "1441", " "])
def test_what_is_no_number_of_minutes_is_one_line(text: str) -> None:
    with pytest.raises(Problems, match=r"DEADLINE: .* is no number of minutes; give whole minutes"):
        minutes_of(text)


def test_without_a_parameter_it_is_what_the_verb_says() -> None:
    assert minutes_of("", 30) == 30


@pytest.mark.parametrize("minutes", [None, 5])
def test_what_is_written_is_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: int | None
) -> None:
    file = tmp_path / "state.json"
    monkeypatch.setattr(drain, "DRAIN_STATE", file)
    subprocess.run(["sh", "-euc", "\n".join(begin(minutes))], check=True)
    found = Drain.parse(file.read_text())
    assert (found.drained, found.minutes) == (True, minutes)
    assert json.loads(file.read_text()).keys() == {"minutes", "deadline"}
    assert file.stat().st_mode & 0o777 == 0o644
    if minutes is None:
        assert found.deadline is None
    else:
        assert found.deadline is not None
        assert abs(found.deadline - time.time() - 300) < 30


@pytest.mark.parametrize(
    ("text", "drained"), [("", False), ("\n", False), ("{", True), ("[]", True), ("{}", True)]
)
def test_what_nobody_understands_is_drained_without_a_deadline(text: str, drained: bool) -> None:
    assert Drain.parse(text) == Drain(drained=drained)
