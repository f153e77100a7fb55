"""Destinations outside the hub's network: what a setting names, and what it may never name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

NEVER = tuple(
    map(IPv4Network, ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"))
)
"""Networks that no setting opens: this host, link-local with the clouds' metadata services
(169.254.169.254 gives out credentials), multicast, reserved. Source: RFC 6890."""

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*")
_FORM = 'must be "CIDR:PORT[,PORT…]" or "NAME=ADDRESS:PORT[,PORT…]"'


@dataclass(frozen=True)
class Destination:
    """TCP `ports` of the addresses of `network`; `name` stands for it in sessions' /etc/hosts."""

    network: IPv4Network
    ports: tuple[int, ...]
    name: str | None = None

    @property
    def address(self) -> IPv4Address:
        """The one address that `name` stands for."""
        return self.network.network_address

    @classmethod
    def parse(cls, text: str) -> Destination:
        """Read ``CIDR:PORT[,PORT…]``, with ``NAME=`` before a single address.

        Raises:
            ValueError: what is wrong, in words for the person who wrote the setting.
        """
        name, named, rest = text.rpartition("=")
        where, _, numbers = rest.partition(":")
        try:
            network = IPv4Network(where)
            ports = tuple(int(number) for number in numbers.split(","))
        except ValueError:
            raise ValueError(_FORM) from None
        if not all(0 < port < 65536 for port in ports):
            raise ValueError("a port is a number from 1 to 65535")
        if network.prefixlen == 0:
            raise ValueError("is the whole internet: name the networks that sessions need")
        for never in NEVER:
            if network.overlaps(never):
                raise ValueError(f"overlaps {never}, which is never opened")
        if named and not _HOST_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no host name")
        if named and network.num_addresses > 1:
            raise ValueError("a name stands for one address, not for a network")
        return cls(network, ports, name or None)
