"""The connection to a host: quick, ended when nobody answers, and the holder of the lock."""

from __future__ import annotations

import io
import socket
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from hubhost import connection, lock


def test_a_connection_that_nobody_answers_ends_by_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sock = socket.create_connection(listening.getsockname())
        transport = connection.low_latency(sock)
        options = {name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                   for name in ("TCP_NODELAY", "TCP_USER_TIMEOUT", "TCP_KEEPIDLE")}  # fmt: skip
        assert options == {"TCP_NODELAY": 1, "TCP_USER_TIMEOUT": 30_000, "TCP_KEEPIDLE": 10}
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        transport.close()
        sock.close()


class Channel:
    """Of paramiko's: the host's end says `first`, and is gone."""

    def __init__(self, first: str) -> None:
        self.first, self.command, self.closed = first, "", False

    def exec_command(self, command: str) -> None:
        self.command = command

    def makefile(self, _: str) -> io.StringIO:
        return io.StringIO(self.first)

    def settimeout(self, _: float) -> None: ...

    def recv(self, _: int) -> bytes:
        return b""


def host(channel: Channel, **arguments: Any) -> Any:
    """A host of pyinfra's whose connection opens `channel`; it notes how often, and its end."""
    told: list[str] = []

    def open_session() -> Channel:
        told.append("opened")
        return channel

    transport = SimpleNamespace(open_session=open_session, close=lambda: told.append("closed"))
    return SimpleNamespace(
        name="hub",
        connector=SimpleNamespace(client=SimpleNamespace(get_transport=lambda: transport)),
        connector_data={},
        current_op_global_arguments=arguments,
        told=told,
    )


def test_the_lock_is_taken_once_and_its_loss_ends_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    channel = Channel("taken\n")
    found = host(channel, _sudo=True, _timeout=5, name="not the connection's")
    assert connection.take_lock(None, found) is None
    assert channel.command.startswith("sudo -H -n sh -c ")
    assert "flock -n" in channel.command
    assert connection.take_lock(None, found) is None
    deadline = time.monotonic() + 10
    while lock.LOST not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.01)
    assert found.told == ["opened", "closed"]
    assert lock.LOST in caplog.text


def test_a_lock_that_another_has_is_told() -> None:
    found = host(Channel("held 3 ada@laptop, since then\n"))
    told = connection.take_lock(None, found)
    assert told
    assert told.startswith("lock: held by ada@laptop")
    assert "lock" not in found.connector_data


class Ending:
    """A command's channel as paramiko has it: what it prints ends before it does, and whoever
    closes the channel before that hears of no exit code."""

    def __init__(self, *output: bytes, code: int = 0, reads: bool = True) -> None:
        self.output, self.code, self.reads = list(output), code, reads
        self.received = b""
        self.ended = threading.Event()
        self.closed = False

    def recv(self, _: int) -> bytes:
        if self.output:
            return self.output.pop(0)
        threading.Timer(0.05, self.ended.set).start()
        return b""

    def sendall(self, data: bytes) -> None:
        if not self.reads:
            raise OSError("Socket is closed")
        self.received += data

    def shutdown_write(self) -> None:
        self.ended.set()

    def close(self) -> None:
        self.closed = True

    def recv_exit_status(self) -> int:
        return self.code if not self.closed and self.ended.wait(10) else -1


def relayed(
    monkeypatch: pytest.MonkeyPatch, sender: Ending, receiver: Ending, *, errors: str = ""
) -> bool:
    """Whether `sender`'s output came to `receiver`, which then says `errors`."""
    streams = {
        "send": (None, SimpleNamespace(channel=sender), io.BytesIO()),
        "receive": (SimpleNamespace(channel=receiver), None, io.BytesIO(errors.encode())),
    }
    monkeypatch.setattr(connection, "_channels", lambda state, host, command: streams[command])
    state = SimpleNamespace(inventory=SimpleNamespace(get_host=lambda name: name))
    to = SimpleNamespace(name="third", print_prefix="")
    return connection.relay(state, to, "first", "send", "receive")


def test_a_relay_waits_for_the_end_of_whoever_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = Ending()
    assert relayed(monkeypatch, Ending(b"an", b"image"), receiver)
    assert receiver.received == b"animage"


@pytest.mark.parametrize(
    ("sender", "receiver", "errors", "told"),
    [
        (
            Ending(b"half", code=1),
            Ending(),
            "",
            "from first ended with exit code 1, loading with 0",
        ),
        (Ending(b"all"), Ending(code=1), "no space\n", "third: no space"),
        (Ending(b"all"), Ending(code=1, reads=False), "no space\n", "third: no space"),
    ],
    ids=["the sender fails", "the receiver fails", "the receiver goes away"],
)
def test_a_relay_that_fails_says_why(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    sender: Ending,
    receiver: Ending,
    errors: str,
    told: str,
) -> None:
    assert not relayed(monkeypatch, sender, receiver, errors=errors)
    (error,) = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert told in error
    assert sender.closed is not receiver.reads
