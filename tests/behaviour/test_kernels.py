"""The seven kernels in a session: through hub, proxy and websocket, with all its restrictions.

What the kernels can is tried in a container too (tests/kernels), without a hub; the samples are the
same.
"""

from __future__ import annotations

import base64
import queue
import secrets
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hubhost.images import ImageSet
from tests.browser import browser_page
from tests.deployment import Deployment, Run
from tests.kernels.build import example_context, settings
from tests.kernels.channels import WAIT_S, Channels, kernel
from tests.kernels.conformance import CHECKS, PINNED, SAMPLES, UNSEEN, outcome
from tests.kernels.notebooks import read, run, shown
from tests.kernels.report import FIRST
from tests.kernels.samples import (
    ASKS,
    COMPLETES,
    CRASHES,
    EXITS,
    FAILS,
    FLOODS,
    HELLO,
    LINES,
    LOOPS,
    OURS,
    PLOTS,
)
from tests.lab import Host
from tests.lab.client import ClientError, Session
from tests.lab.demo import hub_of
from tests.lab.host import ssh_command

TITLES = {
    "python3": "Python 3 (ipykernel)",
    "bash": "Bash",
    "c": "C11",
    "xcpp17": "C++17",
    "java": "Java 21",
    "octave": "Octave",
    "ir": "R",
}
TRIES, AGAIN_S = 4, 15
BUILD_S = 1500
"""Building the whole image takes some five minutes where nothing is cached."""
PNG = b"\x89PNG\r\n\x1a\n"
OWN, NEWER = "own-notebook:1", "own-notebook:2"


@pytest.fixture(scope="module")
def full(host: Host, deployment: Deployment, first_run: Run) -> Iterator[Session]:
    """One session of the full image; kernels come and go in it."""
    deployed = deployment.run(notebook_profile="full", timeout=BUILD_S)
    print(f"\nthe full image: {deployed.seconds:.0f} s")
    hub = hub_of(host)[1]
    name = f"kernels-{secrets.token_hex(4)}"
    hub.create_user(name)
    hub.start_server(name)
    yield hub.attach(name, hub.mint_token(name))
    hub.delete_user(name)
    deployment.run()


@pytest.fixture(scope="module", params=list(TITLES))
def channels(request: pytest.FixtureRequest, full: Session) -> Iterator[Channels]:
    """A kernel; pytest runs all tests of one before the next one starts."""
    with kernel(full, request.param) as found:
        yield found


def works(channels: Channels, timeout: float = WAIT_S) -> bool:
    """Does a cell run?"""
    found = channels.cell(HELLO[channels.kernel_name], timeout=timeout)
    return (found.status, found.stdout) == ("ok", "grüße 😀\n")


def works_again(channels: Channels) -> bool:
    """Does a cell run, once the server has started the kernel anew?

    It puts new connections in the place of the old ones a moment after the kernel first answers:
    what is asked in between is lost, and a person runs it again.
    """
    for _ in range(TRIES):
        channels.ready()
        with suppress(ClientError, queue.Empty):
            if works(channels, timeout=AGAIN_S):
                return True
    return False


def files(session: Session) -> set[str]:
    """What lies in the home."""
    return {file["name"] for file in session.request("GET", "/api/contents").json()["content"]}


def test_the_session_has_the_seven_kernels(full: Session) -> None:
    found = full.request("GET", "/api/kernelspecs").json()["kernelspecs"]
    assert {name: spec["spec"]["display_name"] for name, spec in found.items()} == TITLES


# --- Each kernel ------------------------------------------------------------------------------
@pytest.mark.parametrize("check", CHECKS)
def test_jupyter_kernel_test(channels: Channels, check: str) -> None:
    found = outcome(channels, check)
    pinned = PINNED[channels.kernel_name].get(check)
    if pinned:
        assert found == pinned[0], f"pinned, because: {pinned[1]}"
    else:
        assert found == "passed"


def test_text_of_all_alphabets_comes_as_it_is(channels: Channels) -> None:
    assert works(channels)


def test_a_failing_cell_fails(channels: Channels) -> None:
    code, name = FAILS[channels.kernel_name]
    found = channels.cell(code)
    assert (found.status, found.name) == ("error", name)
    assert found.traceback
    assert works(channels)


def test_twenty_thousand_lines_come_soon_and_in_few_messages(channels: Channels) -> None:
    found = channels.cell(LINES[channels.kernel_name])
    assert found.status == "ok"
    assert found.stdout.splitlines() == [f"line {number}" for number in range(20000)]
    assert found.messages < 100
    assert found.seconds < 15


def test_five_interrupts_stop_a_cell_within_two_seconds_each(channels: Channels) -> None:
    seconds = []
    for _ in range(5):
        found = channels.cell(LOOPS[channels.kernel_name], stop_at="running")
        # IRkernel's answer to an interrupt is "abort".
        assert found.status == ("abort" if channels.kernel_name == "ir" else "error")
        seconds.append(found.seconds)
        assert works(channels)
    print(f"\n{channels.kernel_name}: stopped after", *(f"{s:.2f}" for s in seconds), "s")
    assert statistics.median(seconds) <= 2
    assert max(seconds) <= 10


def test_input_is_asked_or_refused(channels: Channels) -> None:
    code = ASKS[channels.kernel_name]
    answered = channels.cell(code, answers=["Ada"])
    assert (answered.status, answered.stdout.splitlines()[-1]) == ("ok", "Ada")
    refused = channels.cell(code, timeout=10)
    said = refused.stderr + refused.value
    assert "nobody can be asked" in said or "does not support input" in said


def test_words_are_completed(channels: Channels) -> None:
    begun, word = COMPLETES[channels.kernel_name]
    assert word in channels.ask("complete", begun)["matches"]


# After what asks for input: of the channels to a kernel that was started anew, that for input may
# be the last to be connected, and a question asked before that is never seen.
@pytest.mark.parametrize("cells", [CRASHES, EXITS], ids=["crash", "exit"])
def test_a_crash_or_an_exit_leaves_a_kernel_that_works(
    full: Session, channels: Channels, cells: dict[str, str]
) -> None:
    name = channels.kernel_name
    before = files(full)
    found = channels.cell(cells[name])
    if name in OURS:  # another process runs the cells: the kernel itself tells
        assert found.status == "error"
        assert found.value
    elif (name, cells) == ("ir", EXITS):  # IRkernel leaves it to the frontend to end it
        assert found.status == "ok"
    else:  # the server starts it anew
        assert found.status == "dead"
    assert works_again(channels)
    assert files(full) == before


# --- Some kernels -----------------------------------------------------------------------------
@pytest.mark.parametrize("channels", PLOTS, indirect=True)
def test_plots_are_png(channels: Channels) -> None:
    found = channels.cell(PLOTS[channels.kernel_name])
    assert found.status == "ok"
    (display,) = found.displays
    image = base64.b64decode(display["image/png"])
    assert image.startswith(PNG)
    assert len(image) > 1000


@pytest.mark.parametrize("channels", FLOODS, indirect=True)
def test_a_flood_without_end_is_stopped_and_nothing_of_it_comes_later(channels: Channels) -> None:
    found = channels.cell(FLOODS[channels.kernel_name], stop_at="flood\n" * 20000)
    assert found.status == "error"
    assert found.messages < 200
    assert found.seconds < 5
    assert works(channels)


@pytest.mark.parametrize("channels", sorted({name for name, _ in UNSEEN}), indirect=True)
def test_what_a_kernel_does_not_see_of_a_cells_end(channels: Channels) -> None:
    codes = [code for name, code in UNSEEN if name == channels.kernel_name]
    assert [channels.ask("is_complete", code)["status"] for code in codes] == ["complete"] * len(
        codes
    )


def test_every_pin_names_a_check_that_exists() -> None:
    assert PINNED.keys() == SAMPLES.keys() == TITLES.keys()
    assert {check for pins in PINNED.values() for check in pins} <= set(CHECKS)


# --- Whole notebooks --------------------------------------------------------------------------
@pytest.mark.parametrize("name", TITLES)
def test_a_notebook_gives_what_it_says(full: Session, name: str) -> None:
    notebook = read(name)
    expected = [shown(cell) for cell in notebook.cells]
    run(notebook, full)
    assert [shown(cell) for cell in notebook.cells] == expected


# --- A person ---------------------------------------------------------------------------------
def test_the_launcher_shows_seven_logos_and_a_cell_runs_in_each(
    full: Session, artifacts: Path
) -> None:
    with browser_page() as page:
        for name, title in TITLES.items():
            # A workspace of its own: it opens with the launcher.
            page.goto(full.link(f"lab/workspaces/{name}"))
            tiles = page.locator(".jp-LauncherCard[data-category='Notebook']")
            tiles.nth(len(TITLES) - 1).wait_for(timeout=60_000)
            assert {tile.get_attribute("title") for tile in tiles.all()} == {*TITLES.values()}
            for logo in tiles.locator("img").all():
                page.wait_for_function("i => i.complete", arg=logo.element_handle())
            widths = tiles.locator("img").evaluate_all("all => all.map(i => i.naturalWidth)")
            assert len(widths) == len(TITLES)
            assert all(widths)
            if name == "python3":
                page.screenshot(path=artifacts / "launcher.png")
            page.locator(
                f".jp-LauncherCard[data-category='Notebook'][title='{title}']"
            ).first.click()
            page.get_by_text(f"{title} | Idle").wait_for(timeout=60_000)
            page.locator(".jp-Notebook .cm-content").first.click()
            page.keyboard.insert_text(FIRST[name])
            page.keyboard.press("Shift+Enter")
            page.locator(".jp-OutputArea-output", has_text="42").first.wait_for(timeout=60_000)
            page.get_by_text(f"{title} | Idle").wait_for(timeout=60_000)
            page.screenshot(path=artifacts / f"kernel-{name}.png")
            for found in full.request("GET", "/api/sessions").json():
                full.request("DELETE", f"/api/sessions/{found['id']}")


# --- An image of one's own --------------------------------------------------------------------
def test_the_example_of_an_own_image_runs_in_a_session(
    full: Session, host: Host, deployment: Deployment
) -> None:
    notebook = ImageSet.of(settings("full")).reference("notebook")
    build = ("docker", "build", "--progress=plain", f"--build-arg=NOTEBOOK={notebook}")
    command = ssh_command(host.ssh_config, (*build, f"--tag={OWN}", f"--tag={NEWER}", "-"))
    subprocess.run(command, input=example_context(notebook), timeout=600, check=True)
    deployment.run(notebook_image=OWN)
    assert host.run("docker", "image", "inspect", OWN, NEWER, check=False).returncode == 0, "pruned"
    hub = hub_of(host)[1]
    name = f"own-{secrets.token_hex(4)}"
    hub.create_user(name)
    try:
        hub.start_server(name)
        session = hub.attach(name, hub.mint_token(name))
        page = session.request("GET", "/api/contents/welcome.txt").json()
        assert page["content"].startswith("Welcome")
        python = (
            "import os, subprocess, tabulate\n"
            "sqlite = ['sqlite3', ':memory:', 'select 6 * 7']\n"
            "print(tabulate.tabulate([[42]]), os.environ['WELCOME'])\n"
            "print(subprocess.run(sqlite, capture_output=True).stdout)"
        )
        said = session.run(python)
        assert said.error is None
        assert "42" in said.stdout
        assert f"hello, {name}" in said.stdout
        assert r"b'42\n'" in said.stdout
        assert session.run("(* 6 7)", name="calysto_scheme").value == "42"
    finally:
        hub.delete_user(name)
        deployment.run(notebook_profile="full")
        host.run("docker", "image", "rm", OWN, NEWER, check=False)
