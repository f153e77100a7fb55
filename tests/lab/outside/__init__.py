"""An outside world for a lab host, of documentation addresses: nothing of a test gets any further.

It is a network namespace on the lab host to which all of the host's routes lead, with HTTP, echo,
DNS and a log of every packet that came in. Hosts have no Python: it runs in a copy of the hub
image's files. It does not need Docker, and at boot it is there before Docker is.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.lab import engine
from tests.lab.errors import LabError
from tests.lab.host import Host
from tests.lab.outside.world import RESOLVER, SERVER

HERE = Path(__file__).parent
ROOT = "/var/lib/outside"
"""The folder on the lab host: a root for Python."""

METADATA = "169.254.169.254"
SERVER6 = "2001:db8::7"
CLIENTS = ("198.51.100.8", "198.51.100.9", "198.51.100.200", "2001:db8:a::1", "2001:db8:b::1")
"""Addresses that connections from outside may come from."""

HOST, HOST6 = "198.51.100.1", "2001:db8::1"
"""The host as the outside sees it."""

START_S = 60

UNITS = {
    "outside": f"""
[Unit]
Description=The outside world of this lab
After=network.target
Before=docker.service
[Service]
ExecStartPre={ROOT}/up
ExecStart=ip netns exec outside chroot {ROOT} python3 /world.py serve
ExecStopPost={ROOT}/down
StandardOutput=append:{ROOT}/log
Restart=on-failure
[Install]
WantedBy=multi-user.target
""",
    "outside-resolver": f"""
[Unit]
Description=A resolver on loopback that asks the outside world of this lab
Before=docker.service
BindsTo=outside.service
After=outside.service
[Service]
ExecStart=chroot {ROOT} python3 /world.py relay
[Install]
WantedBy=outside.service
""",
}

INSTALL = f"""
set -e
mkdir -p {ROOT}
[ -e {ROOT}/usr ] || {{
    made=$(docker container create integrable-jupyterhub-hub:latest)
    docker export $made | tar -x -C {ROOT}
    docker rm $made
}}
"""


@dataclass(frozen=True)
class Entry:
    """Something that came in from the host: a SYN, a datagram, an echo request, a question."""

    protocol: str
    source: str
    target: str
    port: int
    name: str


@dataclass(frozen=True)
class Outside:
    """The outside world of one lab host, up."""

    host: Host

    def resolver(self, where: Literal["lan", "loopback"]) -> None:
        """Give the host a resolver: containers started from now on get to know it."""
        address = SERVER if where == "lan" else RESOLVER
        self.host.sh(f"echo nameserver {address} | tee {ROOT}/resolv.conf > /etc/resolv.conf")

    def mark(self) -> int:
        """The end of the log as it is now."""
        return int(self.host.sh(f"stat -c %s {ROOT}/log"))

    def log(self, since: int) -> list[Entry]:
        """What came in after that mark, in order."""
        lines = self.host.sh(f"tail -c +{since + 1} {ROOT}/log").splitlines()
        entries = map(json.loads, lines)
        keys = Entry.__dataclass_fields__
        return [Entry(**{key: entry[key] for key in keys}) for entry in entries]

    def names(self, since: int) -> list[str]:
        """The names that the DNS server was asked for after that mark."""
        return [entry.name for entry in self.log(since) if entry.protocol == "dns"]

    def count(self, since: int, port: int) -> int:
        """How many connections and datagrams to this port came in after that mark.

        Counted on the host, for there may be many; the log's own ports tell tests apart.
        """
        port_of = f'"port": {port},'
        found = self.host.sh(f"tail -c +{since + 1} {ROOT}/log | grep -c {shlex.quote(port_of)}; :")
        return int(found)


@contextmanager
def outside(host: Host) -> Iterator[Outside]:
    """The outside world of a deployed lab host, for the length of a `with` block."""
    install(host)
    try:
        yield Outside(host)
    finally:
        remove(host)


def install(host: Host) -> None:
    """Put the outside world up; it comes back after a reboot."""
    host.sh(INSTALL)
    for name in ("up", "down", "world.py", "probe.py"):
        _put(host, f"{ROOT}/{name}", (HERE / name).read_bytes(), mode="755")
    for unit, text in UNITS.items():
        _put(host, f"/etc/systemd/system/{unit}.service", text.encode())
    units = " ".join(UNITS)
    host.sh(f"rm -f {ROOT}/resolv.conf; systemctl daemon-reload; systemctl enable -q {units}")
    host.sh(f"systemctl restart {units}")
    wait(host)


def wait(host: Host) -> None:
    """Until it answers, and names resolve."""

    def answers() -> bool:
        connect = f"timeout {3 * host.patience} bash -c ': > /dev/tcp/{SERVER}/80'"
        ask = f"{connect} && getent hosts x.outside.test"
        return host.run("sh", "-c", ask, check=False).returncode == 0

    if not engine.until(answers, START_S * host.patience):
        raise LabError(f"lab {host.name}: the outside world does not answer")
    for address in (SERVER, METADATA, "192.0.2.1", SERVER6, "2001:db8:ffff::1"):
        way = host.sh(f"ip route get {address}")
        if "dev outside0" not in way:
            raise LabError(f"lab {host.name}: {address} is not outside0's: {way}")


def remove(host: Host) -> None:
    """Take it away; the host's routes and resolver are as before."""
    units = " ".join(UNITS)
    files = " ".join(f"/etc/systemd/system/{unit}.service" for unit in UNITS)
    host.sh(f"systemctl disable -q --now {units}; rm -f {files}; systemctl daemon-reload")


def _put(host: Host, path: str, content: bytes, mode: str = "644") -> None:
    write = f"cat > {path}.new && chmod {mode} {path}.new && mv {path}.new {path}"
    host.run("sh", "-c", write, stdin=content)
