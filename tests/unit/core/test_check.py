"""The isolation check: doors by the policy, and verdicts that prove something."""

from __future__ import annotations

import json
import subprocess

import pytest

from hubhost.check import Checked, Door, Listening, Verdict, doors, knock, others, verdicts, wire
from hubhost.errors import Problems
from tests.unit.core.sample import settings

LINES = (
    "listen 0.0.0.0:22 sshd",
    "listen [::]:22 sshd",
    "listen 127.0.0.1:631 cupsd",
    "listen *:8000 docker-proxy",
    "listen 192.0.2.5:9000 ",
    "address 172.27.0.1",
    "address 192.0.2.5",
)
LISTENING = Listening.parse(LINES)


def test_what_listens_is_asked_at_each_address_of_the_host_but_for_loopback() -> None:
    assert set(LISTENING.ports()) == {
        *((address, 22, "sshd") for address in ("172.27.0.1", "192.0.2.5")),
        *((address, 8000, "docker-proxy") for address in ("172.27.0.1", "192.0.2.5")),
        ("192.0.2.5", 9000, ""),
    }


def test_a_session_needs_hub_and_proxy_and_nothing_else() -> None:
    found = doors(settings(), LISTENING)
    assert [door.name for door in found if door.open] == ["hub:8081", "proxy:8000"]
    shut = {door.name for door in found if not door.open}
    assert {"database:5432", "proxy:8001, its API", "another session:8888"} <= shut
    assert {"the host, 172.27.0.1:22 (sshd)", "a raw socket", "Docker's DNS"} <= shut


def test_what_a_setting_opens_is_expected_to_be_open() -> None:
    opened = settings(session_outbound=["198.51.100.0/24:443"])
    also = (("198.51.100.7", 443), ("198.51.100.7", 80))
    *_, allowed, refused = doors(opened, LISTENING, also)
    assert (allowed.open, refused.open, refused.control) == (True, False, "host")


def test_no_door_is_outside_the_machine_unless_a_person_names_it() -> None:
    addresses = {door.address for door in doors(settings(), LISTENING) if door.protocol == "tcp"}
    inside = {"neighbour", "127.0.0.11", "172.27.0.1", "192.0.2.5"}
    assert addresses == inside | {"172.27.0.2", "172.27.0.3", "172.27.0.4"}


def test_the_parameter_names_addresses_with_ports() -> None:
    assert others("") == ()
    assert others("192.0.2.1:80,192.0.2.2:5432") == (("192.0.2.1", 80), ("192.0.2.2", 5432))


@pytest.mark.parametrize("text", ["lms.example:443", "192.0.2.1", "192.0.2.1:0", "192.0.2.1:70000"])
def test_what_is_no_address_is_one_line(text: str) -> None:
    with pytest.raises(Problems, match=r"ALSO: .* is no address with a port; name IPv4 addresses"):
        others(text)


SHUT = Door("database", "tcp", "172.27.0.3", 5432, control="hub")
NEEDED = Door("hub", "tcp", "172.27.0.2", 8081, open=True)
BARE = Door("the host", "tcp", "172.27.0.1", 22)


@pytest.mark.parametrize(
    ("verdict", "problem", "leak"),
    [
        (Verdict(SHUT, "refused", "open"), None, False),
        (Verdict(SHUT, "silent", "open"), None, False),
        (Verdict(SHUT, "open", "open"), "is open to sessions", True),
        (Verdict(SHUT, "open", "shut"), "is open to sessions", True),
        (Verdict(SHUT, "refused", "shut"), "proves nothing: to the hub it is shut too", False),
        (Verdict(NEEDED, "open", None), None, False),
        (Verdict(NEEDED, "silent", None), "is silent to sessions, which need it", False),
        (Verdict(BARE, "refused", None), None, False),
        (Verdict(BARE, "open", None), "is open to sessions", True),
    ],
)
def test_a_verdict(verdict: Verdict, problem: str | None, leak: bool) -> None:
    assert (verdict.problem, verdict.leak) == (problem, leak)
    word = "LEAK" if leak else "wrong" if problem else "ok"
    assert str(verdict).split()[0] == word


def test_each_control_belongs_to_its_door() -> None:
    second = Door("proxy's API", "tcp", "172.27.0.4", 8001, control="hub")
    outside = Door("outside", "tcp", "198.51.100.7", 80, control="host")
    found = verdicts(
        (SHUT, NEEDED, outside, second),
        ("refused", "open", "refused", "refused"),
        {"hub": ("open", "shut"), "host": ("open",)},
    )
    assert [verdict.control for verdict in found] == ["open", None, "open", "shut"]


def test_a_door_that_was_not_tried_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        verdicts((SHUT, NEEDED), ("refused",), {"hub": ("open",)})


def test_the_host_knocks_by_valid_shell() -> None:
    subprocess.run(["sh", "-n", "-c", knock((SHUT, NEEDED))], check=True)
    assert json.loads(wire((SHUT,))) == {"port": 8888, "doors": [["tcp", "172.27.0.3", 5432]]}


def test_what_is_kept_is_what_is_read() -> None:
    kept = Checked.of(1_800_000_000, (Verdict(SHUT, "open", "open"), Verdict(NEEDED, "open", None)))
    assert Checked.parse(kept.json) == kept
    assert kept.wrong == ("database is open to sessions",)
    assert Checked.parse("") == Checked.parse("{") == Checked()
