"""Break lines on purpose: does a test notice? `make test-mutations`

tests/mutations.toml lists small mistakes a person might make and, for each, the unit test that
must fail. The working tree is copied once; each mistake is made in the copy, and that test run.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_suffix(".toml")
SAMPLE = 12
PASSED, FAILED = 0, 1
"""Exit codes of pytest; others mean that it could not run the test."""


@dataclass(frozen=True)
class Mutation:
    """A mistake: `find` becomes `replace` in `file`; then `test` (FILE::NAME) must fail."""

    file: str
    find: str
    replace: str
    test: str
    why: str

    def problem(self, root: Path) -> str | None:
        """Why it can't be tried, or None."""
        count = (root / self.file).read_text().count(self.find)
        if count != 1:
            return f"{self.find!r} is {count} times in {self.file}, not once"
        file, _, name = self.test.partition("::")
        if not re.search(
            rf"^(?:async )?def {re.escape(name)}\(", (root / file).read_text(), re.MULTILINE
        ):
            return f"there is no {self.test}"
        return None

    def __str__(self) -> str:
        return f"{self.file}: {self.why}"


def read() -> list[Mutation]:
    """The list."""
    return [Mutation(**entry) for entry in tomllib.loads(LIST.read_text())["mutation"]]


def copy_tree(target: Path) -> None:
    """Copy what git tracks, as it is in the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():  # else deleted, but not yet committed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def run(tree: Path, tests: Iterable[str]) -> int:
    """Run these tests in the copy; return pytest's exit code."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    # A mistake may make a test hang: it has failed then.
    try:
        return subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, timeout=120, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return FAILED


def survives(tree: Path, mutation: Mutation) -> str | None:
    """What is wrong with a mutation, in the words of a person; None if its test notices it."""
    if problem := mutation.problem(tree):
        return problem
    file = tree / mutation.file
    original = file.read_text()
    file.write_text(original.replace(mutation.find, mutation.replace))
    code = run(tree, [mutation.test])
    file.write_text(original)
    if code == PASSED:
        return f"{mutation.test} passes all the same"
    return None if code == FAILED else f"pytest could not run {mutation.test} (exit code {code})"


def main(arguments: list[str]) -> int:
    """Try some or all mutations; return 1 if one survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--all", action="store_true", help="try all, not only a sample")
    parser.add_argument("--sample", type=int, default=SAMPLE, metavar="N", help="how many to try")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of the sample")
    given = parser.parse_args(arguments)
    mutations = read()
    if not given.all:
        chosen = random.Random(given.seed)  # noqa: S311  (not a secret)
        mutations = chosen.sample(mutations, min(given.sample, len(mutations)))
        print(f"{len(mutations)} of {len(read())} mutations, seed {given.seed}", flush=True)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_tree(tree)
        tests = sorted({mutation.test for mutation in mutations})
        if code := run(tree, tests):
            print(f"the tests do not pass without any mutation (exit code {code}): make test-unit")
            return 1
        for mutation in mutations:
            if problem := survives(tree, mutation):
                failed += 1
                print(f"survived: {mutation}: {problem}", flush=True)
            else:
                print(f"noticed: {mutation}", flush=True)
    print(f"{len(mutations) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
