"""C cells: which part is what, the program they make, and what gcc makes of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from session_kernels import c
from session_kernels.c import C
from session_kernels.c_source import Kind, closed, items, magics, program

from tests.unit.images.test_kernel_worker import Shown


def kinds(cell: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(item.kind.name, item.names) for item in items(cell)]


@pytest.mark.parametrize(
    ("cell", "kind", "names"),
    [
        ("#include <stdio.h>", "DIRECTIVE", ()),
        ("#define SQ(x) \\\n  ((x) * (x))", "DIRECTIVE", ("SQ",)),
        ("#ifdef X\nint z;\n#else\nint y;\n#endif", "DIRECTIVE", ()),
        ("int x = 3;", "VARIABLE", ("x",)),
        ("int x = 3, *p = &x, a[] = {1, 2};", "VARIABLE", ("x", "p", "a")),
        ("static const char *s = \"a;{\\\"\";", "VARIABLE", ("s",)),
        ("size_t n;", "VARIABLE", ("n",)),
        ("FILE *f = fopen(\"x\", \"r\");", "VARIABLE", ("f",)),
        ("double (*table[2])(double) = {sin, cos};", "VARIABLE", ("table",)),
        ("struct point p = {1, 2};", "VARIABLE", ("p",)),
        ("typedef struct { int x; } point;", "TYPE", ("point",)),
        ("struct node { struct node *next; };", "TYPE", ("struct node",)),
        ("struct node;", "TYPE", ()),
        ("enum color { RED, GREEN = 3 };", "TYPE", ("enum color", "RED", "GREEN")),
        ("int f(int);", "PROTOTYPE", ("f",)),
        ("void sort(int *a, int (*less)(int, int));", "PROTOTYPE", ("sort",)),
        ("int *f(void) { return 0; }", "FUNCTION", ("f",)),
        ("static int\nf(int a[])\n{\n  if (a) { return 1; }\n  return 2;\n}", "FUNCTION", ("f",)),
        ("__attribute__((noreturn)) void die(void) { for (;;); }", "FUNCTION", ("die",)),
        ("printf(\"int x;\");", "STATEMENT", ()),
        ("x = 3;", "STATEMENT", ()),
        ("p->x = y * z;", "STATEMENT", ()),
        ("a * b + c;", "STATEMENT", ()),
        ("for (int i = 0; i < 3; i++) { x++; }", "STATEMENT", ()),
        ("{ int i; }", "STATEMENT", ()),
        ("again: x = 1;", "STATEMENT", ()),
    ],
)  # fmt: skip
def test_a_part_is_told_by_how_it_begins(cell: str, kind: str, names: tuple[str, ...]) -> None:
    assert kinds(cell) == [(kind, names)]
    assert kinds(f"// before;\n{cell} /* after; }} */") == [(kind, names)]


def test_parts_come_in_order() -> None:
    cell = "#include <a.h>\nint f(int x) { return x; }\nint y = 1;\nif (y) f(1); else f(2);"
    assert [kind for kind, _ in kinds(cell)] == [
        *("DIRECTIVE", "FUNCTION", "VARIABLE", "STATEMENT", "STATEMENT"),
    ]


def test_definitions_are_kept_and_do_not_run() -> None:
    found = program("int twice(int x) { return 2 * x; }", "cell-1.c", ())
    assert not found.runs
    assert [d.names for d in found.kept] == [("twice",)]


def test_statements_become_a_main_and_are_not_kept() -> None:
    first = program("int twice(int x) { return 2 * x; }", "cell-1.c", ())
    second = program("int y = twice(4);\nprintf(y);", "cell-2.c", first.kept)
    assert second.runs
    assert second.kept == first.kept
    assert second.source.index("int twice(int x)") < second.source.index("int main(void)")


def test_variables_that_can_be_computed_before_it_runs_stay_others_are_of_the_cell() -> None:
    found = program("int a = 2 * 3;\nint b = f(a);\nputs(b);\nint c = 4;", "cell-1.c", ())
    assert [d.names for d in found.kept] == [("a",)]


def test_a_whole_program_is_as_it_is_and_leaves_nothing() -> None:
    cell = "int helper(void) { return 1; }\nint main(void) { return helper(); }"
    found = program(cell, "cell-1.c", ())
    assert found.runs
    assert found.kept == ()
    assert found.source == f'#line 1 "cell-1.c"\n{cell}\n'


def test_a_new_definition_replaces_the_old_one() -> None:
    kept = program("int f(int x) { return 1; }\nint g(void) { return f(1); }", "a", ()).kept
    kept = program("int f(int x) { return 2; }", "b", kept).kept
    assert [(d.names, d.file) for d in kept] == [(("g",), "a"), (("f",), "b")]


def test_a_prototype_replaces_no_function() -> None:
    kept = program("int f(int x) { return 1; }", "a", ()).kept
    assert Kind.FUNCTION in [d.kind for d in program("int f(int);", "b", kept).kept]


def test_functions_may_call_what_was_defined_later() -> None:
    kept = program("int g(void) { return f(1); }", "a", ()).kept
    kept = program("int f(int x) { return 2; }", "b", kept).kept
    source = program("g();", "c", kept).source
    assert source.index("int f(int x);") < source.index("return f(1)")


def test_lines_and_columns_stay_those_of_the_cell() -> None:
    cell = "int x = 1;\n  foo();\nint f(void) { return 1; }\n  bar();"
    source = program(cell, "cell-7.c", ()).source
    body = source.partition("int main(void) {\n")[2].partition("\nreturn 0;")[0].split("\n")
    assert body == ['#line 1 "cell-7.c"', " " * 10, "  foo();", " " * 25, "  bar();"]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("int f() {", "incomplete"),
        ("f(", "incomplete"),
        ('puts("{");', "complete"),
        ("}", "complete"),
    ],
)
def test_whether_a_cell_is_complete(code: str, found: str) -> None:
    assert closed(code) == found


def test_magic_lines_are_collected() -> None:
    cell = "//% cflags: -O2\n//%cflags: -DX=1\n  //% args: a 'b c'\n//% reset\n// % no: x"
    assert magics(cell) == {"cflags": "-O2 -DX=1", "args": "a 'b c'", "reset": ""}


# --- With gcc -------------------------------------------------------------------------------
@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[C]:
    if not shutil.which("gcc"):
        pytest.skip("no gcc here; tests/kernels runs all of this in the image")
    monkeypatch.setattr(c, "NATIVE", tmp_path / "native.so")
    language = C()
    yield language
    language.close()


def test_functions_of_earlier_cells_are_usable(kernel: C) -> None:
    shown = Shown()
    assert kernel.run("#include <stdio.h>\nint twice(int x) { return 2 * x; }", shown, 1) is None
    assert kernel.run('printf("%d ä\\n", twice(4));', shown, 2) is None
    assert shown.text() == "8 ä\n"


def test_an_error_names_the_cells_line(kernel: C) -> None:
    found = kernel.run("int y = 1;\ny = nope;", Shown(), 3)
    assert found
    assert found.name == "CompileError"
    assert "cell-3.c:2:5: error:" in "\n".join(found.traceback)
    assert any("y = nope;" in line for line in found.traceback)


def test_what_does_not_compile_is_not_kept(kernel: C) -> None:
    assert kernel.run("int f(void) { return nope; }", Shown(), 1)
    assert kernel.run("int g(void) { return 1; }", Shown(), 2) is None


def test_a_program_tells_how_it_ended(kernel: C) -> None:
    found = kernel.run("return 3;", Shown(), 1)
    assert found
    assert (found.name, found.value) == ("ExitStatus", "the program ended with 3")
    found = kernel.run("__builtin_trap();", Shown(), 2)
    assert found
    assert found.name in ("SIGILL", "SIGTRAP", "SIGABRT")


def test_flags_hold_and_arguments_do_not(kernel: C) -> None:
    shown = Shown()
    main = (
        '#include <stdio.h>\nint main(int n, char **a) { printf("%d %s;", X, n > 1 ? a[1] : "-"); }'
    )
    kernel.run(f"//% cflags: -DX=7\n//% args: 'a b'\n{main}", shown, 1)
    kernel.run(main, shown, 2)
    assert shown.text() == "7 a b;7 -;"
    kernel.run("//% reset", shown, 3)
    assert kernel.run(main, shown, 4)


def test_help_knows_headers_and_earlier_cells(kernel: C) -> None:
    kernel.run("#include <stdio.h>\nint twice(int x) { return 2 * x; }", Shown(), 1)
    assert "printf" in kernel.complete("pri", 3).matches
    assert kernel.complete("twi", 3).matches == ("twice",)
    assert "int printf (const char *, ...);" in kernel.inspect("printf", 3)
    assert kernel.inspect("twice", 3) == "cell-1.c:2\nint twice(int x) { return 2 * x; }"
