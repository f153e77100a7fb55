"""What the matrix of isolation came to: as a table to print, a page, and a line for the docs.

`python -m tests.isolation_report [LAB]` tries it on a lab, a fresh one without a name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tests.deployment import Deployment
from tests.doors import Door, Who
from tests.isolation import Result, problems, world
from tests.lab import Host, lab
from tests.lab.host import LABS

PAGE = Path(__file__).with_suffix(".html.j2")

SHORT = {
    Who.SESSION: "session",
    Who.HUB: "hub",
    Who.PROXY: "proxy",
    Who.DATABASE: "database",
    Who.STRANGER: "stranger",
    Who.ELSEWHERE: "other network",
    Who.OUTSIDE: "outside",
    Who.HOST: "host",
}

FACTS = {
    "Debian": ". /etc/os-release; cat /etc/debian_version",
    "kernel": "uname -r | cut -d- -f1",
    "Docker": "docker version --format '{{.Server.Version}}'",
    "iptables": "iptables -V | cut -d ' ' -f 2-",
    "nftables": "nft --version | cut -d ' ' -f 2",
}


def facts(host: Host) -> dict[str, str]:
    """The versions that a result is true of."""
    return {name: host.sh(command) for name, command in FACTS.items()}


def table(results: list[Result]) -> str:
    """who → where → expected → seen, a line each."""
    rows = [
        (r.probe.who.value, r.probe.door.name, " or ".join(sorted(r.probe.expected)), r.seen.value)
        for r in results
    ]
    head = ("who", "where", "expected", "seen")
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row, result in zip((head, *rows), (None, *results), strict=True):
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        lines.append(
            line.rstrip() + ("  ← not as it should be" if result and result.problem else "")
        )
    return "\n".join(lines)


def page(results: list[Result], about: dict[str, str]) -> str:
    """The same as a page that needs nothing else."""
    environment = Environment(
        loader=FileSystemLoader(PAGE.parent), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(PAGE.name).render(**_grid(results), facts=about)


def markdown(results: list[Result]) -> str:
    """The grid as a table of a Markdown file."""
    grid = _grid(results)
    lines = [
        f"| door | {' | '.join(SHORT[who] for who in Who)} |",
        f"|---|{'---|' * len(Who)}",
    ]
    for doors in grid["groups"].values():
        for door in doors:
            cells = [grid["cells"].get((who, door.name)) for who in Who]
            seen = [
                f"**{c.seen}**" if c and c.seen == "open" else str(c.seen) if c else "·"
                for c in cells
            ]
            lines.append(f"| {door.name} | {' | '.join(seen)} |")
    return "\n".join(lines)


def _grid(results: list[Result]) -> dict[str, Any]:
    doors = list(dict.fromkeys(result.probe.door for result in results))
    cells: dict[tuple[Who, str], Result | None] = {
        (who, door.name): None for who in Who for door in doors
    }
    cells |= {(r.probe.who, r.probe.door.name): r for r in results}
    groups: dict[str, list[Door]] = {}
    for name, members in groupby(doors, key=lambda door: door.group):
        groups.setdefault(name, []).extend(members)
    return {
        "results": results,
        "problems": problems(results),
        "groups": groups,
        "cells": cells,
        "columns": list(Who),
        "short": SHORT,
    }


@contextmanager
def deployed(name: str | None) -> Iterator[Host]:
    """A deployed lab: the one of this name, or a fresh one."""
    if name:
        yield Host.read(name)
        return
    with lab() as fresh:
        Deployment(fresh).run()
        yield fresh


def main(name: str | None) -> int:
    with deployed(name) as host, world(host) as made:
        results = made.matrix()
        about = facts(host)
    print(table(results))
    target = Path(os.environ.get("ARTIFACTS", LABS / "artifacts")) / "isolation.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(results, about))
    wrong = problems(results)
    print("", *wrong, sep="\n")
    print(f"{len(results)} probes, {len(wrong)} not as they should be. As a page: {target}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
