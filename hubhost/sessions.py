"""What a session is made of on the host's side: its runtime, its firewall, its system calls."""

from __future__ import annotations

from hubhost.engine import SESSION_RUNTIME_PATH
from hubhost.hostfile import HostFile
from hubhost.isolation import HUB_PORT, PROXY_PORT
from hubhost.paths import SESSION
from hubhost.settings import Settings
from hubhost.templates import render

# What a session may open. JupyterLab with five kernels and three terminals, used for two minutes,
# opened two connections, held one at a time, and sent 2 kB, all to the hub.
CONNECTIONS = 64
"""TCP connections out of a session at the same time, to all destinations."""

OPENED_PER_SECOND, OPENED_BURST = 20, 60
"""Connections that a session opens, and packets of other kinds."""

KBYTES_PER_SECOND, KBYTES_BURST = 16, 128
"""What a session may send to the hub, and to the proxy: each is a process that all share."""

ANSWER_KBYTES_PER_SECOND, ANSWER_KBYTES_BURST = 1024, 4096
"""What they may send back. Files up and down go by connections that the proxy opens: unlimited."""


def session_files(settings: Settings) -> tuple[HostFile, ...]:
    """The files in /etc/integrable-jupyterhub/session."""
    network = render(
        "session/network.nft",
        doors=((settings.hub_ip, HUB_PORT), (settings.proxy_ip, PROXY_PORT)),
        connections=CONNECTIONS,
        opened_per_second=OPENED_PER_SECOND,
        opened_burst=OPENED_BURST,
        kbytes_per_second=KBYTES_PER_SECOND,
        kbytes_burst=KBYTES_BURST,
        answer_kbytes_per_second=ANSWER_KBYTES_PER_SECOND,
        answer_kbytes_burst=ANSWER_KBYTES_BURST,
    )
    return (
        HostFile(SESSION_RUNTIME_PATH, render("session/runtime"), 0o755),
        HostFile(SESSION / "network.nft", network),
        HostFile(SESSION / "resolv.conf", render("session/resolv.conf")),
        HostFile(SESSION / "seccomp.json", render("session/seccomp.json")),
    )
