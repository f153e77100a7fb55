"""From one host of a run to another: the output of a command there, into a command here."""

from __future__ import annotations

import time
from typing import Any

from pyinfra import logger
from pyinfra.api.arguments import pop_global_arguments
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.connectors.util import make_unix_command_for_host

from hubhost.connection import AS_WHOM

CHUNK = 1 << 20


def channels(state: State, host: Host, command: str) -> Any:
    """Paramiko's standard input, output and error of a command, run as operations are (sudo …)."""
    given, _ = pop_global_arguments(state, host, {})
    arguments: Any = {key: value for key, value in given.items() if key in AS_WHOM}
    line = make_unix_command_for_host(state, host, StringCommand(command), **arguments)
    connector: Any = host.connector
    return connector.client.exec_command(line.get_raw_value())


def relay(state: State, host: Host, source: str, send: str, receive: str) -> bool:
    """`send`'s output on the host called `source` becomes `receive`'s input on `host`.

    It passes through this machine, for hosts need not reach each other, in pieces: neither memory
    nor disk hold it. Pyinfra runs it for several hosts at the same time.
    """
    started, size = time.monotonic(), 0
    origin = state.inventory.get_host(source)
    if origin is None:
        return False
    _, output, sent = channels(state, origin, send)
    entry, _, received = channels(state, host, receive)
    try:
        while chunk := output.channel.recv(CHUNK):
            entry.channel.sendall(chunk)
            size += len(chunk)
    except OSError:
        pass  # it has ended before its time, and says why
    entry.channel.shutdown_write()
    output.channel.close()
    codes = output.channel.recv_exit_status(), entry.channel.recv_exit_status()
    for told, name in ((sent, source), (received, host.name)):
        for line in told.read().decode(errors="replace").splitlines():
            logger.error("%s%s: %s", host.print_prefix, name, line)
    seconds = time.monotonic() - started
    logger.info("%s%d MB from %s in %.0f s", host.print_prefix, size / 1e6, source, seconds)
    return codes == (0, 0)
