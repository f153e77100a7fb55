"""The container's health command: does the hub answer?

Plain sockets and JSON: it runs every few seconds, and an HTTP client would triple its cost.
"""

import json
import socket
from pathlib import Path


def answers(host: str, port: int, path: str, seconds: float = 3) -> bool:
    """Does `path` answer 200? https://jupyterhub.readthedocs.io (GET /hub/health)"""
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n"
    try:
        with socket.create_connection((host, port), timeout=seconds) as connection:
            connection.sendall(request.encode())
            return b" 200 " in connection.recv(64).partition(b"\r\n")[0]
    except OSError:
        return False


def main() -> int:
    config = json.loads(Path("/etc/jupyterhub/config.json").read_bytes())
    path = "/".join(["", *filter(None, config["base_url"].split("/")), "hub/health"])
    return 0 if answers(config["hub_ip"], config["hub_port"], path) else 1
