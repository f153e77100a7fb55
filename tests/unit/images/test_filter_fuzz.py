"""What fuzzing the Docker filter reached, once more."""

from pathlib import Path

import pytest

from tests.fuzz.docker_filter import check

CORPUS = sorted((Path(__file__).parents[2] / "fuzz" / "corpus" / "docker_filter").iterdir())


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name)
def test_what_was_reached_stays_harmless(file: Path) -> None:
    check(file.read_bytes())


def test_the_corpus_has_all_that_is_allowed() -> None:
    reached = {check(file.read_bytes()) for file in CORPUS}
    assert reached == {"refused", "create", "inspect", "start", "remove", "ping", "list"}
