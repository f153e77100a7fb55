"""The process that cells run in: output, answers, interrupts, ends. With a fake of a language."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from session_kernels import worker
from session_kernels.frames import Frame
from session_kernels.language import NOBODY_ANSWERS, About, Completion, Failure, WorkerLanguage
from session_kernels.worker import Output, Pace, Worker, how_it_ended

FAKE = Path(__file__).with_name("fake_worker.py")


class Fake(WorkerLanguage):
    about = About("fake", "Fake", "1", "text/plain", ".txt", "text", "text")

    def start(self) -> Worker:
        return Worker([sys.executable, str(FAKE)])


class Shown:
    """A front that notes what it is shown, and answers from a list."""

    def __init__(self, *answers: str) -> None:
        self.streams: list[tuple[str, str]] = []
        self.results: list[str] = []
        self.displays: list[tuple[Mapping[str, Any], str]] = []
        self.answers = list(answers)

    def text(self, name: str = "stdout") -> str:
        return "".join(text for stream, text in self.streams if stream == name)

    def stream(self, name: str, text: str) -> None:
        self.streams.append((name, text))

    def result(self, text: str) -> None:
        self.results.append(text)

    def display(self, data: Mapping[str, Any], display_id: str) -> None:
        self.displays.append((data, display_id))

    def ask(self) -> str | None:
        return self.answers.pop(0) if self.answers else None


@pytest.fixture
def fake() -> Iterator[Fake]:
    language = Fake()
    yield language
    language.close()


def interrupt(seconds: float = 0.3) -> None:
    """As Jupyter does: SIGINT to this process, after a while."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()


class Interrupting(Shown):
    """Interrupts as soon as the cell says that it runs."""

    def stream(self, name: str, text: str) -> None:
        super().stream(name, text)
        if text in ("sleeps\n", "hangs\n"):
            interrupt(0.05)


# --- Cells ----------------------------------------------------------------------------------
def test_a_cell_shows_what_it_prints(fake: Fake) -> None:
    shown = Shown()
    assert fake.run("print Käse €", shown, 1) is None
    assert shown.streams == [("stdout", "Käse €\n")]


def test_a_value_comes_after_what_was_printed_before_it(fake: Fake) -> None:
    shown = Shown()
    fake.run("value 42", shown, 1)
    fake.run("show <b>", shown, 2)
    assert shown.results == ["42"]
    assert shown.displays == [({"text/html": "<b>"}, "id")]


def test_both_streams_are_told_apart(fake: Fake) -> None:
    shown = Shown()
    fake.run("both", shown, 1)
    assert (shown.text("stdout"), shown.text("stderr")) == ("out\n", "err\n")


def test_an_error_has_name_value_and_traceback(fake: Fake) -> None:
    found = fake.run("fail boo", Shown(), 1)
    assert found == Failure("RuntimeError", "boo", ("first line", "second line"))


def test_twenty_thousand_lines_are_few_messages(fake: Fake) -> None:
    shown = Shown()
    assert fake.run("lines 20000", shown, 1) is None
    assert shown.text().split() == [str(number) for number in range(20000)]
    assert len(shown.streams) < 20


def test_a_character_that_comes_in_pieces_is_whole(fake: Fake) -> None:
    shown = Shown()
    fake.run(f"bytes {'ä€😀'.encode().hex()}", shown, 1)
    assert shown.text() == "ä€😀"


def test_what_is_no_text_does_no_harm(fake: Fake) -> None:
    shown = Shown()
    fake.run("bytes 61ff62", shown, 1)
    assert shown.text() == "a�b"


def test_completion_asks_the_worker(fake: Fake) -> None:
    assert fake.complete("x", 1) == Completion(0, 2, ("xa", "b"))


# --- Standard input -------------------------------------------------------------------------
def test_input_is_asked_of_the_person(fake: Fake) -> None:
    shown = Shown("Ada")
    fake.run("ask", shown, 1)
    assert shown.text() == "line: Ada\n"


def test_where_nobody_can_be_asked_input_ends_and_says_so(fake: Fake) -> None:
    shown = Shown()
    fake.run("ask", shown, 1)
    assert shown.text() == "end: \n"
    assert shown.text("stderr") == NOBODY_ANSWERS


# --- Ends -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("code", "name", "told"),
    [
        ("exit 3", "Exit", "ended with exit code 3"),
        ("exit 0", "Exit", "ended with exit code 0"),
        ("crash", "SIGSEGV", "was ended by SIGSEGV"),
    ],
)
def test_a_cell_that_ends_the_process_fails_and_the_next_one_runs(
    fake: Fake, code: str, name: str, told: str
) -> None:
    shown = Shown()
    found = fake.run(code, shown, 1)
    assert found
    assert found.name == name
    assert told in found.value
    assert "what earlier cells defined is gone" in found.value
    assert shown.text() == ("last words\n" if name == "Exit" else "")
    assert fake.run("print again", shown, 2) is None
    assert shown.text().endswith("again\n")


def test_what_a_cell_left_running_does_not_keep_it_from_ending(fake: Fake) -> None:
    started = time.monotonic()
    found = fake.run("child 20", Shown(), 1)
    assert found
    assert found.name == "Exit"
    assert time.monotonic() - started < 5


def test_a_worker_ends_with_its_kernel() -> None:
    """Whatever ends the kernel: the worker's parent dies without a word."""
    script = f"""
import sys; sys.path[:0] = {sys.path!r}
from pathlib import Path
from session_kernels.worker import Worker
pid = Worker(["sleep", "60"]).process.pid
while Path(f"/proc/{{pid}}/comm").read_text() != "sleep\\n":  # until then it is told of no death
    pass
print(pid, flush=True)
"""
    reading, writing = os.pipe()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", script],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)],
    )
    child = int(os.read(reading, 100))
    os.waitpid(pid, 0)
    for descriptor in (reading, writing):
        os.close(descriptor)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _runs(child):
        time.sleep(0.01)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (0, ("Exit", "ended with exit code 0")),
        (-9, ("SIGKILL", "was ended by SIGKILL: out of memory?")),
        (-6, ("SIGABRT", "was ended by SIGABRT")),
    ],
)
def test_how_a_process_ended_is_told(code: int, found: tuple[str, str]) -> None:
    assert how_it_ended(code) == found


# --- Interrupts -----------------------------------------------------------------------------
def test_an_interrupted_cell_stops_and_the_state_stays(fake: Fake) -> None:
    started = time.monotonic()
    found = fake.run("sleep", Interrupting(), 1)
    assert found
    assert (found.name, found.value) == ("KeyboardInterrupt", "the cell was stopped")
    assert time.monotonic() - started < 10  # five times the target; it would sleep for 60
    before = fake._worker
    assert fake.run("print on", Shown(), 2) is None
    assert fake._worker is before


def test_a_cell_that_is_stopped_before_its_worker_is_ready_does_not_run() -> None:
    class Slow(Fake):
        def start(self) -> Worker:
            wait = "import time; time.sleep(0.5)"
            shell = f'trap : INT; {sys.executable} -c "{wait}"; exec {sys.executable} {FAKE}'
            return Worker(["sh", "-c", shell])

    slow, shown = Slow(), Shown()
    try:
        interrupt(0.1)
        found = slow.run("print no", shown, 1)
        assert found
        assert found.name == "KeyboardInterrupt"
        assert shown.text() == ""
        assert slow.run("print on", shown, 2) is None
    finally:
        slow.close()


def test_a_cell_that_does_not_stop_is_killed_within_two_seconds(fake: Fake) -> None:
    shown = Interrupting()
    started = time.monotonic()
    found = fake.run("hang", shown, 1)
    assert found
    assert found.name == "KeyboardInterrupt"
    assert "what earlier cells defined is gone" in found.value
    assert time.monotonic() - started < 10
    assert fake.run("print on", shown, 2) is None
    assert shown.text() == "hangs\non\n"


# --- Pieces ---------------------------------------------------------------------------------
def test_a_frame_survives_the_way() -> None:
    frame = Frame("run", "a\nb\0 ä")
    raw = frame.encode()
    assert raw.endswith(b"\0")
    assert raw.count(b"\0") == 1
    assert Frame.decode(raw[:-1]) == Frame("run", "a\nb ä")


def test_a_burst_is_not_slowed_and_a_flood_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    pace = Pace(burst=1000, rate=100)
    assert pace.delay(1000) == 0
    assert pace.delay(100) == 1


def test_output_stays_below_the_servers_limit() -> None:
    """A megabyte a second for three seconds, counted in JSON, where a newline is two bytes."""
    assert (worker.BURST + 3 * worker.RATE) * 1.2 <= 3_000_000


def test_what_was_written_before_an_answer_is_shown_before_it() -> None:
    """More than one read takes: the answer may be read first."""
    shown = Shown()
    script = (
        "import os; os.write(1, b'x' * 60000); os.write(int(os.environ['KERNEL_OUT']), b'ok\\n\\0')"
    )
    process = Worker([sys.executable, "-c", f"{script}; import time; time.sleep(20)"])
    try:
        time.sleep(0.3)  # until all of it is in the pipes
        real = select.select
        hidden = {process._from_worker}
        with pytest.MonkeyPatch.context() as patch:
            # The answer is seen before the output.
            patch.setattr(
                select,
                "select",
                lambda r, w, x, t: ([hidden.pop()], [], []) if hidden else real(r, w, x, t),
            )
            assert process.receive(Output(shown.stream)) == Frame("ok")
        assert len(shown.text()) == 60000
    finally:
        process.end()


def test_output_is_gathered_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "GATHER_SECONDS", 60)
    sent: list[tuple[str, str]] = []
    output = Output(lambda name, text: sent.append((name, text)))
    output.add("stdout", b"a")
    output.add("stdout", b"b")
    assert sent == []
    output.add("stderr", b"c")
    assert sent == [("stdout", "ab")]
    output.flush()
    assert sent == [("stdout", "ab"), ("stderr", "c")]
