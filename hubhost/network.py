"""The Docker network of services and sessions."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from hubhost.logs import KEEP_LOG
from hubhost.service import ROLE_LABEL
from hubhost.settings import Settings


@dataclass(frozen=True)
class Network:
    """A bridge network whose dynamic addresses come from `session_range` only.

    A session can so never hold a service's address, not even while that service is down. ICC is
    off: what sessions reach is what the firewall accepts.
    """

    name: str
    bridge: str
    subnet: IPv4Network
    gateway: IPv4Address
    session_range: IPv4Network

    @classmethod
    def of(cls, settings: Settings) -> Network:
        return cls(
            settings.network_name,
            settings.network_bridge,
            settings.network_subnet,
            settings.network_gateway,
            settings.session_range,
        )

    @property
    def bridge_options(self) -> dict[str, str]:
        return {
            "com.docker.network.bridge.name": self.bridge,
            "com.docker.network.bridge.enable_icc": "false",
        }

    @property
    def ipam(self) -> dict[str, str]:
        return {
            "Subnet": str(self.subnet),
            "IPRange": str(self.session_range),
            "Gateway": str(self.gateway),
        }

    def create_options(self) -> list[str]:
        """Arguments for `docker network create`."""
        options = ["--driver", "bridge", "--subnet", str(self.subnet)]
        options += ["--ip-range", str(self.session_range), "--gateway", str(self.gateway)]
        for key, value in self.bridge_options.items():
            options += ["--opt", f"{key}={value}"]
        return [*options, "--label", f"{ROLE_LABEL}=network", self.name]

    @property
    def digest(self) -> str:
        """The same for the same network."""
        return hashlib.sha256(shlex.join(self.create_options()).encode()).hexdigest()[:8]

    def differences(self, state: dict[str, Any]) -> list[str]:
        """What of `docker network inspect` is not as it should be, in words."""
        config = (state.get("IPAM") or {}).get("Config") or [{}]
        seen = {
            "name": state.get("Name"),
            "driver": state.get("Driver"),
            "IPv6": state.get("EnableIPv6"),
            "internal": state.get("Internal"),
            **{key: config[0].get(key) for key in self.ipam},
            **{key: (state.get("Options") or {}).get(key) for key in self.bridge_options},
        }
        wanted = {
            "name": self.name,
            "driver": "bridge",
            "IPv6": False,
            "internal": False,
            **self.ipam,
            **self.bridge_options,
        }
        return [
            f"{key} is {seen[key]}, not {value}"
            for key, value in wanted.items()
            if seen[key] != value
        ]


def rebuild(state: dict[str, Any], wrong: list[str]) -> list[str]:
    """Shell lines that remove a wrong network, or say why that is not possible."""
    foreign = [name for name, role in state["attached"].items() if not role]
    if foreign:
        message = (
            f"network_name: {state['Name']} exists and is wrong ({'; '.join(wrong)}), but"
            f" {', '.join(foreign)} is attached to it; remove that container or choose another name"
        )
        return [f"echo {shlex.quote(message)} >&2", "exit 1"]
    ours = shlex.join(state["attached"])
    services = [name for name, role in state["attached"].items() if role == "service"]
    return [
        *([KEEP_LOG] if services else []),
        *(f"keep_log {name} {name}" for name in services),
        *([f"docker rm --force {ours}"] if ours else []),
        f"docker network rm {shlex.quote(state['Name'])}",
    ]
