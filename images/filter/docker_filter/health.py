"""The container's health command: do the filter, and Docker behind it, answer?"""

import socket
from pathlib import Path

SOCKET = Path("/run/docker-filter/docker.sock")


def answers(path: Path = SOCKET, seconds: float = 3) -> bool:
    """Whether GET /_ping is answered with 200; the filter allows it to its own user."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(str(path))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(64).partition(b"\r\n")[0]
    except OSError:
        return False


def main() -> int:
    return 0 if answers() else 1
