"""C cells as text: which parts are definitions, which are statements, and the program they make.

A cell is one of three things:
- a whole program: it defines `main`;
- definitions: functions, types, variables, macros, includes. They are kept;
- statements, perhaps with definitions: the statements become the body of a `main`.

Definitions of earlier cells are part of every later program; a new definition replaces the old one
of the same name. Every cell is a program of its own that runs from the beginning: functions and
types stay, the values of variables do not. What a whole program defines stays in its cell.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

TOKEN = re.compile(
    r"""
    (?P<raw> R"(?P<mark>[^\s()\\]{0,16})\(.*?\)(?P=mark)" )
  | (?P<space> \s+ | \\\n | //(?:\\\n|[^\n])* | /\*.*?(?:\*/|\Z) )
  | (?P<string> (?:u8|[uUL])? (?: "(?:\\.|[^"\\\n])*"? | '(?:\\.|[^'\\\n])*'? ) )
  | (?P<word> [A-Za-z_]\w* )
  | (?P<number> \.?\d(?:[eEpP][+-]|'?[\w.])* )
  | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL,
)
DIRECTIVE = re.compile(r"[ \t]*\#(?:\\\n|/\*.*?\*/|[^\n])*", re.DOTALL)
CONTROL = {
    *("if", "else", "for", "while", "do", "switch", "case", "default"),
    *("return", "goto", "break", "continue", "{", ";"),
}
TYPES = {
    *("void", "char", "short", "int", "long", "float", "double", "signed", "unsigned", "_Bool"),
    *("_Complex", "struct", "union", "enum", "typedef", "extern", "static", "inline", "const"),
    *("volatile", "register", "restrict", "auto", "_Atomic", "_Alignas", "_Noreturn"),
    *("_Static_assert", "_Thread_local", "__attribute__", "__extension__", "bool"),
}
CONSTANTS = {*TYPES, "sizeof", "_Alignof", "true", "false", "NULL"}
KEYWORDS = sorted({*CONTROL, *TYPES, "sizeof", "_Alignof", "_Generic", "main"} - {"{", ";"})


class Kind(IntEnum):
    """Kinds of a cell's parts, in the order in which a program has them."""

    DIRECTIVE = 0
    TYPE = 1
    PROTOTYPE = 2
    VARIABLE = 3
    FUNCTION = 4
    STATEMENT = 5


@dataclass(frozen=True)
class Item:
    """A part of a cell: its kind, the names it defines, and where it stands."""

    kind: Kind
    names: tuple[str, ...]
    start: int
    end: int
    constant: bool = True
    """Of a variable: whether what it begins with can be computed before the program runs."""


@dataclass(frozen=True)
class Definition:
    """An item of an earlier cell, with its text and where that stood."""

    kind: Kind
    names: tuple[str, ...]
    text: str
    file: str
    line: int


Token = tuple[str, str, int]
"""Kind, text, position."""
OPENING, CLOSING = ("(", "[", "{"), (")", "]", "}")


def tokens(text: str, start: int, end: int) -> Iterator[Token]:
    """The tokens between, without space and comments."""
    for match in TOKEN.finditer(text, start, end):
        if match.lastgroup != "space":
            yield match.lastgroup or "", match[0], match.start()


@dataclass(frozen=True)
class Part:
    """A piece of a cell at its top level, as far as C and C++ are the same."""

    tokens: tuple[Token, ...]
    """Its tokens; none of a preprocessor's line or group."""
    start: int
    end: int
    body: bool
    """Whether it ends with the body of a function or with a block."""


def parts(text: str, begins_a_body: Callable[[list[Token]], bool]) -> Iterator[Part]:
    """The pieces of a cell, in order.

    `begins_a_body` tells whether a brace after these tokens begins something that ends with its
    closing brace, not with a semicolon.
    """
    part: list[Token] = []
    depth, position, body = 0, 0, False
    while position < len(text):
        line_begins = text.rfind("\n", 0, position) + 1
        directive = DIRECTIVE.match(text, line_begins)
        if directive and not part and not text[line_begins:position].strip():
            position = _directive_end(text, directive)
            yield Part((), line_begins, position, False)
            continue
        match = TOKEN.match(text, position)
        assert match, "every character is a token"
        position = match.end()
        if match.lastgroup == "space":
            continue
        sign = match[0]
        if sign == "{" and depth == 0:
            body = begins_a_body(part)
        part.append((match.lastgroup or "", sign, match.start()))
        depth = max(0, depth + (sign in OPENING) - (sign in CLOSING))
        if depth == 0 and (sign == ";" or (sign == "}" and body)):
            yield Part(tuple(part), part[0][2], position, body)
            part, body = [], False
    if part:
        yield Part(tuple(part), part[0][2], len(text.rstrip()), body)


def items(cell: str) -> list[Item]:
    """The parts of a C cell, in order, and what each is."""
    return [
        _item(part) if part.tokens else _directive(cell, part.start, part.end)
        for part in parts(cell, _begins_a_body)
    ]


def _directive_end(text: str, directive: re.Match[str]) -> int:
    """A conditional group is one part: up to its #endif."""
    depth, end = 0, directive.end()
    for match in DIRECTIVE.finditer(text, directive.start()):
        if text[text.rfind("\n", 0, match.start()) + 1 : match.start()].strip():
            continue
        word = re.match(r"\s*#\s*(\w*)", match[0])
        name = word[1] if word else ""
        depth += name in ("if", "ifdef", "ifndef")
        depth -= name == "endif"
        end = match.end()
        if depth <= 0:
            break
    return end


def _directive(text: str, start: int, end: int) -> Item:
    define = re.match(r"\s*#\s*define\s+(\w+)", text[start:end])
    return Item(Kind.DIRECTIVE, (define[1],) if define else (), start, end)


def _begins_a_body(part: list[Token]) -> bool:
    """Whether the brace after these tokens begins a function's body or a block."""
    if not part or part[0][1] in CONTROL:
        return True
    return part[-1][1] == ")" and "=" not in [t for _, t, _ in outside(part)]


def outside(part: Iterable[Token]) -> list[Token]:
    """The tokens outside all brackets; the brackets themselves are there."""
    depth, found = 0, []
    for token in part:
        depth -= token[1] in CLOSING
        if depth <= 0:
            found.append(token)
        depth += token[1] in OPENING
    return found


def _item(found: Part) -> Item:
    part, start, end = list(found.tokens), found.start, found.end
    words = [text for _, text, _ in part]
    outside_brackets = outside(part)
    first = words[0]
    if first in CONTROL or not declares(words):
        # A label, an assignment, a call: all that does something.
        return Item(Kind.STATEMENT, (), start, end)
    if found.body:
        return Item(Kind.FUNCTION, (_name_before_bracket(outside_brackets),), start, end)
    names = tuple(_declared(part))
    types = tuple(_types(part))
    if first in ("typedef", "_Static_assert") or types or not names:
        return Item(Kind.TYPE, (*types, *names), start, end)
    if _is_prototype(outside_brackets):
        return Item(Kind.PROTOTYPE, names, start, end)
    constant = not any(
        kind == "word" and text not in CONSTANTS for kind, text, _ in _initializers(part)
    )
    return Item(Kind.VARIABLE, names, start, end, constant)


def declares(words: list[str]) -> bool:
    """Whether a part begins like a declaration: with a type's word, or with two names."""
    if words[0] in TYPES:
        return True
    if not re.match(r"[A-Za-z_]", words[0]):
        return False
    rest = [word for word in words[1:] if word not in ("*", "const")]
    stars = len(words) - 1 - len(rest)
    if not rest or not re.match(r"[A-Za-z_]", rest[0]):
        return False
    # `a * b;` declares b; `a * b + c;` computes.
    return stars == 0 or len(rest) == 1 or rest[1] in (";", "=", ",", "[", "(")


def _name_before_bracket(part: list[Token]) -> str:
    for before, token in itertools.pairwise(part):
        if token[1] == "(" and before[0] == "word" and before[1] != "__attribute__":
            return before[1]
    return ""


def _types(part: list[Token]) -> Iterator[str]:
    """Tags and enumerators that a part defines, with `struct` and the like before a tag."""
    for index, (_, text, _) in enumerate(part[:-2]):
        if text in ("struct", "union", "enum"):
            name, brace = part[index + 1], part[index + 2]
            if name[0] == "word" and brace[1] == "{":
                yield f"{text} {name[1]}"
            braces = [i for i in (index + 1, index + 2) if part[i][1] == "{"]
            if text == "enum" and braces:
                yield from _enumerators(part[braces[0] + 1 :])
        if text == "=":
            return


def _enumerators(part: list[Token]) -> Iterator[str]:
    previous = ","
    for kind, text, _ in part:
        if text == "}":
            return
        if kind == "word" and previous == ",":
            yield text
        previous = text


def _declared(part: list[Token]) -> Iterator[str]:
    """The names that a declaration gives to variables, functions or types."""
    # In each declarator it is the last word before an initializer or the brackets that follow it;
    # `(*name)(…)` has it inside its first brackets.
    declarator: list[Token] = []
    past = False
    for kind, text, position in outside(part):
        if text in (",", ";"):
            if name := _name(declarator, part):
                yield name
            declarator, past = [], False
        elif text == "=":
            past = True
        elif not past:
            declarator.append((kind, text, position))


def _name(declarator: list[Token], part: list[Token]) -> str:
    for index, (_, text, position) in enumerate(declarator):
        if text == "(":
            inside = [t for t in part if t[2] > position]
            if inside and inside[0][1] == "*":
                pointed = next((t for t in inside if t[0] == "word" and t[1] not in TYPES), None)
                return pointed[1] if pointed else ""
            before = declarator[:index]
            break
        if text == "[":
            before = declarator[:index]
            break
    else:
        before = declarator
    words = [text for kind, text, _ in before if kind == "word" and text not in TYPES]
    # `struct point;` and `struct point {…};` declare no name but the tag.
    tagged = [t for _, t, _ in before]
    if len(words) == 1 and tagged[:1] and tagged[0] in ("struct", "union", "enum"):
        return "" if tagged[-1] in (words[0], "}") and tagged.index(words[0]) == 1 else words[0]
    return words[-1] if words else ""


def _is_prototype(part: list[Token]) -> bool:
    texts = [text for _, text, _ in part]
    if "(" not in texts or "=" in texts:
        return False
    opening = texts.index("(")
    return part[opening - 1][0] == "word"


def _initializers(part: list[Token]) -> Iterator[Token]:
    """What stands right of an = outside brackets, up to the next comma there."""
    depth, past = 0, False
    for token in part:
        depth -= token[1] in CLOSING
        if depth == 0 and token[1] in ("=", ","):
            past = token[1] == "="
        elif past and token[1] != ";":
            yield token
        depth += token[1] in OPENING


def closed(cell: str) -> str:
    """Whether all brackets are closed: "complete" or "incomplete"."""
    depth = 0
    for _, text, _ in tokens(cell, 0, len(cell)):
        depth += (text in OPENING) - (text in CLOSING)
    return "incomplete" if depth > 0 else "complete"


# --- Programs -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Program:
    """What the compiler gets for a cell, and what later cells will know of it."""

    source: str
    runs: bool
    kept: tuple[Definition, ...]


def program(cell: str, file: str, kept: tuple[Definition, ...]) -> Program:
    """The program of a cell that is called `file`, after the definitions of earlier cells."""
    found = items(cell)
    whole = any(item.kind is Kind.FUNCTION and "main" in item.names for item in found)
    statements = [] if whole else _main(found)
    definitions = [item for item in found if item not in statements]
    own = [_definition(cell, part, file) for part in definitions]
    earlier = replaced(kept, own)
    source = prelude(earlier)
    source += f'#line 1 "{file}"\n{_only(cell, definitions) if statements else cell}\n'
    if statements:
        source += f'int main(void) {{\n#line 1 "{file}"\n{_only(cell, statements)}\nreturn 0; }}\n'
    return Program(source, whole or bool(statements), earlier if whole else (*earlier, *own))


def _main(found: list[Item]) -> list[Item]:
    """The parts that belong into main: statements, and variables that need the program to run."""
    first = next((i for i, item in enumerate(found) if item.kind is Kind.STATEMENT), None)
    if first is None:
        return []
    return [
        item
        for index, item in enumerate(found)
        if item.kind is Kind.STATEMENT
        or (item.kind is Kind.VARIABLE and (index > first or not item.constant))
    ]


def _definition(cell: str, part: Item, file: str) -> Definition:
    line = cell.count("\n", 0, part.start) + 1
    return Definition(part.kind, part.names, cell[part.start : part.end], file, line)


def replaced(kept: Iterable[Definition], new: Iterable[Definition]) -> tuple[Definition, ...]:
    """What stays of the earlier definitions: all that the new ones do not define anew."""
    new = list(new)
    names = {name for d in new if d.kind is not Kind.PROTOTYPE for name in d.names}
    texts = {d.text for d in new}
    return tuple(d for d in kept if not names & {*d.names} and d.text not in texts)


def prelude(kept: Iterable[Definition]) -> str:
    """Earlier definitions as a program has them: so that functions may call later ones."""
    lines = []
    for kind in (Kind.DIRECTIVE, Kind.TYPE, Kind.PROTOTYPE, Kind.VARIABLE, Kind.FUNCTION):
        if kind is Kind.VARIABLE:
            lines += [f"{head(d)};" for d in kept if d.kind is Kind.FUNCTION]
        for definition in kept:
            if definition.kind is kind:
                # 3: as of a system header; its warnings were shown in its own cell.
                lines += [f'# {definition.line} "{definition.file}" 3', definition.text]
    return "".join(f"{line}\n" for line in lines)


def head(function: Definition) -> str:
    """A function's head, which declares it."""
    depth = 0
    for _, text, position in tokens(function.text, 0, len(function.text)):
        if text == "{" and depth == 0:
            return function.text[:position].strip()
        depth += (text in "([") - (text in ")]")
    return function.text


def _only(cell: str, shown: list[Item]) -> str:
    """The cell with nothing but these parts, each where it was: lines and columns stay right."""
    blank = [" " if c not in "\n\t" else c for c in cell]
    for item in shown:
        blank[item.start : item.end] = cell[item.start : item.end]
    return "".join(blank)


FLAGS = re.compile(r"^[ \t]*//%[ \t]*(\w+)[ \t]*:?[ \t]*(.*)$", re.MULTILINE)


def magics(cell: str) -> dict[str, str]:
    """Lines such as `//% cflags: -O2`: the words after each name."""
    found: dict[str, str] = {}
    for name, words in FLAGS.findall(cell):
        found[name.lower()] = f"{found.get(name.lower(), '')} {words}".strip()
    return found
