"""How the controller speaks to a host: SSH that is quick, that ends when nobody answers any more,
and that holds the host's lock."""

from __future__ import annotations

import socket
from threading import Thread
from typing import Any

from paramiko import Transport
from pyinfra import logger
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS
from pyinfra.api.command import StringCommand
from pyinfra.connectors.util import make_unix_command_for_host

from hubhost import lock

# Seconds, but for the first two; half a minute without an answer ends the connection.
_TCP_OPTIONS = {
    "TCP_NODELAY": 1,
    "TCP_USER_TIMEOUT": 30_000,
    "TCP_KEEPIDLE": 10,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 4,
}

# Of pyinfra's arguments those that say as whom a command runs, and where.
_AS_WHOM = set(CONNECTOR_ARGUMENT_KEYS) - {"_stdin", "_timeout", "_get_pty", "_success_exit_codes"}


def low_latency(sock: Any, *args: Any, **kwargs: Any) -> Transport:
    """Paramiko's transport_factory, with TCP_NODELAY: 8 ms a command instead of 50. And a network
    that is lost is noticed, while paramiko would wait for ever.

    Give it to a host as `ssh_paramiko_connect_kwargs={"transport_factory": low_latency}`.
    """
    if hasattr(sock, "setsockopt"):  # a jump host's channel or a proxy command is no socket
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _TCP_OPTIONS.items():
            if hasattr(socket, name):  # some are Linux's alone
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return Transport(sock, *args, **kwargs)


def take_lock(state: Any, host: Any) -> str | None:
    """Hold the host's lock until this connection ends; why not, in a line, where another has it.

    Where the connection is lost, or the lock, the connection ends, and with it the run.
    """
    client = getattr(host.connector, "client", None)
    held = host.connector_data.get("lock")
    if client is None or (held and not held.closed):  # pyinfra's @fake has no connection
        return None
    given = {k: v for k, v in host.current_op_global_arguments.items() if k in _AS_WHOM}
    holder = StringCommand(lock.holder(lock.who()))
    command = make_unix_command_for_host(state, host, holder, **given)
    transport = client.get_transport()
    channel = transport.open_session()
    channel.exec_command(command.get_raw_value())
    if refusal := lock.refusal(channel.makefile("r").readline()):
        return refusal
    host.connector_data["lock"] = channel

    name, data = host.name, host.connector_data  # `host` itself is another in another thread

    def lost() -> None:
        if data.get("lock") is not channel:
            return  # let go
        logger.error("%s: %s", name, lock.LOST)
        transport.close()

    Thread(target=lock.keep, args=(channel, lost), daemon=True).start()
    return None


def release_lock(host: Any) -> None:
    """Let go of the lock, before the connection ends on purpose."""
    if held := host.connector_data.pop("lock", None):
        held.close()
