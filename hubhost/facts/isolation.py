"""Facts of the rules that are loaded, and of what listens."""

from __future__ import annotations

from pyinfra.api.facts import FactBase
from typing_extensions import override

from hubhost.check import Listening
from hubhost.facts.base import quoted
from hubhost.isolation import JUMPS, JUMPS6
from hubhost.paths import FIREWALL, FIREWALL_UNIT, GUARD_DIGEST


class Listens(FactBase[Listening]):
    """What listens on the host, by TCP, and the host's IPv4 addresses, but for loopback's."""

    default = Listening

    @override
    def command(self) -> str:
        return r"""
ss -Hltnp 2>/dev/null | awk '{ split($6, program, "\""); print "listen", $4, program[2] }'
ip -4 -o address show 2>/dev/null | awk '$4 !~ /^127\./ { sub("/.*", "", $4); print "address", $4 }'
true
"""

    @override
    def process(self, output: list[str]) -> Listening:
        return Listening.parse(output)


GUARD_STATE = (
    f"{{ nft -s list table inet jhub; nft -s list table bridge jhub; cat {FIREWALL}/*.nft; }}"
    " 2>/dev/null | sha256sum"
)
"""Shell: digest of the guard as it is loaded and as it is written."""


class FirewallState(FactBase[dict[str, list[str]]]):
    """Our chains as `iptables -S` prints them, and the first rule of each that jumps to ours.

    Chains that begin with JHUB are IPv4's, but for JHUB-DENY6; "guard" tells whether nft's tables
    are as they were loaded, "frames" whether iptables sees those from one container to another.
    """

    default = dict

    @override
    def requires_command(self, chains: tuple[str, ...]) -> str:
        return "iptables"

    @override
    def command(self, chains: tuple[str, ...]) -> str:
        first = "".join(
            f"{program} -w -S {chain} 2>/dev/null | sed -n '2s/^/first /p'\n"
            for program, jumps in (("iptables", JUMPS), ("ip6tables", JUMPS6))
            for chain, _ in jumps
        )
        return f"""
for chain in {quoted(chains)}; do
  case $chain in *6) program=ip6tables ;; *) program=iptables ;; esac
  $program -w -S "$chain" 2>/dev/null | sed 's/^/rule /'
done
[ "$({GUARD_STATE})" = "$(cat {GUARD_DIGEST} 2>/dev/null)" ] && echo "guard loaded"
echo "frames $(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null)"
{first}echo "unit $(systemctl is-enabled {FIREWALL_UNIT} 2>/dev/null)"
echo "unit $(systemctl is-active {FIREWALL_UNIT} 2>/dev/null)"
for unit in {FIREWALL_UNIT} docker; do
  echo "reload $(systemctl show -P NeedDaemonReload $unit 2>/dev/null)"
done
true
"""

    @override
    def process(self, output: list[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in output:
            key, _, value = line.partition(" ")
            found.setdefault(key, []).append(value)
        return found
