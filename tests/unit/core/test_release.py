"""Releases: what makes one another, which one to go back to, and when that can't be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hubhost.errors import Problems
from hubhost.release import Content, History, Release, differences, settings_digest
from tests.unit.core.sample import settings

HUB = "integrable-jupyterhub-hub"
CONTENT = Content(
    {"integrable-jupyterhub-base:1": "sha256:b", f"{HUB}:1": "sha256:1"},
    {"/etc/x/config.json": "aa", "/etc/x/old": "cc"},
    {"jupyterhub_hub": "s1 /etc/x/config.json", "jupyterhub_db": "s2 /etc/x/secrets/password"},
    "net1",
)
NEW = replace(CONTENT, images={f"{HUB}:2": "sha256:2"}, files={"/etc/x/config.json": "bb"})
RELEASES = tuple(
    Release(name, content, made, made, "v1", "5e77")
    for name, content, made in (("ccc", NEW, 30), ("bbb", NEW, 20), ("aaa", CONTENT, 10))
)
HISTORY = History(RELEASES, "bbb", image_ids=frozenset({"sha256:1", "sha256:2"}), files=NEW.files)


def lines(release: Release) -> list[str]:
    about = [f"{release.id} {line}" for line in release.about().splitlines()]
    return [*about, f"{release.id} made {release.made}", f"{release.id} since {release.since}"]


def test_what_is_written_is_read() -> None:
    told = [line for release in RELEASES for line in lines(release)]
    told += ["now current bbb", "now previous jupyterhub_hub", "now files /etc/x/config.json bb"]
    told += [f"now image {HUB}:1 sha256:1", f"now image {HUB}:latest sha256:1"]
    told += ["now present sha256:1", "now present sha256:7"]
    assert History.parse(told) == History(
        RELEASES,
        "bbb",
        ("jupyterhub_hub",),
        NEW.files,
        {f"{HUB}:1": "sha256:1", f"{HUB}:latest": "sha256:1"},
        frozenset({"sha256:1", "sha256:7"}),
    )


def test_a_bare_host_has_no_history() -> None:
    assert History.parse([]) == History()


@pytest.mark.parametrize(
    "change",
    [{"images": {"x": "y"}}, {"files": {}}, {"services": {}}, {"network": "net2"}],
    ids=str,
)
def test_whatever_changes_makes_another_release(change: dict[str, object]) -> None:
    assert replace(CONTENT, **change).id != CONTENT.id  # type: ignore[arg-type]
    assert replace(CONTENT).id == CONTENT.id


def test_other_settings_have_another_digest() -> None:
    assert settings_digest(settings()) == settings_digest(settings())
    assert settings_digest(settings(debug=True)) != settings_digest(settings())


@pytest.mark.parametrize(("wanted", "found"), [("", "aaa"), ("ccc", "ccc"), ("bbb", "bbb")])
def test_without_a_name_it_is_the_one_before(wanted: str, found: str) -> None:
    assert HISTORY.target(wanted).id == found


@pytest.mark.parametrize(
    ("history", "wanted", "line"),
    [
        (History(), "", "RELEASE: no release is recorded on this host; "),
        (History(), "aaa", "RELEASE: no release is recorded on this host; "),
        (HISTORY, "zzz", "RELEASE: there is no 'zzz'; name one of ccc, bbb, aaa"),
        (replace(HISTORY, current="aaa"), "", "RELEASE: none is recorded from before aaa, "),
        (
            replace(HISTORY, image_ids=frozenset({"sha256:2"})),
            "aaa",
            f"RELEASE: aaa needs images that are gone: {HUB}:1; ",
        ),
        (
            replace(HISTORY, releases=(*RELEASES, Release("ddd", replace(CONTENT, network="x")))),
            "ddd",
            "RELEASE: ddd had another Docker network; ",
        ),
    ],
)
def test_a_rollback_that_cannot_be_is_one_line(history: History, wanted: str, line: str) -> None:
    with pytest.raises(Problems) as told:
        history.target(wanted)
    assert str(told.value).startswith(line)
    assert "\n" not in str(told.value)


def test_the_oldest_are_surplus_but_never_the_one_that_runs() -> None:
    assert [release.id for release in HISTORY.surplus(2, "aaa")] == ["bbb"]
    assert [release.id for release in HISTORY.surplus(1, "new")] == ["ccc", "bbb", "aaa"]
    assert HISTORY.surplus(5, "new") == []


def test_it_says_what_going_back_changes() -> None:
    assert list(differences(NEW, CONTENT)) == [
        "jupyterhub_hub is replaced",
        "/etc/x/config.json is put back",
        "/etc/x/old is put back",
    ]
    assert "/etc/x/old is removed" in list(differences(CONTENT, NEW))
