"""Our rules as python-iptables has them, which reads what the kernel holds by libiptc.

It knows the tables of iptables-legacy only. `python -m tests.libiptc CHAIN…` prints those chains as
JSON, of the network namespace that it runs in.
"""

from __future__ import annotations

import json
import sys
from typing import Any

INSTALL = "python-iptables is missing: make programs"

OPTIONS = {"-s": "src", "-d": "dst", "-p": "protocol", "-i": "in-interface", "-o": "out-interface"}


def dictionary(rule: str) -> dict[str, Any]:
    """A rule as `iptables -S` prints it (without ``-A CHAIN``), as `iptc.easy` writes it."""
    found: dict[str, Any] = {}
    module = ""
    words = iter(rule.split())
    no = ""
    for word in words:
        if word == "!":
            no = "!"
            continue
        value = no + next(words)
        no = ""
        match word:
            case "-m":
                module = value
                found.setdefault(module, {})
            case "-j":
                found["target"] = value
            case "--reject-with":
                found["target"] = {found["target"]: {"reject-with": value}}
            case _ if word in OPTIONS:
                found[OPTIONS[word]] = value
            case _:
                found[module][word.removeprefix("--")] = value
    return found


def by_chain(restore: str) -> dict[str, list[dict[str, Any]]]:
    """The chains of an `iptables-restore` file."""
    chains: dict[str, list[dict[str, Any]]] = {}
    for line in restore.splitlines():
        if line.startswith(":"):
            chains[line[1:].split()[0]] = []
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            chains[chain].append(dictionary(rule))
    return chains


if __name__ == "__main__":
    from iptc import easy

    found = {chain: easy.dump_chain("filter", chain) for chain in sys.argv[1:]}
    for rules in found.values():
        for rule in rules:
            rule.pop("counters", None)
    print(json.dumps(found))
