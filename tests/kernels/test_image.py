"""The kernels in the built image, with a session's restrictions: `.venv/bin/pytest tests/kernels`.

Not part of `make test`, which tries the same in sessions of a hub. Builds what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kernels.build import build, build_example
from tests.kernels.container import Outcome, Session, docker, session
from tests.kernels.samples import (
    ASKS,
    COMPLETES,
    CRASHES,
    FAILS,
    HELLO,
    LINES,
    LOOPS,
    OURS,
    PLOTS,
)

kernels = pytest.mark.parametrize("kernel", LINES)


@pytest.fixture(scope="module")
def full() -> str:
    return build("full")


@pytest.fixture(scope="module")
def container(full: str) -> Iterator[Session]:
    with session(full) as found:
        yield found


@pytest.fixture
def cells(container: Session) -> Callable[..., list[Outcome]]:
    return container.cells


@kernels
def test_text_of_all_alphabets_comes_as_it_is(cells: Any, kernel: str) -> None:
    (found,) = cells(kernel, HELLO[kernel])
    assert (found.status, found.stdout) == ("ok", "grüße 😀\n")


@kernels
def test_a_failing_cell_fails(cells: Any, kernel: str) -> None:
    code, name = FAILS[kernel]
    found, after = cells(kernel, code, HELLO[kernel])
    assert (found.status, found.name) == ("error", name)
    assert found.traceback
    assert after.status == "ok"


@kernels
def test_twenty_thousand_lines_come_soon_and_in_few_messages(cells: Any, kernel: str) -> None:
    (found,) = cells(kernel, LINES[kernel])
    assert found.status == "ok"
    assert found.stdout.splitlines() == [f"line {number}" for number in range(20000)]
    assert found.messages < 50
    assert found.seconds < 10


@kernels
def test_an_interrupt_stops_a_cell_within_two_seconds(cells: Any, kernel: str) -> None:
    found, after = cells(kernel, {"run": LOOPS[kernel], "interrupt": 1}, HELLO[kernel])
    assert found.status == ("abort" if kernel == "ir" else "error")
    assert found.seconds < 2
    assert after.status == "ok"


@kernels
def test_a_crash_leaves_a_kernel_that_works(cells: Any, kernel: str) -> None:
    found, after = cells(kernel, CRASHES[kernel], HELLO[kernel])
    assert found.status == ("error" if kernel in OURS else "dead")
    assert after.status == "ok"


@kernels
def test_input_is_asked_or_refused(cells: Any, kernel: str) -> None:
    answered, refused = cells(kernel, {"run": ASKS[kernel], "answers": ["Ada"]}, ASKS[kernel])
    assert (answered.status, answered.stdout) == ("ok", "Ada\n")
    assert refused.status in ("ok", "error")
    said = refused.stderr + refused.value
    assert "nobody can be asked" in said or "does not support input" in said


@kernels
def test_words_are_completed(container: Session, kernel: str) -> None:
    begun, word = COMPLETES[kernel]
    (found,) = container.kernel(kernel, [{"complete": begun}])
    assert word in [match.rpartition(".")[2] if kernel == "xcpp17" else match for match in found]


@pytest.mark.parametrize("kernel", PLOTS)
def test_plots_are_png(cells: Any, kernel: str) -> None:
    (found,) = cells(kernel, PLOTS[kernel])
    assert found.status == "ok"
    assert [d["image/png"][:11] for d in found.displays] == ["iVBORw0KGgo"]


def test_values_are_shown(cells: Any) -> None:
    found = {kernel: cells(kernel, "6 * 7")[0] for kernel in ("python3", "xcpp17", "java")}
    assert {kernel: outcome.result for kernel, outcome in found.items()} == {
        "python3": "42",
        "xcpp17": "42",
        "java": "42",
    }


def test_the_scientific_set_is_there_and_fits_together(container: Session) -> None:
    names = "numpy, pandas, matplotlib, scipy, sympy, networkx, sklearn, ipympl, ipywidgets"
    container.run("python3", "-c", f"import {names}")
    assert "No broken requirements" in container.run("python3", "-m", "pip", "check")


def test_a_user_without_a_name_has_one(container: Session) -> None:
    assert container.run("whoami") == "jovyan\n"
    assert "no name" not in container.run("bash", "-ic", 'echo "${PS1@P}"')


def test_versions_are_recorded(container: Session) -> None:
    packages = container.run("cat", "/usr/share/integrable-jupyterhub/packages.txt")
    for name in ("octave", "r-base-core", "gcc"):
        assert f"\n{name}\t" in packages


def test_no_certificate_of_the_network_is_in_the_image(container: Session) -> None:
    local = "/usr/local/share/ca-certificates /etc/ssl/certs -name '*egress*' -o -name 'custom-ca*'"
    assert container.run("sh", "-c", f"find {local}") == ""
    assert not container.run("sh", "-c", "ls -A /run/build 2>/dev/null || true").strip()


def test_the_sizes_are_kept() -> None:
    def size(reference: str) -> int:
        return int(docker("image", "inspect", "--format", "{{.Size}}", reference))

    assert size(build("slim")) <= 420e6
    assert size(build("full")) <= 1400e6


def test_the_example_of_an_own_image_builds_and_runs() -> None:
    reference = build_example(build("slim"), "own-notebook:test")
    try:
        with session(reference) as container:
            assert container.run("sqlite3", ":memory:", "select 6 * 7") == "42\n"
            container.run("python3", "-c", "import tabulate")
            assert "Welcome" in container.run("cat", "welcome.txt")
            (found,) = container.cells("calysto_scheme", "(* 6 7)")
            assert (found.status, found.result.strip()) == ("ok", "42")
            hook = "export JUPYTERHUB_USER=ada; . /usr/local/bin/before-notebook.d/10-welcome.sh"
            assert container.run("bash", "-c", f"{hook}; echo $WELCOME") == "hello, ada\n"
    finally:
        docker("image", "rm", "--force", reference, check=False)
