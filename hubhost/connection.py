"""How the controller speaks to a host: SSH that is quick, that ends when nobody answers any more,
that holds the host's lock, and that hands on what another host says."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from threading import Thread
from typing import Any, BinaryIO

from paramiko import Transport
from pyinfra import logger
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
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


def as_whom(given: Mapping[str, Any]) -> dict[str, Any]:
    """Of pyinfra's arguments what `host.run_shell_command` has to be told: sudo … ."""
    return {key: value for key, value in given.items() if key in _AS_WHOM}


def _command(state: Any, host: Any, command: str, given: Mapping[str, Any]) -> str:
    """The command line as pyinfra would run it with the arguments `given` (sudo …)."""
    line = make_unix_command_for_host(state, host, StringCommand(command), **as_whom(given))
    return str(line.get_raw_value())


def take_lock(state: Any, host: Any) -> str | None:
    """Hold the host's lock until this connection ends; why not, in a line, where another has it.

    Where the connection is lost, or the lock, the connection ends, and with it the run.
    """
    client = getattr(host.connector, "client", None)
    held = host.connector_data.get("lock")
    if client is None or (held and not held.closed):  # pyinfra's @fake has no connection
        return None
    given = host.current_op_global_arguments
    transport = client.get_transport()
    channel = transport.open_session()
    channel.exec_command(_command(state, host, lock.holder(lock.who()), given))
    if refusal := lock.refusal(channel.makefile("r").readline()):
        return refusal
    host.connector_data["lock"] = channel
    # In another thread there is no host: pyinfra's is the context's.
    name, data = host.name, host.connector_data

    def lost() -> None:
        if data.get("lock") is not channel:
            return  # let go
        transport.close()
        logger.error("%s: %s", name, lock.LOST)

    Thread(target=lock.keep, args=(channel, lost), daemon=True).start()
    return None


def release_lock(host: Any) -> None:
    """Let go of the lock, before the connection ends on purpose."""
    if held := host.connector_data.pop("lock", None):
        held.close()


_CHUNK = 1 << 20


def _channels(state: Any, host: Any, command: str) -> Any:
    """Paramiko's standard input, output and error of a command, run as operations are (sudo …)."""
    given, _ = pop_global_arguments(state, host, {})
    return host.connector.client.exec_command(_command(state, host, command, given))


def fetch(state: Any, host: Any, command: str, file: BinaryIO) -> bool:
    """What a command on the host prints, into a file here; whether it succeeded.

    pyinfra's own way lays a copy into the host's /tmp where sudo is needed; that may be memory.
    """
    _, output, _ = _channels(state, host, command)
    while chunk := output.channel.recv(_CHUNK):
        file.write(chunk)
    return bool(output.channel.recv_exit_status() == 0)


def relay(state: Any, host: Any, source: str, send: str, receive: str) -> bool:
    """`send`'s output on the host called `source` becomes `receive`'s input on `host`.

    It passes through this machine, for hosts need not reach each other, in pieces: neither memory
    nor disk hold it. Pyinfra runs it for several hosts at the same time.
    """
    started, size = time.monotonic(), 0
    origin = state.inventory.get_host(source)
    if origin is None:
        return False
    _, output, sent = _channels(state, origin, send)
    entry, _, received = _channels(state, host, receive)
    try:
        while chunk := output.channel.recv(_CHUNK):
            entry.channel.sendall(chunk)
            size += len(chunk)
    except OSError:
        output.channel.close()  # the receiver has ended before its time, and says why
    entry.channel.shutdown_write()
    codes = output.channel.recv_exit_status(), entry.channel.recv_exit_status()
    said = [
        f"{name}: {line}"
        for errors, name in ((sent, source), (received, host.name))
        for line in errors.read().decode(errors="replace").splitlines()
    ]
    if codes != (0, 0) and not said:
        said = [f"sending from {source} ended with exit code {codes[0]}, loading with {codes[1]}"]
    for line in said:
        logger.error("%s%s", host.print_prefix, line)
    seconds = time.monotonic() - started
    logger.info("%s%d MB from %s in %.0f s", host.print_prefix, size / 1e6, source, seconds)
    return codes == (0, 0)
