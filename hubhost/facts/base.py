"""What facts are made of."""

from __future__ import annotations

from shlex import quote

from pyinfra.api.facts import FactBase
from typing_extensions import override


def quoted(words: tuple[str, ...]) -> str:
    """Shell: so many words, whatever is in them."""
    return " ".join(map(quote, words))


class Lines(FactBase[list[str]]):
    """What its command prints, a line each."""

    default = list

    @override
    def process(self, output: list[str]) -> list[str]:
        return output
