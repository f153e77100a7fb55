"""docs/settings.md, made from the model and group_data/all.py: `make settings-reference`."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

from hubhost.env_import import ALL
from hubhost.settings import Settings

REFERENCE = Path(__file__).parents[1] / "docs" / "settings.md"

INTRODUCTION = """\
# Settings

Made from the model in `hubhost/settings.py` and the comments in `group_data/all.py` by
`make settings-reference`; a test fails when it is stale.

Where a value can be set, the last one wins: `group_data/all.py` for all hosts,
`group_data/GROUP.py` for a group of the inventory, beside a host in `inventory.py`, and
`pyinfra --data NAME=VALUE` for one run. All are checked before anything on a host is touched.
A name in brackets is that of the reference configuration's `.env`.
"""


def reference(source: str) -> str:
    """The page, from the text of group_data/all.py."""
    lines = source.splitlines()
    out = [INTRODUCTION]
    types = _types()
    assigned = {
        node.lineno: (node.targets[0].id, ast.unparse(node.value))
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for number, line in enumerate(lines, 1):
        if heading := re.match(r"# --- (.*?) -+$", line):
            out += [
                f"\n## {heading[1]}\n",
                "| setting | default | allowed | |",
                "|---|---|---|---|",
            ]
        elif number in assigned:
            name, value = assigned[number]
            comment = line.partition("  # ")[2]
            out.append(f"| `{name}` | `{value}` | {types[name]} | {comment} |")
    return "\n".join(out) + "\n"


def _types() -> dict[str, str]:
    schema = Settings.model_json_schema()
    return {name: _allowed(field) for name, field in schema["properties"].items()}


def _allowed(field: dict[str, object]) -> str:
    """A JSON schema in the words of a person."""
    if isinstance(options := field.get("anyOf"), list):
        return ", or ".join(_allowed(option) for option in options)
    if isinstance(values := field.get("enum"), list):
        return ", ".join(f"`{value!r}`" for value in values)
    kind = str(field.get("format") or field.get("type"))
    words = {
        "null": "`None`",
        "ipv4": "IPv4 address",
        "ipv4network": "IPv4 network (CIDR)",
        "ipv6": "IPv6 address",
        "ipv6network": "IPv6 network (CIDR)",
        "boolean": "`True`, `False`",
        "string": "text",
        "file-path": "file",
        "path": "file",
        "number": "number",
        "integer": "whole number",
    }
    if kind == "array" and isinstance(items := field.get("items"), dict):
        return f"list of: {_allowed(items)}"
    limits = [
        f"{word} {field[key]}"
        for key, word in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("pattern", "matches"),
        )
        if key in field
    ]
    shown = [f"`{limit}`" if limit.startswith("matches") else limit for limit in limits]
    return " ".join([words.get(kind, kind), *shown]).replace("|", "\\|")


if __name__ == "__main__":
    REFERENCE.write_text(reference(ALL.read_text()))
    sys.stdout.write(f"wrote {REFERENCE.relative_to(Path.cwd())}\n")
