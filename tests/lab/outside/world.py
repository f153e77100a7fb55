"""What runs outside, and what answers inside; the standard library of Python 3.11 only.

world.py serve       the outside: HTTP, echo, DNS; prints every packet that came in, one JSON a line
world.py relay       a resolver on loopback that asks the outside
world.py echo PORT   TCP and UDP: what comes in goes back
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

SERVER = "198.51.100.7"
HTTP_PORTS, ECHO_PORTS, DNS_PORT = (80, 443), (7, 9001, 9002), 53
RESOLVER = "127.0.0.1"  # not 127.0.0.53, for which Docker reads the file of systemd-resolved
IP_PKTINFO = 8  # not in every Python's socket module
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 3, 0x0800, 0x86DD
A = 1

Answer = Callable[[bytes], bytes]


def log(protocol: str, source: str, target: str, port: int, name: str = "") -> None:
    entry = {"at": time.time(), "protocol": protocol, "source": source, "target": target}
    print(json.dumps({**entry, "port": port, "name": name}), flush=True)


# --- DNS: every name has one address ----------------------------------------------------------
def question(query: bytes) -> tuple[str, int, bytes]:
    """The name that a query asks for, the record's type, and the question as it stands there."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode(errors="replace"))
        at += query[at] + 1
    return ".".join(labels), int.from_bytes(query[at + 1 : at + 3], "big"), query[12 : at + 5]


def resolve(query: bytes) -> bytes:
    name, kind, asked = question(query)
    log("dns", "", SERVER, DNS_PORT, name)
    header = query[:2] + struct.pack("!HHHHH", 0x8180, 1, kind == A, 0, 0)
    record = struct.pack("!HHHIH", 0xC00C, A, 1, 0, 4) + socket.inet_aton(SERVER)
    return header + asked + (record if kind == A else b"")


def relay(query: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        outside.settimeout(2)
        outside.connect((SERVER, DNS_PORT))
        outside.send(query)
        return outside.recv(4096)


# --- Servers ------------------------------------------------------------------------------------
def udp(address: str, port: int, answer: Answer) -> None:
    """Answer from the address that was asked, which may be any of this machine's."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = socket.socket(family, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    if family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    server.bind((address, port))
    server.setblocking(False)

    def readable() -> None:
        data, ancillary, _, source = server.recvmsg(4096, 128)
        asked = [
            (level, kind, struct.pack("@I4s4s", 0, value[8:12], bytes(4)))
            for level, kind, value in ancillary
            if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO)
        ]
        with suppress(OSError, IndexError):  # they are gone, or what they sent was no query
            server.sendmsg([answer(data)], asked, 0, source)

    asyncio.get_running_loop().add_reader(server, readable)


Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def tcp(address: str, port: int, converse: Conversation) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await converse(reader, writer)
        except (OSError, EOFError, IndexError):
            pass
        finally:
            writer.close()

    await asyncio.start_server(connected, address, port, backlog=1024)


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\noutside")
    await writer.drain()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()


def _dns(answer: Answer) -> Conversation:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        query = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        told = answer(query)
        writer.write(len(told).to_bytes(2, "big") + told)
        await writer.drain()

    return converse


# --- What came in, whatever it was for --------------------------------------------------------
def sniff() -> None:
    """Log each beginning: SYN, datagram, echo request. Nothing hides that reached this wire."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    wire.setblocking(False)

    def readable() -> None:
        packet, (interface, kind, direction, *_) = wire.recvfrom(2048)
        if direction == socket.PACKET_OUTGOING or interface == "lo":
            return
        if kind == ETH_P_IP:
            source, target = (socket.inet_ntoa(packet[at : at + 4]) for at in (12, 16))
            beginning(packet[9], source, target, packet[(packet[0] & 15) * 4 :])
        elif kind == ETH_P_IPV6:
            source, target = (
                socket.inet_ntop(socket.AF_INET6, packet[at : at + 16]) for at in (8, 24)
            )
            beginning(packet[6], source, target, packet[40:])

    asyncio.get_running_loop().add_reader(wire, readable)


def beginning(protocol: int, source: str, target: str, rest: bytes) -> None:
    port = int.from_bytes(rest[2:4], "big")
    match protocol:
        case socket.IPPROTO_TCP if rest[13] & 0x12 == 0x02:  # SYN and not ACK
            log("tcp", source, target, port)
        case socket.IPPROTO_UDP:
            log("udp", source, target, port)
        case socket.IPPROTO_ICMP if rest[0] == 8:
            log("ping", source, target, 0)
        case socket.IPPROTO_ICMPV6 if rest[0] == 128:
            log("ping", source, target, 0)


async def main(verb: str, *ports: str) -> None:
    def same(data: bytes) -> bytes:
        return data

    match verb:
        case "serve":
            sniff()
            for address in ("0.0.0.0", "::"):
                for port in HTTP_PORTS:
                    await tcp(address, port, _http)
                for port in ECHO_PORTS:
                    await tcp(address, port, _echo)
                    udp(address, port, same)
                await tcp(address, DNS_PORT, _dns(resolve))
                udp(address, DNS_PORT, resolve)
        case "relay":
            await tcp(RESOLVER, DNS_PORT, _dns(relay))
            udp(RESOLVER, DNS_PORT, relay)
        case "echo":
            for port in map(int, ports):
                await tcp("0.0.0.0", port, _echo)
                udp("0.0.0.0", port, same)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
