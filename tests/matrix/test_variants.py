"""The matrix of isolation on each system that a host may be; `make test-matrix`, half an hour.

Each variant is a lab of its own. The last run is docs/isolation-matrix.md.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.deployment import Deployment, Run, give_images
from tests.isolation import Result, problems, world
from tests.isolation_report import facts, markdown
from tests.lab import Host, engine, lab, restart
from tests.lab.host import ROOT
from tests.libiptc import INSTALL, by_chain

pytestmark = pytest.mark.matrix

RULES = "/etc/integrable-jupyterhub/firewall/v4.rules"
DOCUMENT = ROOT / "docs" / "isolation-matrix.md"
INTRODUCTION = """\
Written by `make test-matrix`. Each cell is a try with packets, by somebody (column) at a door
(row): **open**, refused (told at once), silent (no answer), · not asked, for it would say nothing
of ours. A shut door proves something because it was seen open, in the same run, to somebody of its
row. The stranger is a container on the hub's network that is on no list; the internet is the lab's
own, and no packet left it. The doors, and who may pass: [tests/doors.py](../tests/doors.py)."""

APT = "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update; apt-get -qq install -y"

# The newest Docker that Debian has; nothing else comes from there but what it needs. Signatures are
# checked, but not the release's age: mirrors may be some weeks behind.
FROM_TESTING = f"""
set -e
mirror=$(sed -n 's/^deb \\(\\[[^]]*\\] \\)\\?\\([^ ]*\\) trixie main.*/\\2/p' /etc/apt/sources.list)
echo "deb [check-valid-until=no] $mirror testing main" > /etc/apt/sources.list.d/testing.list
printf 'Package: *\\nPin: release a=testing\\nPin-Priority: 100\\n' > /etc/apt/preferences.d/testing
{APT} --no-install-recommends -t testing docker.io docker-cli docker-buildx >/dev/null
"""


def use_iptables(variant: str) -> str:
    """A shell script: the host's iptables are from now on *variant*, nft or legacy."""
    return f"""
set -e
{APT} iptables >/dev/null
update-alternatives --set iptables /usr/sbin/iptables-{variant}
update-alternatives --set ip6tables /usr/sbin/ip6tables-{variant}
"""


@dataclass(frozen=True)
class Variant:
    """A system: a Debian, and what an admin did to it before the first deployment."""

    name: str
    debian: int
    before: str = ":"


BOOKWORM = Variant("Debian 12, its Docker", 12)
TRIXIE = Variant("Debian 13, its Docker", 13)
TESTING = Variant("Debian 13, Docker of Debian testing", 13, FROM_TESTING)
LEGACY = Variant("Debian 13, iptables-legacy", 13, use_iptables("legacy"))
VARIANTS = (BOOKWORM, TRIXIE, TESTING, LEGACY)


@dataclass(frozen=True)
class Outcome:
    """What a variant's matrix came to."""

    about: dict[str, str]
    results: list[Result]


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[Variant, Outcome]]:
    """Collects what the variants came to; with all of them, the document is written."""
    made: dict[Variant, Outcome] = {}
    yield made
    if len(made) == len(VARIANTS):
        DOCUMENT.write_text(document(made))


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda variant: variant.name)
def variant(request: pytest.FixtureRequest) -> Variant:
    chosen: Variant = request.param
    return chosen


@pytest.fixture(scope="module")
def machine(variant: Variant, host: Host, first_run: Run) -> Iterator[Host]:
    """A lab of this variant, deployed; the images are those of the default lab."""
    with lab(debian=variant.debian) as made:
        made.sh(variant.before, timeout=600)
        give_images(host, made)
        Deployment(made).run()
        yield made


def test_everybody_reaches_what_they_need_and_nothing_else(
    variant: Variant, machine: Host, outcomes: dict[Variant, Outcome]
) -> None:
    with world(machine) as isolated:
        results = isolated.matrix()
    outcomes[variant] = Outcome(facts(machine), results)
    print(f"\n{variant.name}: {outcomes[variant].about}, {len(results)} probes")
    assert problems(results) == []


def test_the_iptables_in_use_hold_the_rules_and_the_others_none(
    variant: Variant, machine: Host
) -> None:
    assert ("legacy" in machine.sh("iptables -V")) is (variant is LEGACY)
    assert rules_in(machine, "legacy") == (variant is LEGACY)
    assert rules_in(machine, "nft") == (variant is not LEGACY)


def test_the_kernel_holds_the_rules_that_were_written(variant: Variant, machine: Host) -> None:
    """Read back by libiptc, in the lab's network namespace."""
    if variant is not LEGACY:
        pytest.skip("python-iptables reads iptables-legacy only")
    if not importlib.util.find_spec("iptc"):
        pytest.skip(INSTALL)
    written = by_chain(machine.sh(f"cat {RULES}"))
    process = engine.docker("inspect", "--format", "{{.State.Pid}}", machine.container)
    read = subprocess.run(
        [
            *engine.sudo(), "nsenter", "--target", process, "--net",
            sys.executable, "-m", "tests.libiptc", *written,
        ],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    assert read.returncode == 0, read.stderr.decode()
    assert json.loads(read.stdout) == written
    assert sum(map(len, written.values())) > 10


def test_a_host_that_changes_its_iptables_is_isolated_after_a_deployment_and_a_reboot(
    variant: Variant, machine: Host
) -> None:
    if variant not in (TRIXIE, LEGACY):
        pytest.skip("once each way is enough")
    machine.sh(use_iptables("nft" if variant is LEGACY else "legacy"))
    machine.sh("systemctl restart docker")
    Deployment(machine).run()
    assert rules_in(machine, "legacy") == (variant is not LEGACY)
    assert rules_in(machine, "nft") == (variant is LEGACY)
    # Docker's own rules stay in the tables of before until a reboot, and cut the services.
    rebooted = restart(machine.name)
    Deployment(rebooted).run()
    with world(rebooted) as isolated:
        assert problems(isolated.matrix()) == []


def rules_in(machine: Host, kind: str) -> bool:
    """Whether there are rules of ours in the tables of iptables-nft or iptables-legacy."""
    # To ask iptables-legacy would make its tables.
    there = "grep -qsx filter /proc/net/ip_tables_names" if kind == "legacy" else "true"
    return "JHUB" in machine.sh(f"! {there} || {{ iptables-{kind}-save; ip6tables-{kind}-save; }}")


def document(made: dict[Variant, Outcome]) -> str:
    """docs/isolation-matrix.md."""
    names = list(next(iter(made.values())).about)
    lines = [
        "# Isolation: the last run of the matrix",
        "",
        INTRODUCTION,
        "",
        f"| | {' | '.join(names)} | probes | not as they should be |",
        f"|---|{'---|' * (len(names) + 2)}",
        *(
            f"| {variant.name} | {' | '.join(outcome.about.values())}"
            f" | {len(outcome.results)} | {len(problems(outcome.results))} |"
            for variant, outcome in made.items()
        ),
    ]
    for variant, outcome in made.items():
        lines += ["", f"## {variant.name}", "", markdown(outcome.results)]
    return "\n".join([*lines, ""])
