"""A lab that may reboot itself: its container is started again, and SSH keeps its port."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import cast

from tests.lab import Host, engine


class _Relay(socketserver.ThreadingTCPServer):
    """Passes each connection on to the lab's SSH, wherever Docker has published it now."""

    daemon_threads = True
    container = ""


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        container = cast(_Relay, self.server).container
        published = engine.docker("port", container, "22/tcp", check=False)
        port = published.splitlines()[0].rpartition(":")[2] if published else "1"  # nobody listens
        with suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), 10) as there:
            there.settimeout(None)
            back = threading.Thread(target=_copy, args=(there, self.request), daemon=True)
            back.start()
            _copy(self.request, there)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Until one of them ends, which then both do."""
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def rebooting(host: Host) -> Iterator[Host]:
    """The lab as it is written down meanwhile; the port of the hub changes as it reboots."""
    engine.docker("update", "--restart", "always", host.container)
    with _Relay(("127.0.0.1", 0), _Connection) as relay:
        relay.container = host.container
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        relayed = replace(host, ssh=replace(host.ssh, port=relay.server_address[1]))
        relayed.write()
        try:
            yield relayed
        finally:
            engine.docker("update", "--restart", "no", host.container)
            now = {
                port: int(engine.docker("port", host.container, f"{port}/tcp").rpartition(":")[2])
                for port in (22, 8000)
            }
            replace(host, ssh=replace(host.ssh, port=now[22]), public_port=now[8000]).write()
            relay.shutdown()


def public_port_of(host: Host) -> Host:
    """With the port by which Docker publishes the hub now."""
    published = engine.docker("port", host.container, "8000/tcp").splitlines()[0]
    return replace(host, public_port=int(published.rpartition(":")[2]))
