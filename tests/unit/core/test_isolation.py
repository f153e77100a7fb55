"""The isolation: its text, whole, and what its rules decide about packets."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hubhost.isolation import JUMPS, Policy, chains, iptables_restore, listing
from hubhost.settings import Settings
from tests.unit.core.sample import settings, valid_settings

EXPECTED = """\
*filter
:JHUB-FORWARD - [0:0]
:JHUB-USER - [0:0]
:JHUB-INBOUND - [0:0]
:JHUB-INPUT - [0:0]
-A JHUB-FORWARD -i br-jhub -j JHUB-USER
-A JHUB-FORWARD -o br-jhub -j JHUB-INBOUND
-A JHUB-USER -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A JHUB-USER -m conntrack --ctstate INVALID -j DROP
-A JHUB-USER -s 172.27.0.2/32 -j ACCEPT
-A JHUB-USER -s 172.27.0.3/32 -j ACCEPT
-A JHUB-USER -s 172.27.0.4/32 -j ACCEPT
-A JHUB-USER -s 172.27.0.0/16 -d 172.27.0.2/32 -p tcp -m tcp --dport 8081 -j ACCEPT
-A JHUB-USER -s 172.27.0.0/16 -d 172.27.0.4/32 -p tcp -m tcp --dport 8000 -j ACCEPT
-A JHUB-USER -p tcp -j REJECT --reject-with tcp-reset
-A JHUB-USER -j REJECT --reject-with icmp-admin-prohibited
-A JHUB-INBOUND -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A JHUB-INBOUND -d 172.27.0.4/32 -p tcp -m tcp --dport 8000 -j RETURN
-A JHUB-INBOUND -j DROP
-A JHUB-INPUT ! -i br-jhub -j RETURN
-A JHUB-INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A JHUB-INPUT -s 172.27.0.2/32 -j RETURN
-A JHUB-INPUT -s 172.27.0.3/32 -j RETURN
-A JHUB-INPUT -s 172.27.0.4/32 -j RETURN
-A JHUB-INPUT -p tcp -j REJECT --reject-with tcp-reset
-A JHUB-INPUT -j REJECT --reject-with icmp-admin-prohibited
COMMIT
"""

DEFAULT = Policy.of(settings())


def test_the_rules_are_these() -> None:
    seen = iptables_restore(DEFAULT)
    diff = "\n".join(
        difflib.unified_diff(EXPECTED.splitlines(), seen.splitlines(), "expected", "rendered")
    )
    assert seen == EXPECTED, f"\n{diff}"


def test_the_listing_is_what_iptables_prints_after_loading_the_rules() -> None:
    rules = [line for line in EXPECTED.splitlines() if line.startswith("-A")]
    heads = [
        line.split()[0].replace(":", "-N ") for line in EXPECTED.splitlines() if line[0] == ":"
    ]
    shown = [line for head in heads for line in (head, *of_chain(rules, head.split()[1]))]
    assert listing(DEFAULT) == shown


def of_chain(rules: list[str], chain: str) -> list[str]:
    return [rule for rule in rules if rule.split()[1] == chain]


@given(valid_settings())
def test_loading_declares_our_chains_and_no_others(chosen: Settings) -> None:
    text = iptables_restore(Policy.of(chosen))
    declared = re.findall(r"^:(\S+)", text, re.MULTILINE)
    assert all(chain.startswith("JHUB-") for chain in declared)
    assert set(re.findall(r"^-A (\S+)", text, re.MULTILINE)) == set(declared)
    assert {ours for _, ours in JUMPS} <= set(declared)


def test_ours_hang_in_dockers_forward_chain_and_in_input() -> None:
    assert JUMPS == (("DOCKER-USER", "JHUB-FORWARD"), ("INPUT", "JHUB-INPUT"))


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ("publish_hub", "-d 172.27.0.2/32 -p tcp -m tcp --dport 8081 -j RETURN"),
        ("publish_proxy_api", "-d 172.27.0.4/32 -p tcp -m tcp --dport 8001 -j RETURN"),
        ("publish_database", "-d 172.27.0.3/32 -p tcp -m tcp --dport 5432 -j RETURN"),
    ],
)
def test_a_published_port_is_reached_from_outside(setting: str, rule: str) -> None:
    plain = chains(DEFAULT)["JHUB-INBOUND"]
    chosen = chains(Policy.of(settings(**{setting: "0.0.0.0"})))["JHUB-INBOUND"]
    assert chosen == [*plain[:-1], rule, "-j DROP"]


def test_a_session_reaches_no_more_for_a_published_port() -> None:
    every = Policy.of(
        settings(publish_hub="0.0.0.0", publish_proxy_api="0.0.0.0", publish_database="0.0.0.0")
    )
    assert chains(every)["JHUB-USER"] == chains(DEFAULT)["JHUB-USER"]


# --- What the rules decide -----------------------------------------------------------------
@dataclass(frozen=True)
class Packet:
    """The first packet of a connection, unless `state` says otherwise."""

    source: IPv4Address
    target: IPv4Address
    protocol: str
    port: int
    came_in: str
    goes_out: str = ""
    state: str = "NEW"


def matches(words: list[str], packet: Packet) -> bool:
    """Whether a packet matches a rule's words up to -j."""
    wanted = True
    while words:
        word, *words = words
        if word == "!":
            wanted = False
            continue
        value, *words = words
        if has(packet, word, value) is not wanted:
            return False
        wanted = True
    return True


def has(packet: Packet, word: str, value: str) -> bool:
    """One condition of a rule; a word that is unknown here is a KeyError."""
    if word == "-m":
        return True
    if word in ("-s", "-d"):
        return {"-s": packet.source, "-d": packet.target}[word] in IPv4Network(value)
    if word == "--ctstate":
        return packet.state in value.split(",")
    plain = {
        "-i": packet.came_in,
        "-o": packet.goes_out,
        "-p": packet.protocol,
        "--dport": str(packet.port),
    }
    return plain[word] == value


def verdict(policy: Policy, chain: str, packet: Packet) -> str:
    """ACCEPT, DROP, REJECT, or RETURN to what comes after our chain."""
    for rule in chains(policy)[chain]:
        match, _, target = rule.partition("-j ")
        if matches(match.split(), packet):
            name = target.split()[0]
            if name not in chains(policy):
                return name
            if (decided := verdict(policy, name, packet)) != "RETURN":
                return decided
    return "RETURN"


ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address)


@st.composite
def packets_of_sessions(draw: st.DrawFn) -> tuple[Settings, Packet]:
    """Any first packet of any session, to where it may be interesting."""
    chosen = draw(valid_settings())
    sessions = chosen.session_range
    source = sessions[draw(st.integers(0, sessions.num_addresses - 1))]
    interesting = [*chosen.static_ips.values(), chosen.network_gateway, sessions[0]]
    target = draw(st.sampled_from(interesting) | ADDRESSES)
    ports = st.sampled_from([8000, 8001, 8081, 8888, 5432, 22, 53]) | st.integers(1, 65535)
    return chosen, Packet(
        source,
        target,
        draw(st.sampled_from(["tcp", "udp", "icmp"])),
        draw(ports),
        chosen.network_bridge,
        draw(st.sampled_from([chosen.network_bridge, "eth0"])),
    )


def is_door(chosen: Settings, packet: Packet) -> bool:
    doors = {(chosen.hub_ip, 8081), (chosen.proxy_ip, 8000)}
    return packet.protocol == "tcp" and (packet.target, packet.port) in doors


@given(packets_of_sessions())
def test_a_session_reaches_the_doors_and_nothing_else(drawn: tuple[Settings, Packet]) -> None:
    chosen, packet = drawn
    decided = verdict(Policy.of(chosen), "JHUB-FORWARD", packet)
    assert decided == ("ACCEPT" if is_door(chosen, packet) else "REJECT")


@given(packets_of_sessions())
def test_a_session_reaches_nothing_of_the_host(drawn: tuple[Settings, Packet]) -> None:
    chosen, packet = drawn
    assert verdict(Policy.of(chosen), "JHUB-INPUT", packet) == "REJECT"


@given(valid_settings())
def test_a_session_does_reach_both_doors(chosen: Settings) -> None:
    session, bridge = chosen.session_range[0], chosen.network_bridge
    for address, port in ((chosen.hub_ip, 8081), (chosen.proxy_ip, 8000)):
        packet = Packet(session, address, "tcp", port, bridge, bridge)
        assert verdict(Policy.of(chosen), "JHUB-FORWARD", packet) == "ACCEPT"


@given(packets_of_sessions())
def test_a_forged_state_does_not_pass(drawn: tuple[Settings, Packet]) -> None:
    chosen, packet = drawn
    forged = Packet(**(packet.__dict__ | {"state": "INVALID"}))
    assert verdict(Policy.of(chosen), "JHUB-FORWARD", forged) == "DROP"


@given(packets_of_sessions())
def test_a_reply_passes_both_ways(drawn: tuple[Settings, Packet]) -> None:
    chosen, packet = drawn
    reply = Packet(**(packet.__dict__ | {"state": "ESTABLISHED"}))
    back = Packet(**(reply.__dict__ | {"came_in": "eth0", "goes_out": chosen.network_bridge}))
    assert verdict(Policy.of(chosen), "JHUB-FORWARD", reply) == "ACCEPT"
    assert verdict(Policy.of(chosen), "JHUB-FORWARD", back) == "ACCEPT"


@given(valid_settings(), ADDRESSES, st.integers(1, 65535))
def test_a_service_talks_to_everything(chosen: Settings, target: IPv4Address, port: int) -> None:
    for service in chosen.static_ips.values():
        packet = Packet(service, target, "tcp", port, chosen.network_bridge, "eth0")
        assert verdict(Policy.of(chosen), "JHUB-FORWARD", packet) == "ACCEPT"
        assert verdict(Policy.of(chosen), "JHUB-INPUT", packet) == "RETURN"


@given(valid_settings(), ADDRESSES, st.integers(1, 65535), st.data())
def test_from_outside_only_published_ports_are_reached(
    chosen: Settings, source: IPv4Address, port: int, data: st.DataObject
) -> None:
    assume(source not in chosen.network_subnet)
    places = [*chosen.static_ips.values(), chosen.session_range[0]]
    target = data.draw(st.sampled_from(places))
    port = data.draw(st.sampled_from([8000, 8001, 8081, 5432, port]))
    public = {(chosen.proxy_ip, 8000)}
    if chosen.publish_hub:
        public.add((chosen.hub_ip, 8081))
    if chosen.publish_proxy_api:
        public.add((chosen.proxy_ip, 8001))
    if chosen.publish_database:
        public.add((chosen.database_ip, 5432))
    packet = Packet(source, target, "tcp", port, "eth0", chosen.network_bridge)
    wanted = "RETURN" if (target, port) in public else "DROP"
    assert verdict(Policy.of(chosen), "JHUB-FORWARD", packet) == wanted


@given(valid_settings(), ADDRESSES, ADDRESSES)
def test_what_has_nothing_to_do_with_the_network_is_left_alone(
    chosen: Settings, source: IPv4Address, target: IPv4Address
) -> None:
    packet = Packet(source, target, "tcp", 22, "eth0", "docker0")
    assert verdict(Policy.of(chosen), "JHUB-FORWARD", packet) == "RETURN"
    assert verdict(Policy.of(chosen), "JHUB-INPUT", packet) == "RETURN"
