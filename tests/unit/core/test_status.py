"""What a host says of itself, what is wrong with it, and what a person sees."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from hubhost import status
from hubhost.check import Checked
from hubhost.drain import Drain
from hubhost.status import (
    DAY,
    HostStatus,
    ImageUpdates,
    Limits,
    Severity,
    drift_of,
    findings,
    screen,
    since,
)
from tests.unit.core.sample import settings

NOW = 1_800_000_000
LINES = f"""\
clock {NOW}
service jupyterhub_hub running healthy 0 {NOW - 7200} integrable-jupyterhub-hub:1f
service jupyterhub_db running healthy 0 {NOW - 3 * DAY} integrable-jupyterhub-database:2f
version jupyterhub_hub jupyterhub 6.1.1
sessions 3
memory_mb 7953
memory_free_mb 5000
disk_mb 60000
disk_free_mb 41200
certificate_end {NOW + 100 * DAY}
images_made {NOW - 2 * DAY}
firewall active
rules_loaded yes
host_version Debian 13.8
host_version Docker 26.1.5
notebook_image integrable-jupyterhub-notebook:3f
looked {NOW - 3600}
updates integrable-jupyterhub-hub:1f
updates integrable-jupyterhub-database:2f
updates integrable-jupyterhub-hub:0f openssl
backups_since {NOW - 9 * DAY}
backup {NOW - 7200} 12345678 SHA256:x /var/backup/hub_1.age
backup_state inactive""".splitlines()
WELL = HostStatus.parse(LINES)
KEY = "age1n0nja5he8kvmka649ak6zhvkq8j8rmclvg3ud0t9suxsm94g03lqdr908g"
LIMITS = Limits.of(
    settings(public_url="https://hub.example.org", base_url="/jupyter", backup_recipients=[KEY])
)


def wrong(changed: HostStatus, drift: tuple[str, ...] | None = ()) -> list[tuple[str, str]]:
    return [(f.severity.name, str(f)) for f in findings(changed, LIMITS, drift, NOW)]


def test_a_host_that_is_well_has_no_findings() -> None:
    assert wrong(WELL) == []
    assert WELL.services[0].version == "jupyterhub 6.1.1"
    assert (WELL.sessions, WELL.disk_free_mb) == (3, 41200)
    assert WELL.versions == ("Debian 13.8", "Docker 26.1.5")


def test_updates_of_an_image_of_later_are_unknown() -> None:
    assert list(map(str, WELL.updates)) == ["hub 0", "database 0", "notebook ?"]
    shown = screen("hub1", WELL, LIMITS, (), NOW)
    assert "hub 0, database 0, notebook ? (looked 60 min ago; ?: a later image)" in shown
    never = HostStatus.parse(line for line in LINES if not line.startswith(("looked", "updates")))
    assert "  updates      unknown: nobody has looked yet" in screen("h", never, LIMITS, (), NOW)
    assert wrong(never) == []


def service(**changes: Any) -> Mapping[str, Any]:
    return {"services": (replace(WELL.services[0], **changes),)}


@pytest.mark.parametrize(
    ("changes", "severity", "line"),
    [
        (service(state="exited"), "ERROR", "jupyterhub_hub: is exited; deploy"),
        (service(health="unhealthy"), "ERROR", "jupyterhub_hub: is unhealthy; deploy"),
        (service(state="missing", health="-"), "ERROR", "jupyterhub_hub: is missing; deploy"),
        (service(restarts=2), "WARNING", "jupyterhub_hub: was restarted 2 times"),
        ({"firewall": "failed"}, "ERROR", "firewall: its unit is failed; deploy"),
        ({"firewall": ""}, "ERROR", "firewall: its unit is missing; deploy"),
        ({"sessions": 50}, "WARNING", "sessions: 50 of 50, new ones get 429; raise max_sessions"),
        ({"memory_free_mb": 511}, "WARNING", "memory: 511 MB free, new sessions get 429"),
        ({"disk_free_mb": 4999}, "WARNING", "disk: 4999 MB free"),
        ({"disk_free_mb": 999}, "ERROR", "disk: 999 MB free"),
        ({"certificate_end": NOW + 21 * DAY - 1}, "WARNING", "certificate: ends in 20 days"),
        ({"certificate_end": NOW - 1}, "ERROR", "certificate: has ended"),
        ({"clock": NOW + 61}, "WARNING", "clock: differs by +61 s"),
        ({"images_made": NOW - 31 * DAY}, "WARNING", "images: are 31 days old; let Debian's"),
        ({"rules_loaded": False}, "ERROR", "firewall: its rules are not those that are loaded;"),
        (
            {"updates": (ImageUpdates("hub", NOW, ()), ImageUpdates("proxy", NOW, ("a", "b")))},
            "WARNING",
            "updates: Debian has security updates that images lack (proxy: a, b); let them in",
        ),
        (
            {"updates": (ImageUpdates("hub", NOW - 4 * DAY, ()),)},
            "WARNING",
            "updates: looked for 4 d ago; look why",
        ),
        ({"reboot_required": True}, "WARNING", "host: Debian wants a reboot"),
        ({"backup_failed": True}, "WARNING", "backup: the last one failed; look why"),
        ({"backup_made": NOW - 2 * DAY - 1}, "WARNING", "backup: none for 2 d, instead of every"),
        ({"backup_made": 0}, "WARNING", "backup: none for 9 d, instead of every 24 h; look why"),
    ],
)
def test_what_is_wrong_is_one_line_with_a_remedy(
    changes: dict[str, Any], severity: str, line: str
) -> None:
    ((found, said),) = wrong(replace(WELL, **changes))
    assert found == severity
    assert said.startswith(line)
    assert "; " in said


def test_backups_are_off_without_a_word_of_warning_or_young() -> None:
    off = Limits.of(settings())
    failed = replace(WELL, backup_failed=True, backup_made=0)
    assert list(findings(failed, off, (), NOW)) == []
    assert status.backups(failed, off) == "off"
    assert status.backups(WELL, LIMITS) == "2 h old, 12 MB"
    new = replace(WELL, backup_made=0, backups_since=NOW - DAY)
    assert wrong(new) == []
    assert status.backups(new, LIMITS) == "none yet"
    assert HostStatus.parse([*LINES[:-2], "backup ", "backup_state unknown"]).backup_made == 0


def test_drift_is_named_and_what_cannot_be_told_is_an_error() -> None:
    assert wrong(WELL, ("Hub | Run the hub",)) == [
        ("WARNING", "drift: a deployment would: Hub | Run the hub; deploy")
    ]
    assert wrong(WELL, None)[0][0] == "ERROR"


def test_a_bare_host_is_told_as_what_it_is() -> None:
    bare = HostStatus.parse(["clock 5", "service jupyterhub_hub missing - 0 0 -", "sessions 0"])
    assert bare.services[0].state == "missing"
    assert "ERROR" in screen("bare", bare, LIMITS, None, 5)


def test_the_screen_shows_all_and_the_worst_first() -> None:
    shown = screen("hub1", WELL, LIMITS, (), NOW).splitlines()
    assert shown[0] == "hub1  https://hub.example.org/jupyter  2027-01-15 08:00 UTC"
    assert shown[1] == "  hub          healthy    jupyterhub 6.1.1              up 2 h"
    assert "  sessions     3 of 50" in shown
    assert "  certificate  ends in 100 d" in shown
    assert shown[-1] == "  all is well"
    bad = replace(WELL, disk_free_mb=4000, firewall="failed")
    last = screen("hub1", bad, LIMITS, ("TLS | x",), NOW).splitlines()[-3:]
    assert [line.split()[0] for line in last] == ["ERROR", "WARNING", "WARNING"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0 s"), (90, "90 s"), (125, "2 min"), (7200, "2 h"), (DAY * 2, "2 d")],
)
def test_spans_are_for_people(seconds: float, shown: str) -> None:
    assert since(seconds) == shown


PLAN = {
    "plan": [
        {"name": "deploy.py | TLS | x", "hosts_with_change": ["a"]},
        {"name": "deploy.py | Hub | y", "hosts_with_change": ["b"]},
    ]
}


def test_the_drift_of_each_host_is_its_own() -> None:
    assert drift_of(PLAN, "a") == ("TLS | x",)


@pytest.mark.parametrize(
    ("code", "names", "expected"),
    [(0, ["c"], Severity.OK), (0, ["a"], 1), (0, ["a", "c"], 1), (1, ["c"], 2), (0, [], 2)],
)
def test_the_exit_code_is_the_worst_of_all_hosts(
    code: int,
    names: list[str],
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def gather(folder: Path) -> tuple[Any, str, int]:
        for name in names:
            report = {"lines": LINES, "limits": asdict(LIMITS)}
            (folder / f"{name}.json").write_text(json.dumps(report))
        return (None if code else PLAN), "no route to host", code

    monkeypatch.setattr(status, "gather", gather)
    monkeypatch.setattr(status, "_of_time", lambda *_: iter(()))  # NOW is not now
    assert status.main(["--json"]) == expected
    said = capsys.readouterr()
    assert json.loads(said.out).keys() == {*names}
    assert ("no route" in said.err) == (expected == Severity.ERROR)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (Drain(), "2 of 50"),
        (Drain(drained=True), "2 of 50, drained: no new ones"),
        (Drain(drained=True, deadline=NOW + 240), "drained: no new ones, those end in 4 min"),
        (Drain(drained=True, deadline=NOW - 1), "drained: no new ones, ended"),
    ],
)
def test_a_drained_hub_is_a_warning_and_tells_what_becomes_of_the_sessions(
    state: Drain, told: str
) -> None:
    drained = replace(WELL, sessions=2, drain=state)
    assert told in screen("a", drained, LIMITS, (), NOW)
    subjects = [finding.subject for finding in findings(drained, LIMITS, (), NOW)]
    assert subjects == (["drain"] if state.drained else [])


def test_the_last_look_at_the_isolation_is_told_and_a_leak_is_an_error() -> None:
    assert "never checked" in screen("a", WELL, LIMITS, (), NOW)
    well = replace(WELL, checked=Checked(int(NOW) - 7200, 16))
    assert "as it should be, checked 2 h ago" in screen("a", well, LIMITS, (), NOW)
    leaky = replace(WELL, checked=Checked(int(NOW) - 7200, 16, ("x is open to sessions",)))
    assert wrong(leaky) == [
        ("ERROR", "isolation: x is open to sessions; deploy, then look again: make check")
    ]
    assert "1 of 16 doors wrong" in screen("a", leaky, LIMITS, (), NOW)
