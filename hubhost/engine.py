"""Docker's configuration: what this project needs of it, merged into what is there."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from typing import Any

from hubhost.paths import SESSION

SESSION_RUNTIME, SESSION_RUNTIME_PATH = "integrable-jupyterhub-session", SESSION / "runtime"
"""The OCI runtime of sessions: its name in Docker, and the script. See files/session/runtime."""

DEFAULT_POOLS: tuple[tuple[IPv4Network, int], ...] = (
    *((IPv4Network(f"172.{n}.0.0/16"), 16) for n in range(17, 32)),
    (IPv4Network("192.168.0.0/16"), 20),
)
"""(base, prefix length) of the networks that Docker gives to others by default.

Source: moby, libnetwork/ipamutils: localScopeDefaultNetworks.
"""


def address_pools(excluded: IPv4Network) -> list[dict[str, str | int]]:
    """Docker's default address pools without those that overlap `excluded`."""
    return [
        {"base": str(pool), "size": size}
        for pool, size in DEFAULT_POOLS
        if not pool.overlaps(excluded)
    ]


def daemon_configuration(current: str, subnet: IPv4Network) -> str:
    """The content of daemon.json: what is there, and what this project needs.

    Sessions outlive a restart of the daemon (``live-restore``), logs are bounded, and no other
    network gets `subnet`, and sessions have their runtime. Keys that the admin has set stay,
    except for live-restore; so do the admin's runtimes.

    Raises:
        ValueError: `current` is not a JSON object, or its runtimes are none.
    """
    present: dict[str, Any] = json.loads(current) if current.strip() else {}
    if not isinstance(present, dict):
        raise ValueError("not a JSON object")
    runtimes = present.get("runtimes", {})
    if not isinstance(runtimes, dict):
        raise ValueError("its runtimes are not a JSON object")
    bounded = {"log-opts": {"max-size": "10m", "max-file": "3"}}
    if present.get("log-driver", "json-file") not in ("json-file", "local"):
        bounded = {}  # other drivers refuse these options, and the engine would not start
    merged = {
        **bounded,
        "default-address-pools": address_pools(subnet),
        **present,
        "live-restore": True,
        "runtimes": {**runtimes, SESSION_RUNTIME: {"path": str(SESSION_RUNTIME_PATH)}},
    }
    if present == merged:
        return current
    return json.dumps(merged, indent=2, sort_keys=True) + "\n"


HELD_PACKAGES = (
    *("docker.io", "docker-cli", "docker-buildx", "containerd", "runc"),
    *("docker-ce", "docker-ce-cli", "docker-buildx-plugin", "containerd.io"),
)
"""Packages that engines are made of, Debian's and Docker's own: only `make patch` moves them."""


def without_ours(current: str, before: str | None, subnet: IPv4Network) -> str:
    """What daemon.json becomes when this project leaves; empty: there is to be none.

    `before`: what it was before the first deployment, empty where there was none; None: nobody
    knows. Where only deployments have written to it since, it is that again; else what is ours
    goes, and what the admin has added stays.
    """
    if before is not None and current in (before, daemon_configuration(before, subnet)):
        return before
    known: dict[str, Any] = json.loads(before or "{}")
    present: dict[str, Any] = json.loads(current or "{}")
    for key, value in json.loads(daemon_configuration("", subnet)).items():
        if key == "runtimes":
            runtimes = {k: v for k, v in present.get(key, {}).items() if k != SESSION_RUNTIME}
            present[key] = runtimes or known.get(key, {})
        elif present.get(key) == value:
            present[key] = known.get(key)
        if not present.get(key) and key not in known:
            present.pop(key, None)
    return json.dumps(present, indent=2, sort_keys=True) + "\n" if present else ""


def engine_packages(present: str, debian_version: str) -> tuple[str, ...]:
    """Debian's packages of the engine; none where `present` names another's package, which stays.

    Debian 13 has the client and BuildKit's plugin in packages of their own.
    """
    if present not in ("", "docker.io"):
        return ()
    if debian_version == "12":
        return ("docker.io",)
    return ("docker.io", "docker-cli", "docker-buildx")
