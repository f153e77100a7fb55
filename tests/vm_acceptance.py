"""`make test-vm`: the installer on machines with a kernel of their own.

`python -m tests.vm_acceptance [--images-of LAB] [DEBIAN…]`. Images are built once, on a container
lab, and loaded: the other tests look at the build, and it takes an emulated machine an hour. Writes
docs/vm-acceptance.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.deployment import Deployment
from tests.isolation_report import facts
from tests.lab import Host, lab
from tests.lab.host import ROOT
from tests.lab.image import SUITES
from tests.lab.vm import CPUS, MEMORY_MB, QEMU

DOCUMENT = ROOT / "docs" / "vm-acceptance.md"
INTRODUCTION = """\
Written by `make test-vm`: Debian's own kernels, booted by QEMU, with systemd and SSH and nothing
else; deployed by SSH, looked at, used, rebooted, tried again. The tests are those that run on the
system containers of `make test`, too: the state of the host, and of the behaviour a session, a
cell, who reaches what, a second run, and a reboot during which a container tries to get out. Images
were built on a container lab and loaded."""

BEHAVIOUR = {
    "test_sessions": [
        "test_an_integrator_runs_a_cell",
        "test_a_session_has_dockers_apparmor_profile_where_the_host_has_apparmor",
    ],
    "test_reruns": ["test_a_second_run_changes_nothing_and_is_quick"],
    "test_isolation": ["test_everybody_reaches_what_they_need_and_nothing_else"],
    "test_isolation_hosts": [
        "test_after_the_boot_the_kernel_is_another",
        "test_nothing_gets_out_while_the_host_boots",
        "test_services_come_back_and_sessions_are_gone",
        "test_everybody_reaches_what_they_need_and_nothing_else_after_the_boot",
    ],
}
TESTS = (
    "tests/host",
    *(f"tests/behaviour/{file}.py::{test}" for file, tests in BEHAVIOUR.items() for test in tests),
)


@dataclass(frozen=True)
class Acceptance:
    """What a machine came to. Times are in seconds."""

    debian: int
    about: dict[str, str]
    up: float
    tests: float
    passed: bool
    output: str


def accept(debian: int, source: str) -> Acceptance:
    """Make a machine, have the tests deploy to it and try it, and take it away."""
    started = time.monotonic()
    with lab(debian=debian, driver="vm") as host:
        up = time.monotonic() - started
        exit_code, output = run_tests(host, source)
        about = {**facts(host), "CPU": "KVM" if host.patience == 1 else "emulated"}
    tests = time.monotonic() - started - up
    return Acceptance(debian, about, up, tests, exit_code == 0, scrubbed(output, host.name))


def run_tests(host: Host, source: str) -> tuple[int, str]:
    """pytest's exit code, and what it said, which a person sees while it runs."""
    command = [
        sys.executable, "-m", "pytest", "--lab", host.name, "--images-of", source,
        "--no-header", "-vs", "-p", "no:cacheprovider", "--durations=0", "--durations-min=5",
        *TESTS,
    ]  # fmt: skip
    said = []
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONUNBUFFERED": "1"}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as running:  # fmt: skip
        assert running.stdout
        for line in running.stdout:
            print(line, end="", flush=True)
            said.append(line)
    return running.returncode, "".join(said)


def scrubbed(output: str, name: str) -> str:
    """Without what is this machine's, or this run's, alone."""
    return re.sub(r"\x1b\[[0-9;]*m", "", output).replace(f"{ROOT}/", "").replace(name, "vm").strip()


def section(one: Acceptance, qemu: str) -> str:
    """What docs/vm-acceptance.md says of one machine."""
    below = f"{os.cpu_count()} CPUs and Linux {platform.release().partition('-')[0]}"
    return f"""
| {" | ".join(one.about)} | reached by SSH after | tests | |
|{"---|" * (len(one.about) + 3)}
| {" | ".join(one.about.values())} | {one.up:.0f} s | {one.tests / 60:.0f} min \
| {"passed" if one.passed else "**failed**"} |

{qemu}, {CPUS} CPUs, {MEMORY_MB} MB; the machine below has {below}.

```
{one.output}
```
"""


def sections(document: str) -> dict[int, str]:
    """Of each Debian that has one; a run on one of them leaves the other's."""
    _, *found = re.split(r"^## Debian (\d+)\n", document, flags=re.MULTILINE)
    texts = [f"{text.rstrip()}\n" for text in found[1::2]]
    return dict(zip(map(int, found[::2]), texts, strict=True))


def document(made: dict[int, str]) -> str:
    """docs/vm-acceptance.md, of its sections."""
    parts = [f"## Debian {debian}\n{text}" for debian, text in sorted(made.items(), reverse=True)]
    return "\n".join(["# A virtual machine: the last run\n", f"{INTRODUCTION}\n", *parts])


@contextmanager
def images(name: str | None) -> Iterator[str]:
    """The name of a lab that has the images: that one, or a container made for it."""
    if name:
        yield name
        return
    with lab() as made:
        Deployment(made).run()
        yield made.name


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm_acceptance")
    parser.add_argument("--images-of", help="a deployed lab, which stays, to take the images from")
    parser.add_argument("debian", nargs="*", type=int, help="12 or 13; else both")
    options = parser.parse_args()
    started = time.monotonic()
    with images(options.images_of) as source:
        made = [accept(debian, source) for debian in options.debian or SUITES]
    qemu = subprocess.run([QEMU, "--version"], capture_output=True, check=True, text=True).stdout
    now = {one.debian: section(one, qemu.splitlines()[0]) for one in made}
    DOCUMENT.write_text(document(sections(DOCUMENT.read_text()) | now))
    passed = all(one.passed for one in made)
    print(f"{'Passed' if passed else 'FAILED'} in {(time.monotonic() - started) / 60:.0f} min;"
          f" the output is {DOCUMENT.relative_to(ROOT)}")  # fmt: skip
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
