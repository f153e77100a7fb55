"""The daily look: what it says to the journal, with programs that pretend."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hubhost.templates import render
from tests.unit.edge.stubs import Programs

DOCKER = r"""
case "$*" in
info*) [ ! -e "$HOME/away" ] && echo "$HOME" ;;
"ps -a --filter label=role=service --format {{.Image}}") echo integrable-jupyterhub-hub:1 ;;
ps*) cat "$HOME/containers" ;;
"run --rm --network none --entrypoint cat integrable-jupyterhub-hub:1 "*) echo "of hub" ;;
run*registry*) exit 1 ;;
esac
"""
APT = """[ "$1" = list ] || exit 0; printf 'Listing...\\nopenssl/stable-security 2 amd64\\n'"""
VALUES = {
    "address": "192.0.2.1:1",
    "ca_certificates": "",
    "database_volume": "v",
    "image_label": "image",
    "log_days": 7,
    "renewal": "deploy",
    "role_label": "role",
    "seconds": 1814400,
    "security_mirror": "http://mirror.example.org/debian-security",
    "suite": "trixie",
}


class Daily:
    """A host, as far as the script looks at it."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self.folder, self.programs = folder, programs
        self.state = folder / "state"
        for made in ("forget", "etc/filter", "tls", "archive", "logs"):
            (folder / made).mkdir(parents=True)
        places = {
            name: folder / name for name in ("archive", "etc", "forget", "logs", "state", "tls")
        }
        self.script = render("daily/daily", **VALUES, **places)
        forget = folder / "forget" / "forget"
        forget.write_text(f'#!/bin/sh\necho "$@" > {folder}/forgotten\n')
        forget.chmod(0o755)
        (folder / "containers").write_text("container jupyterhub_hub 1 of hub:1\n")
        self.programs.add("docker", f"HOME={folder}\n{DOCKER}")
        self.programs.add("openssl", "echo certificate")
        self.programs.says("dpkg-query", "package dash 1\npackage gone 1")
        self.programs.add("apt-get")
        self.programs.add("apt", APT)
        for name in ("iptables", "ip6tables", "nft"):
            self.programs.add(name, "echo rules")

    def look(self) -> list[str]:
        return self.programs.output(self.script)


@pytest.fixture
def daily(tmp_path: Path, programs: Programs) -> Daily:
    return Daily(tmp_path / "host", programs)


def test_on_the_first_day_there_is_nothing_to_compare(daily: Daily) -> None:
    first, *_ = daily.look()
    assert re.fullmatch(r"the first look: \d+ things noted; \d+ MB free; MB of the .*", first)
    assert daily.state.stat().st_mode & 0o77 == 0


def test_afterwards_it_says_what_changed(daily: Daily) -> None:
    daily.look()
    said, *_ = daily.look()
    assert re.match(
        r"since \d{4}-\d\d-\d\d \d\d:\d\d UTC: 0 changes; \d+ MB free; .*\(before: ", said
    )
    daily.programs.says("dpkg-query", "package dash 2\npackage new 1")
    (daily.folder / "containers").write_text("container jupyterhub_hub 2 of hub:2\n")
    daily.programs.add("nft", "echo other rules")
    (daily.folder / "etc" / "a").write_text("1")
    changed = [line for line in daily.look()[1:] if not line.startswith("<4>")]
    patterns = [
        "changed: container jupyterhub_hub 1 of hub:1 -> 2 of hub:2",
        "changed: package dash 1 -> 2",
        r"changed: rules nftables \w{12} -> \w{12}",
        "gone: package gone 1",
        r"new: file .*/etc/a \w{12}",
        "new: package new 1",
    ]
    assert [p for p, line in zip(patterns, changed, strict=True) if not re.fullmatch(p, line)] == []


def test_without_docker_nothing_is_gone(daily: Daily) -> None:
    daily.look()
    (daily.folder / "away").touch()
    assert daily.look()[0] == "<4>Docker does not answer: what changed can't be told"
    (daily.folder / "away").unlink()
    assert "0 changes" in daily.look()[0]


def test_security_updates_are_noted_and_warned_of(daily: Daily) -> None:
    (daily.folder / "etc/filter/config.json").write_text(
        '{\n  "images": [\n    "registry.example.org/n:1"\n  ],\n  "x": "a:b"\n}\n'
    )
    assert daily.look()[-1] == "<4>hub image: Debian has security updates of openssl"
    looked, *updates = (daily.state / "security").read_text().splitlines()
    assert re.fullmatch(r"looked \d{10}", looked)
    assert updates == ["updates integrable-jupyterhub-hub:1 openssl "]  # the other is no Debian


def test_a_mirror_that_is_down_leaves_what_was_known(daily: Daily) -> None:
    daily.look()
    before = (daily.state / "security").read_text()
    daily.programs.add("apt-get", "echo no route to host; exit 100")
    said = daily.look()[-1]
    assert said.startswith("<4>http://mirror.example.org/debian-security does not answer")
    assert "no route to host" in said
    assert (daily.state / "security").read_text() == before


def test_the_certificate_is_warned_of_and_old_lines_expire(daily: Daily) -> None:
    assert not [line for line in daily.look() if "certificate" in line]
    assert (daily.folder / "forgotten").read_text() == "expire 7\n"
    daily.programs.add(
        "openssl", 'case "$*" in *checkend*) exit 1 ;; *) echo notAfter=May 1 ;; esac'
    )
    assert daily.look()[0] == "<4>the hub's certificate ends on May 1; deploy"


def test_a_step_that_fails_keeps_none_from_the_next(daily: Daily) -> None:
    (daily.folder / "forget" / "forget").write_text("#!/bin/sh\nexit 1\n")
    said = daily.look()
    assert said[0] == "<4>logs: failed"
    assert said[1].startswith("the first look")
