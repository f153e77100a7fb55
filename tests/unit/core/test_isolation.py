"""The isolation: its text, whole, and what its rules decide about packets."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hubhost.isolation import (
    JUMPS,
    JUMPS6,
    Policy,
    bridge_guard,
    chains,
    chains6,
    guard,
    listing,
    restore,
)
from hubhost.settings import Settings
from tests.unit.core.sample import EVERYTHING, settings, valid_settings

EXPECTED = """\
*filter
:JHUB-FORWARD - [0:0]
:JHUB-USER - [0:0]
:JHUB-INBOUND - [0:0]
:JHUB-INPUT - [0:0]
:JHUB-REFUSE - [0:0]
-A JHUB-FORWARD -i br-jhub -j JHUB-USER
-A JHUB-FORWARD -o br-jhub -j JHUB-INBOUND
-A JHUB-USER -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A JHUB-USER -m conntrack --ctstate INVALID -j DROP
-A JHUB-USER -d 169.254.0.0/16 -j JHUB-REFUSE
-A JHUB-USER -s 172.27.0.2/32 -d 172.27.0.3/32 -p tcp -m tcp --dport 5432 -j ACCEPT
-A JHUB-USER -s 172.27.0.2/32 -d 172.27.0.4/32 -p tcp -m tcp --dport 8001 -j ACCEPT
-A JHUB-USER -s 172.27.0.2/32 -d 172.27.128.0/17 -p tcp -m tcp --dport 8888 -j ACCEPT
-A JHUB-USER -s 172.27.0.4/32 -d 172.27.0.2/32 -p tcp -m tcp --dport 8081 -j ACCEPT
-A JHUB-USER -s 172.27.0.4/32 -d 172.27.128.0/17 -p tcp -m tcp --dport 8888 -j ACCEPT
-A JHUB-USER -s 172.27.128.0/17 -d 172.27.0.2/32 -p tcp -m tcp --dport 8081 -j ACCEPT
-A JHUB-USER -s 172.27.128.0/17 -d 172.27.0.4/32 -p tcp -m tcp --dport 8000 -j ACCEPT
-A JHUB-USER -j JHUB-REFUSE
-A JHUB-INBOUND -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A JHUB-INBOUND -d 172.27.0.4/32 -p tcp -m tcp --dport 8000 -j RETURN
-A JHUB-INBOUND -j DROP
-A JHUB-INPUT ! -i br-jhub -j RETURN
-A JHUB-INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A JHUB-INPUT -j JHUB-REFUSE
-A JHUB-REFUSE -p tcp -j REJECT --reject-with tcp-reset
-A JHUB-REFUSE -j REJECT --reject-with icmp-admin-prohibited
COMMIT
"""

EXPECTED6 = """\
*filter
:JHUB-DENY6 - [0:0]
-A JHUB-DENY6 -i br-jhub -j DROP
-A JHUB-DENY6 -o br-jhub -j DROP
COMMIT
"""

# Without the file's own comment.
EXPECTED_GUARD = """\
table inet jhub
delete table inet jhub
table inet jhub {
    chain forward {
        type filter hook forward priority filter - 5; policy accept;
        iifname "br-jhub" goto from_bridge
        oifname "br-jhub" goto to_bridge
    }
    chain from_bridge {
        ct state established,related accept
        ct state invalid drop
        ip daddr 169.254.0.0/16 goto refuse
        ip saddr 172.27.0.2/32 ip daddr 172.27.0.3/32 tcp dport 5432 accept
        ip saddr 172.27.0.2/32 ip daddr 172.27.0.4/32 tcp dport 8001 accept
        ip saddr 172.27.0.2/32 ip daddr 172.27.128.0/17 tcp dport 8888 accept
        ip saddr 172.27.0.4/32 ip daddr 172.27.0.2/32 tcp dport 8081 accept
        ip saddr 172.27.0.4/32 ip daddr 172.27.128.0/17 tcp dport 8888 accept
        ip saddr 172.27.128.0/17 ip daddr 172.27.0.2/32 tcp dport 8081 accept
        ip saddr 172.27.128.0/17 ip daddr 172.27.0.4/32 tcp dport 8000 accept
        goto refuse
    }
    chain to_bridge {
        ct state established,related accept
        ip daddr 172.27.0.4 tcp dport 8000 accept
        drop
    }
    chain input {
        type filter hook input priority filter - 5; policy accept;
        iifname "lo" accept
        ct state established,related accept
        iifname "br-jhub" goto refuse
    }
    chain refuse {
        meta l4proto tcp reject with tcp reset
        reject with icmpx admin-prohibited
    }
}
"""

# The frames' part that every policy has; the flows and their replies come between.
EXPECTED_BRIDGE = """\
table bridge jhub
delete table bridge jhub
table bridge jhub {
    chain forward {
        type filter hook forward priority 10; policy drop;
        meta ibrname != "br-jhub" accept
        ether type arp accept
        ip saddr 172.27.0.2/32 ip daddr 172.27.0.3/32 tcp dport 5432 accept
        ip saddr 172.27.0.2/32 ip daddr 172.27.0.4/32 tcp dport 8001 accept
        ip saddr 172.27.0.2/32 ip daddr 172.27.128.0/17 tcp dport 8888 accept
        ip saddr 172.27.0.4/32 ip daddr 172.27.0.2/32 tcp dport 8081 accept
        ip saddr 172.27.0.4/32 ip daddr 172.27.128.0/17 tcp dport 8888 accept
        ip saddr 172.27.128.0/17 ip daddr 172.27.0.2/32 tcp dport 8081 accept
        ip saddr 172.27.128.0/17 ip daddr 172.27.0.4/32 tcp dport 8000 accept
        ip saddr 172.27.0.3/32 ip daddr 172.27.0.2/32 tcp sport 5432 tcp flags & (syn | ack) != syn accept
        ip saddr 172.27.0.4/32 ip daddr 172.27.0.2/32 tcp sport 8001 tcp flags & (syn | ack) != syn accept
        ip saddr 172.27.128.0/17 ip daddr 172.27.0.2/32 tcp sport 8888 tcp flags & (syn | ack) != syn accept
        ip saddr 172.27.0.2/32 ip daddr 172.27.0.4/32 tcp sport 8081 tcp flags & (syn | ack) != syn accept
        ip saddr 172.27.128.0/17 ip daddr 172.27.0.4/32 tcp sport 8888 tcp flags & (syn | ack) != syn accept
        ip saddr 172.27.0.2/32 ip daddr 172.27.128.0/17 tcp sport 8081 tcp flags & (syn | ack) != syn accept
        ip saddr 172.27.0.4/32 ip daddr 172.27.128.0/17 tcp sport 8000 tcp flags & (syn | ack) != syn accept
    }
}
"""  # noqa: E501

DEFAULT = Policy.of(settings())
FULL = Policy.of(settings(**EVERYTHING))


def same(seen: str, expected: str) -> None:
    seen = re.sub(r"^#.*\n", "", seen, flags=re.MULTILINE)
    lines = difflib.unified_diff(expected.splitlines(), seen.splitlines(), "expected", "rendered")
    assert seen == expected, "\n" + "\n".join(lines)


def test_the_rules_are_these() -> None:
    same(restore(chains(DEFAULT)), EXPECTED)
    same(restore(chains6(DEFAULT)), EXPECTED6)


def test_the_guard_is_this() -> None:
    same(guard(DEFAULT), EXPECTED_GUARD)


def test_the_guard_of_frames_is_this() -> None:
    same(bridge_guard(DEFAULT, by_name=True), EXPECTED_BRIDGE)
    named, *rest = EXPECTED_BRIDGE.partition('meta ibrname != "br-jhub" accept\n')[::2]
    others = (
        "ether type != { arp, ip } accept\n"
        "        ip saddr != 172.27.0.0/16 ip daddr != 172.27.0.0/16 accept\n"
    )
    same(bridge_guard(DEFAULT, by_name=False), named + others + "".join(rest))


def test_the_listing_is_what_iptables_prints_after_loading_the_rules() -> None:
    rules = [line for line in EXPECTED.splitlines() if line.startswith("-A")]
    heads = [
        line.split()[0].replace(":", "-N ") for line in EXPECTED.splitlines() if line[0] == ":"
    ]
    shown = [line for head in heads for line in (head, *of_chain(rules, head.split()[1]))]
    assert listing(chains(DEFAULT)) == shown


def of_chain(rules: list[str], chain: str) -> list[str]:
    return [rule for rule in rules if rule.split()[1] == chain]


@given(valid_settings())
def test_loading_declares_our_chains_and_no_others(chosen: Settings) -> None:
    text = restore(chains(Policy.of(chosen)))
    declared = re.findall(r"^:(\S+)", text, re.MULTILINE)
    assert all(chain.startswith("JHUB-") for chain in declared)
    assert set(re.findall(r"^-A (\S+)", text, re.MULTILINE)) == set(declared)
    assert {ours for _, ours in JUMPS} <= {*declared, "DOCKER-USER"}


def test_ours_hang_in_dockers_forward_chain_and_in_input() -> None:
    ours = [jump for jump in JUMPS if jump[1].startswith("JHUB")]
    assert ours == [("DOCKER-USER", "JHUB-FORWARD"), ("INPUT", "JHUB-INPUT")]
    assert {chain for chain, _ in JUMPS6} == {"FORWARD", "INPUT"}


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


def test_networks_that_lie_in_each_other_are_one_source() -> None:
    """nft refuses a set whose intervals overlap."""
    chosen = settings(public_sources=["198.51.100.0/24", "198.51.100.7/32", "2001:db8::/32"])
    assert Policy.of(chosen).sources(4) == ("198.51.100.0/24",)


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


rules_of = cache(chains)


def verdict(policy: Policy, chain: str, packet: Packet) -> str:
    """ACCEPT, DROP, REJECT, or RETURN to what comes after our chain."""
    ours = rules_of(policy)
    for rule in ours[chain]:
        match, _, target = rule.partition("-j ")
        if matches(match.split(), packet):
            name = target.split()[0]
            if name not in ours:
                return name
            if (decided := verdict(policy, name, packet)) != "RETURN":
                return decided
    return "RETURN"


# --- The same for the guard's rules --------------------------------------------------------
@cache
def guard_chains(policy: Policy) -> dict[str, list[str]]:
    found = re.findall(r"chain (\w+) \{\n(.*?)\n    \}", guard(policy), re.DOTALL)
    return {name: [line.strip() for line in body.splitlines()] for name, body in found}


CONDITION = re.compile(
    r"(?P<key>iifname|oifname|ip6? [sd]addr|tcp dport|ct state|meta l4proto|meta nfproto) "
    r'(?P<not>!= )?(?P<value>\{ [^}]* \}|"[^"]*"|\S+) ?'
)


def guard_has(packet: Packet, key: str, values: list[str]) -> bool:
    if key.endswith("addr"):
        address = packet.source if key.endswith("saddr") else packet.target
        return any(address in ip_network(value) for value in values)
    if key == "tcp dport":
        return packet.protocol == "tcp" and str(packet.port) in values
    plain = {
        "iifname": packet.came_in,
        "oifname": packet.goes_out,
        "ct state": packet.state.lower(),
        "meta l4proto": packet.protocol,
        "meta nfproto": f"ipv{packet.source.version}",
    }
    return plain[key] in values


def guard_verdict(policy: Policy, chain: str, packet: Packet) -> str:
    """accept, drop or reject: the first rule that matches, or the end of its base chain."""
    for rule in guard_chains(policy)[chain]:
        if rule.startswith("type filter"):
            continue
        rest, matched = rule, True
        while found := CONDITION.match(rest):
            values = re.split(r",\s*", found["value"].strip('{} "'))
            other_family = found["key"].startswith("ip6 ") and packet.source.version == 4
            holds = guard_has(packet, found["key"], values) is not bool(found["not"])
            matched = matched and holds and not other_family
            rest = rest[found.end() :]
        if matched:
            if rest.startswith("goto "):
                return guard_verdict(policy, rest.split()[1], packet)
            return rest.split()[0]
    return "accept"


# --- Packets -------------------------------------------------------------------------------
ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address)
PORTS = st.sampled_from([8000, 8001, 8081, 8888, 5432, 22, 53, 443]) | st.integers(1, 65535)


@st.composite
def packets_on_the_bridge(draw: st.DrawFn) -> tuple[Settings, Packet]:
    """Any first packet of a session, a service or a backend, to where it may be interesting."""
    chosen = draw(valid_settings())
    sessions, services = chosen.session_range, [*chosen.static_ips.values(), *chosen.backends]
    session = sessions[draw(st.integers(0, sessions.num_addresses - 1))]
    source = draw(st.just(session) | st.sampled_from(services))
    outside = [destination.address for destination in chosen.outbound]
    interesting = [
        *services, *outside, chosen.network_gateway, sessions[0], IPv4Address("169.254.169.254")
    ]  # fmt: skip
    target = draw(st.sampled_from(interesting) | ADDRESSES)
    inside = target in chosen.network_subnet
    return chosen, Packet(
        source,
        target,
        draw(st.sampled_from(["tcp", "udp", "icmp"])),
        draw(PORTS),
        chosen.network_bridge,
        chosen.network_bridge if inside else "eth0",
    )


def may(chosen: Settings, packet: Packet) -> bool:
    """The promise, in other words than the code's."""
    hub, proxy, database = chosen.hub_ip, chosen.proxy_ip, chosen.database_ip
    door = "session" if packet.target in chosen.session_range else packet.target
    doors: dict[IPv4Address, set[tuple[object, int]]] = {
        hub: {(database, 5432), (proxy, 8001), ("session", 8888)},
        proxy: {(hub, 8081), ("session", 8888)},
        database: set(),
        **{b: {(hub, 8081), (proxy, 8000), ("session", 8888)} for b in chosen.backends},
    }
    names = {"hub": hub, "proxy": proxy, "database": database}
    if packet.goes_out == "eth0" and packet.source in map(names.get, chosen.service_outbound):
        return packet.target not in IPv4Network("169.254.0.0/16")
    named = packet.source in chosen.session_range and any(
        packet.target in destination.network and packet.port in destination.ports
        for destination in chosen.outbound
    )
    of_source = doors.get(packet.source, {(hub, 8081), (proxy, 8000)})
    return packet.protocol == "tcp" and (named or (door, packet.port) in of_source)


def decide(chosen: Settings, packet: Packet) -> None:
    policy = Policy.of(chosen)
    allowed = may(chosen, packet)
    assert verdict(policy, "JHUB-FORWARD", packet) == ("ACCEPT" if allowed else "REJECT")
    assert guard_verdict(policy, "forward", packet) == ("accept" if allowed else "reject")


@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_everybody_reaches_what_the_policy_says_and_nothing_else(changes: dict[str, Any]) -> None:
    """Everybody to every address that means something, at every port that does."""
    chosen = settings(**changes)
    services = [*chosen.static_ips.values(), *chosen.backends]
    sessions, bridge = chosen.session_range, chosen.network_bridge
    elsewhere = [
        *map(IPv4Address, ("198.51.100.7", "198.51.100.200", "169.254.169.254", "10.0.0.1"))
    ]
    for source in (*services, sessions[7]):
        for target in (*services, sessions[9], chosen.network_gateway, *elsewhere):
            goes_out = bridge if target in chosen.network_subnet else "eth0"
            for port in (5432, 8000, 8001, 8081, 8888, 443, 80, 22, 53):
                decide(chosen, Packet(source, target, "tcp", port, bridge, goes_out))
            decide(chosen, Packet(source, target, "udp", 53, bridge, goes_out))


@given(packets_on_the_bridge())
def test_and_so_in_any_subnet(drawn: tuple[Settings, Packet]) -> None:
    decide(*drawn)


@given(packets_on_the_bridge())
def test_nobody_on_the_bridge_reaches_anything_of_the_host(drawn: tuple[Settings, Packet]) -> None:
    chosen, packet = drawn
    assert verdict(Policy.of(chosen), "JHUB-INPUT", packet) == "REJECT"
    assert guard_verdict(Policy.of(chosen), "input", packet) == "reject"


@given(valid_settings())
def test_a_session_does_reach_both_doors(chosen: Settings) -> None:
    session, bridge = chosen.session_range[0], chosen.network_bridge
    for address, port in ((chosen.hub_ip, 8081), (chosen.proxy_ip, 8000)):
        packet = Packet(session, address, "tcp", port, bridge, bridge)
        assert verdict(Policy.of(chosen), "JHUB-FORWARD", packet) == "ACCEPT"
        assert guard_verdict(Policy.of(chosen), "forward", packet) == "accept"


@given(packets_on_the_bridge())
def test_a_forged_state_does_not_pass(drawn: tuple[Settings, Packet]) -> None:
    chosen, packet = drawn
    forged = replace(packet, state="INVALID")
    assert verdict(Policy.of(chosen), "JHUB-FORWARD", forged) == "DROP"
    assert guard_verdict(Policy.of(chosen), "forward", forged) == "drop"


@given(packets_on_the_bridge())
def test_a_reply_passes_both_ways(drawn: tuple[Settings, Packet]) -> None:
    chosen, packet = drawn
    reply = replace(packet, state="ESTABLISHED")
    back = replace(reply, came_in="eth0", goes_out=chosen.network_bridge)
    for one in (reply, back):
        assert verdict(Policy.of(chosen), "JHUB-FORWARD", one) == "ACCEPT"
        assert guard_verdict(Policy.of(chosen), "forward", one) == "accept"


@given(valid_settings(), ADDRESSES, st.integers(1, 65535), st.data())
def test_from_outside_only_published_ports_are_reached_and_from_the_named_sources(
    chosen: Settings, source: IPv4Address, port: int, data: st.DataObject
) -> None:
    sources = [net for net in chosen.public_sources if isinstance(net, IPv4Network)]
    source = data.draw(st.sampled_from([source, *(net.network_address for net in sources)]))
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
    named = not chosen.public_sources or any(source in net for net in sources)
    packet = Packet(source, target, "tcp", port, "eth0", chosen.network_bridge)
    reached = (target, port) in public and named
    policy = Policy.of(chosen)
    assert verdict(policy, "JHUB-FORWARD", packet) == ("RETURN" if reached else "DROP")
    assert guard_verdict(policy, "forward", packet) == ("accept" if reached else "drop")


@given(valid_settings(), ADDRESSES)
def test_a_relayed_public_port_asks_for_the_source_too(
    chosen: Settings, source: IPv4Address
) -> None:
    named = not chosen.public_sources or any(
        source in net for net in chosen.public_sources if isinstance(net, IPv4Network)
    )
    packet = Packet(source, IPv4Address("198.51.100.1"), "tcp", chosen.public_port, "eth0")
    reached = "accept" if named else "reject"
    assert guard_verdict(Policy.of(chosen), "input", packet) == reached
    # The host itself relays for a web server of its own.
    assert guard_verdict(Policy.of(chosen), "input", replace(packet, came_in="lo")) == "accept"


def test_sources_of_one_ip_version_shut_the_other_out() -> None:
    only4 = guard(Policy.of(settings(public_sources=["198.51.100.0/24"])))
    assert "meta nfproto ipv6 tcp dport { 8000 } goto refuse" in only4
    only6 = Policy.of(settings(public_sources=["2001:db8::/32"]))
    assert "meta nfproto ipv4 tcp dport { 8000 } goto refuse" in guard(only6)
    assert "ip6 saddr != { 2001:db8::/32 } tcp dport { 8000 } goto refuse" in guard(only6)
    assert chains(only6)["JHUB-INBOUND"][1:] == ["-j DROP"]


@given(valid_settings(), ADDRESSES, ADDRESSES)
def test_what_has_nothing_to_do_with_the_network_is_left_alone(
    chosen: Settings, source: IPv4Address, target: IPv4Address
) -> None:
    packet = Packet(source, target, "tcp", 22, "eth0", "docker0")
    for chain in ("JHUB-FORWARD", "JHUB-INPUT"):
        assert verdict(Policy.of(chosen), chain, packet) == "RETURN"
    assume(packet.port not in Policy.of(chosen).host_ports)
    for chain in ("forward", "input"):
        assert guard_verdict(Policy.of(chosen), chain, packet) == "accept"


# --- Frames --------------------------------------------------------------------------------
def test_each_flow_has_its_way_back_and_only_as_a_reply() -> None:
    lines = [line.strip() for line in bridge_guard(FULL, by_name=True).splitlines()]
    there = [line for line in lines if "tcp dport" in line]
    back = [line for line in lines if "tcp sport" in line]
    mirrored = [
        re.sub(
            r"ip saddr (\S+) ip daddr (\S+) tcp dport (\d+) accept",
            r"ip saddr \2 ip daddr \1 tcp sport \3 tcp flags & (syn | ack) != syn accept",
            line,
        )
        for line in there
    ]
    assert back == mirrored
    assert len(there) == len(FULL.inside)


def test_frames_never_carry_what_goes_outside() -> None:
    assert "198.51.100" in guard(FULL)
    assert "198.51.100" not in bridge_guard(FULL, by_name=True)
