"""How the controller speaks to a host: SSH without Nagle's algorithm."""

import socket
from typing import Any

from paramiko import Transport


def low_latency(sock: Any, *args: Any, **kwargs: Any) -> Transport:
    """Paramiko's transport_factory, with TCP_NODELAY: 8 ms a command instead of 50.

    Give it to a host as `ssh_paramiko_connect_kwargs={"transport_factory": low_latency}`.
    """
    if hasattr(sock, "setsockopt"):  # a jump host's channel or a proxy command is no socket
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Transport(sock, *args, **kwargs)
