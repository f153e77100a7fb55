"""C++ cells as text: what the interpreter has to be given piece by piece.

Cling takes statements together, but each function, class or template by itself; the last piece of a
cell may be an expression, whose value is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from session_kernels.c_source import (
    CONTROL,
    TYPES,
    Token,
    declares,
    outside,
    parts,
)

BLOCKS = CONTROL | {"try", "catch", "namespace"}
DEFINING = {
    *("template", "class", "struct", "union", "enum", "namespace", "using", "typedef", "extern"),
    *("static_assert", "inline", "constexpr"),
}


STANDARD = {
    *("accumulate", "any", "array", "async", "atomic", "begin", "binary_search", "bitset", "cerr"),
    *("chrono", "cin", "copy", "count", "count_if", "cout", "deque", "distance", "end", "endl"),
    *("exception", "fill", "find", "find_if", "fixed", "for_each", "forward", "function", "future"),
    *("get", "getline", "hash", "hex", "ifstream", "invalid_argument", "iota", "istringstream"),
    *("left", "list", "logic_error", "lower_bound", "make_pair", "make_shared", "make_tuple"),
    *("make_unique", "map", "max", "max_element", "min", "min_element", "move", "multimap"),
    *("multiset", "mutex", "next", "numeric_limits", "ofstream", "optional", "ostringstream"),
    *("out_of_range", "pair", "prev", "priority_queue", "queue", "reduce", "remove_if", "reverse"),
    *("right", "runtime_error", "set", "setprecision", "setw", "shared_ptr", "shuffle", "size_t"),
    *("sort", "stable_sort", "stack", "stod", "stoi", "string", "string_view", "stringstream"),
    *("swap", "this_thread", "thread", "tie", "to_string", "transform", "tuple", "unique"),
    *("unique_ptr", "unordered_map", "unordered_set", "upper_bound", "variant", "vector", "visit"),
}
"""Names of the standard library that are completed; Cling knows those only that were used."""


class Kind(Enum):
    """What a piece is."""

    DIRECTIVES = "directives"
    DEFINITION = "definition"
    STATEMENTS = "statements"
    EXPRESSION = "expression"


@dataclass(frozen=True)
class Piece:
    """A part of a cell that is interpreted at once, and the number of its first line."""

    kind: Kind
    text: str
    line: int


def pieces(cell: str) -> list[Piece]:
    """The pieces of a cell, in order."""
    joined: list[tuple[Kind, int, int]] = []
    for kind, start, end in _classified(cell):
        together = kind in (Kind.STATEMENTS, Kind.DIRECTIVES)
        if together and joined and joined[-1][0] is kind:
            joined[-1] = (kind, joined[-1][1], end)
        else:
            joined.append((kind, start, end))
    return [
        Piece(kind, cell[start:end], cell.count("\n", 0, start) + 1) for kind, start, end in joined
    ]


def _classified(cell: str) -> Iterator[tuple[Kind, int, int]]:
    for part in parts(cell, _begins_a_body):
        words = [text for _, text, _ in part.tokens]
        if not words:
            kind = Kind.DIRECTIVES
        elif words[0] in DEFINING or (part.body and words[0] not in BLOCKS):
            kind = Kind.DEFINITION
        elif words[-1] not in (";", "}") and words[0] not in CONTROL and not declares(words):
            kind = Kind.EXPRESSION
        elif words[-1] == "}" and not part.body and not declares(words):
            kind = Kind.EXPRESSION  # std::vector<int>{1, 2}
        else:
            kind = Kind.STATEMENTS
        yield kind, part.start, part.end


def _begins_a_body(part: list[Token]) -> bool:
    """Whether the brace after these tokens begins a function's body or a block."""
    part = _without_template(part)
    if not part or part[0][1] in BLOCKS or [text for _, text, _ in part[:2]] == ["extern", '"C"']:
        return True
    texts = [text for _, text, _ in outside(part)]
    if "(" not in texts or texts[0] in ("(", "[") or ("=" in texts and "operator" not in texts):
        return False
    # `f(…) {`, `f(…) const {`, `f(…) -> int {`: a name before the bracket, and something before
    # that; a call has no body.
    bracket = texts.index("(")
    return bracket >= 2 or texts[0] in TYPES


def _without_template(part: list[Token]) -> list[Token]:
    while part and part[0][1] == "template":
        depth = 0
        for index, (_, text, _) in enumerate(part):
            depth += (text == "<") - (text == ">")
            if text == ">" and depth == 0:
                part = part[index + 1 :]
                break
        else:
            return []
    return part
