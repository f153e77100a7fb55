"""The hub's log while nobody takes it."""

import os
from collections.abc import Iterator

import pytest
from integrable_jupyterhub.outlet import Outlet

LINE = "x" * 99 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_what_nobody_takes_is_dropped_and_counted(pipe: tuple[int, int]) -> None:
    taken, said = pipe
    outlet = Outlet(said)
    while not outlet.dropped:  # a write that waits would hang here
        assert outlet.write(LINE) == len(LINE)
    outlet.write(LINE)
    assert outlet.dropped == 2
    os.read(taken, 1 << 20)
    print("é", file=outlet, flush=True)
    assert os.read(taken, 1 << 20).decode() == "[2 lines were dropped: nobody took them]\né\n"
    assert outlet.dropped == 0


def test_a_long_line_comes_whole(pipe: tuple[int, int]) -> None:
    taken, said = pipe
    Outlet(said).write("é" * 10_000)
    assert os.read(taken, 1 << 20).decode() == "é" * 10_000
