"""The matrix as data: no claim without its proof."""

from __future__ import annotations

from tests.doors import ON_THE_NETWORK, Addresses, Seen, Who, doors, probes

ADDRESSES = Addresses(
    hub="172.27.0.2",
    database="172.27.0.3",
    proxy="172.27.0.4",
    gateway="172.27.0.1",
    host="192.0.2.1",
    neighbour="172.27.128.2",
    elsewhere="172.18.0.2",
)
DOORS = doors(ADDRESSES)
PROBES = list(probes(DOORS))


def test_each_refusal_names_a_probe_that_shows_the_same_door_open() -> None:
    refusals = [probe for probe in PROBES if Seen.OPEN not in probe.expected]
    assert len(refusals) > len(PROBES) / 2
    for probe in refusals:
        assert probe.control in PROBES, f"{probe} has no control"
        assert probe.control.door is probe.door
        assert probe.control.expected == {Seen.OPEN}


def test_what_is_open_to_somebody_is_tried_by_them() -> None:
    for door in DOORS:
        assert not set(door.open_to) & set(door.unasked), door
        assert len({door.name for door in DOORS}) == len(DOORS)


def test_everybody_on_the_network_is_asked_at_most_doors() -> None:
    for who in ON_THE_NETWORK:
        assert sum(probe.who is who for probe in PROBES) > 30


def test_only_these_doors_of_the_network_are_open_to_a_session() -> None:
    open_doors = {d.name for d in DOORS if Who.SESSION in d.open_to and d.protocol != "name"}
    assert open_doors == {"hub:8081", "proxy:8000"}


def test_the_database_reaches_nothing() -> None:
    assert not [door for door in DOORS if Who.DATABASE in door.open_to]
