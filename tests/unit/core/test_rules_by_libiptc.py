"""Each rule of ours goes through python-iptables and comes back the same: it means what it says."""

from __future__ import annotations

import pytest

from hubhost.isolation import Policy, chains
from tests.libiptc import INSTALL, dictionary
from tests.unit.core.sample import EVERYTHING, settings

easy = pytest.importorskip("iptc.easy", reason=INSTALL)

CHAINS = chains(Policy.of(settings(**EVERYTHING)))


@pytest.mark.parametrize("rule", sorted({rule for rules in CHAINS.values() for rule in rules}))
def test_a_rule_is_the_same_after_a_way_through_libiptc(rule: str) -> None:
    wanted = dictionary(rule)
    if str(wanted["target"]) in CHAINS:  # a chain is looked up in a table; not here
        wanted["target"] = "ACCEPT"
    back = easy.decode_iptc_rule(easy.encode_iptc_rule(dict(wanted)))
    back.pop("counters")
    assert back == wanted
