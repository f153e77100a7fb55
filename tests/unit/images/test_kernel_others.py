"""Bash in a real shell; of Octave, the texts; and the specs of all kernels."""

from __future__ import annotations

import json
import re
import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from session_kernels.__main__ import LANGUAGES, language
from session_kernels.bash import Bash
from session_kernels.octave import Octave, plain, quoted

from tests.unit.images.test_kernel_worker import Shown, interrupt

KERNELS = Path(__file__).parents[3] / "images" / "notebook" / "kernels"
SPECS = sorted((KERNELS / "specs").iterdir())


# --- Specs ----------------------------------------------------------------------------------
def test_the_kernels_have_the_names_that_notebooks_know() -> None:
    assert [spec.name for spec in SPECS] == ["bash", "c", "ir", "java", "octave", "xcpp17"]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_spec_starts_a_kernel_that_is_there(spec: Path) -> None:
    found = json.loads((spec / "kernel.json").read_text())
    assert found["argv"].count("{connection_file}") == 1
    assert found["display_name"]
    assert found["interrupt_mode"] == "signal"
    if spec.name == "ir":
        (file,) = [word for word in found["argv"] if word.startswith("--file=")]
        assert (KERNELS / "session_kernels" / Path(file).name).exists()
    else:
        name = found["argv"][found["argv"].index("session_kernels") + 1]
        assert language(name).about.name == found["language"]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_kernel_has_a_logo_in_both_forms(spec: Path) -> None:
    png = (spec / "logo-64x64.png").read_bytes()
    assert struct.unpack(">II", png[16:24]) == (64, 64)
    svg = ET.parse(spec / "logo-svg.svg").getroot()  # noqa: S314  (our own file)
    assert svg.get("viewBox") == "0 0 64 64"
    assert not re.search(r"(?:href|src|url)\s*[=(]", (spec / "logo-svg.svg").read_text())


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_language_says_what_jupyter_asks(name: str) -> None:
    about = language(name).about
    assert about.title
    assert about.mimetype.startswith("text/x-")
    assert about.extension.startswith(".")


# --- Bash -----------------------------------------------------------------------------------
@pytest.fixture
def bash() -> Iterator[Bash]:
    shell = Bash()
    yield shell
    shell.close()


def run(bash: Bash, code: str, *answers: str) -> Shown:
    shown = Shown(*answers)
    assert bash.run(code, shown, 1) is None, shown.streams
    return shown


def test_a_shell_keeps_its_state(bash: Bash) -> None:
    run(bash, "x=5; declare -A m=([a]=1); f() { echo f$1; }; cd /")
    assert run(bash, "f $x; echo ${m[a]} ä; pwd").text() == "f5\n1 ä\n/\n"


def test_a_cell_fails_like_its_last_command(bash: Bash) -> None:
    found = bash.run("echo before; (exit 7)", Shown(), 1)
    assert found
    assert (found.name, found.value) == ("ExitStatus", "the last command of the cell ended with 7")
    assert run(bash, "echo $?").text() == "7\n"
    assert bash.run("if true; then", Shown(), 1)


def test_nothing_but_the_cells_own_output_is_shown(bash: Bash) -> None:
    shown = run(bash, "true")
    assert shown.streams == []
    assert run(bash, "echo a; echo b >&2").streams == [("stdout", "a\n"), ("stderr", "b\n")]


def test_a_cell_may_be_longer_than_a_pipe_takes(bash: Bash) -> None:
    text = "x" * 200_000
    assert run(bash, f"text={text}; echo ${{#text}}").text() == "200000\n"


def test_a_shell_that_ended_between_cells_is_told_and_started_anew(bash: Bash) -> None:
    run(bash, "x=5")
    assert bash._worker
    bash._worker.process.kill()
    bash._worker.process.wait()
    found = bash.run("echo $x", Shown(), 2)
    assert found
    assert "SIGKILL" in found.value
    assert run(bash, "echo on").text() == "on\n"


def test_an_interrupt_leaves_the_shell(bash: Bash) -> None:
    run(bash, "x=5")
    interrupt()
    shown = Shown()
    found = bash.run("sleep 20; echo no", shown, 2)
    assert found
    assert found.value == "the cell was stopped"
    assert shown.text() == ""
    assert run(bash, "echo $x").text() == "5\n"


def test_read_asks_the_person(bash: Bash) -> None:
    shown = run(bash, 'read -p "Name: " name; echo "<$name>"', "Ada")
    assert (shown.text(), shown.text("stderr")) == ("<Ada>\n", "Name: ")
    shown = run(bash, "read name || echo none")
    assert shown.text() == "none\n"
    assert "nobody can be asked" in shown.text("stderr")


def test_read_reads_what_is_piped_and_redirected(bash: Bash) -> None:
    assert run(bash, r"printf 'a\nb\n' | while read l; do echo \<$l\>; done").text() == "<a>\n<b>\n"
    assert (
        run(bash, "read x <<< y; echo $x; exec 4< <(echo z); read -u 4 x; echo $x").text()
        == "y\nz\n"
    )
    assert run(bash, "cat").text() == ""


def test_images_and_pages_are_shown(bash: Bash, tmp_path: Path) -> None:
    shown = run(bash, "echo '<b>x</b>' | displayHTML id; echo 'alert(1)' | displayJS")
    assert shown.displays == [
        ({"text/html": "<b>x</b>"}, "id"),
        ({"text/javascript": "alert(1)"}, ""),
    ]
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100_000))
    ((data, _),) = run(bash, f"display < {tmp_path}/x.png").displays
    assert data["image/png"].startswith("iVBORw0KGgo")


def test_words_are_completed(bash: Bash, tmp_path: Path) -> None:
    run(bash, f"cd {tmp_path}; mkdir folder; touch file; variable=1; command_of_mine() {{ :; }}")
    assert bash.complete("echo; command_of", 16).matches == ("command_of_mine",)
    assert bash.complete("echo $variab", 12).matches == ("$variable",)
    assert bash.complete("ls f", 4).matches == ("file", "folder/")
    assert bash.complete("ls x fi", 7).start == 5


def test_commands_are_explained(bash: Bash) -> None:
    assert "Change the shell working directory" in bash.inspect("cd /", 1)
    run(bash, "f() { echo 1; }; x=5")
    assert "f is a function" in bash.inspect("f", 1)
    assert bash.inspect("$x", 2) == 'declare -- x="5"'


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("echo a", "complete"),
        ("for i in 1; do", "incomplete"),
        ("echo 'a", "incomplete"),
        ("echo a \\", "incomplete"),
        ("echo )", "invalid"),
    ],
)
def test_bash_tells_whether_a_cell_is_complete(bash: Bash, code: str, found: str) -> None:
    assert bash.is_complete(code) == found


# --- Octave ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x = 1\ny", '"x = 1\\ny"'),
        ('disp("a\\n")', '"disp(\\"a\\\\n\\")"'),
        ("a\r\nb", '"a\\nb"'),
        ("ä'", '"ä\'"'),
    ],
)
def test_a_cell_becomes_one_line_for_octave(text: str, found: str) -> None:
    assert quoted(text) == found


def test_octaves_help_is_readable_without_texinfo() -> None:
    texinfo = (
        "-*- texinfo -*-\n@deftypefn {} {@var{y} =} sin (@var{x})\nCompute the sine of @var{x}.\n"
        "@seealso{asin, cos}\n@end deftypefn\n"
    )
    assert plain(texinfo).strip().split("\n") == ["y = sin (x)", "Compute the sine of x."]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("x = 1", "complete"),
        ("if x, y, end", "complete"),
        ("for i = 1:3\n  x", "incomplete"),
        ("for i = 1:3\n  x\nend", "complete"),
        ("function f ()\n% end", "incomplete"),
        ("do\n x\nuntil y", "complete"),
    ],
)
def test_octave_tells_whether_a_cell_is_complete(code: str, found: str) -> None:
    assert Octave.is_complete(Octave.__new__(Octave), code) == found
