"""C++ cells: the pieces that the interpreter is given, and what the front makes of its words."""

from __future__ import annotations

import pytest
from session_kernels.cpp import _HoldsBack
from session_kernels.cpp_source import Kind, pieces

from tests.unit.images.test_kernel_worker import Shown


def kinds(cell: str) -> list[str]:
    return [piece.kind.name for piece in pieces(cell)]


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("#include <vector>\n#define X 1", "DIRECTIVES"),
        ("int f(int a = 3) { return a; }", "DEFINITION"),
        ("int f() noexcept { return 1; }", "DEFINITION"),
        ("auto f(int a) -> int { return a; }", "DEFINITION"),
        ("int P::get() const { return x; }", "DEFINITION"),
        ("std::vector<int> f(std::vector<int> v) { return v; }", "DEFINITION"),
        ("template <class T = int> T twice(T t) { return t + t; }", "DEFINITION"),
        ("template <class T> struct Box { T t; };", "DEFINITION"),
        ("class Q : public P { public: int h() { return 1; } };", "DEFINITION"),
        ("P operator+(P a, P b) { return a; }", "DEFINITION"),
        ("enum class Color { red, green };", "DEFINITION"),
        ("namespace n { int x = 1; }", "DEFINITION"),
        ("using namespace std;", "DEFINITION"),
        ('extern "C" { int f(); }', "DEFINITION"),
        ("int x = 3;", "STATEMENTS"),
        ("int x = 3", "STATEMENTS"),
        ("std::vector<int> v{1, 2};", "STATEMENTS"),
        ("auto f = [](int a) { return a; };", "STATEMENTS"),
        ("std::sort(v.begin(), v.end(), [](int a, int b) { return a < b; });", "STATEMENTS"),
        ("for (auto i : v) { g(i); }", "STATEMENTS"),
        ("if (a) { f(); } else { g(); }", "STATEMENTS"),
        ("try { f(); } catch (...) { g(); }", "STATEMENTS"),
        ("do { f(); } while (x);", "STATEMENTS"),
        ("{ int i; }", "STATEMENTS"),
        ("x", "EXPRESSION"),
        ("f(1) + x", "EXPRESSION"),
        ("v.size()", "EXPRESSION"),
        ("std::vector<int>{1, 2}", "EXPRESSION"),
        ("[](int a) { return a; }(4)", "EXPRESSION"),
        ('R"(a ) " ; { )"', "EXPRESSION"),
    ],
)
def test_a_piece_is_told_by_its_form(cell: str, kind: str) -> None:
    assert kinds(cell) == [kind]
    assert kinds(f"// before {{\n{cell} // after ;") == [kind]


def test_statements_go_together_and_definitions_alone() -> None:
    cell = "#include <a>\n#include <b>\nint f() { return 1; }\nint g() { return 2; }\n"
    cell += "int x = f();\nx++;\nx"
    assert kinds(cell) == ["DIRECTIVES", "DEFINITION", "DEFINITION", "STATEMENTS", "EXPRESSION"]


def test_a_piece_knows_its_line() -> None:
    found = pieces("int x = 1;\n\n// here\nint f() { return 1; }\n  x")
    assert [(piece.kind, piece.line) for piece in found] == [
        (Kind.STATEMENTS, 1),
        (Kind.DEFINITION, 4),
        (Kind.EXPRESSION, 5),
    ]


def test_nothing_is_no_piece() -> None:
    assert pieces("  // only a comment\n") == []


# --- The front ------------------------------------------------------------------------------
def test_what_cling_says_of_an_exception_is_held_back() -> None:
    shown = Shown()
    held = _HoldsBack(shown)
    held.stream("stderr", "mine\ncompilation failed: boo\n")
    assert shown.text("stderr") == "mine\n"


def test_what_a_program_says_is_shown_at_last() -> None:
    shown = Shown()
    held = _HoldsBack(shown)
    held.stream("stderr", "compilation failed: boo\n")
    held.stream("stdout", "on\n")
    assert shown.streams == [("stderr", "compilation failed: boo\n"), ("stdout", "on\n")]
    held.stream("stderr", "compilation failed with unknown error\n")
    held.release()
    assert shown.text("stderr").endswith("unknown error\n")
