"""A compose project of the reference configuration's shape, running on a lab host."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.lab import Host, engine
from tests.lab.client import ClientError, Hub
from tests.lab.host import put

PROJECT = Path(__file__).parent / "project"
FOLDER = "/root/integrable-jupyterhub"

RULES = """
iptables -A DOCKER-USER -s 172.27.0.2,172.27.0.3,172.27.0.4 -j ACCEPT
iptables -A DOCKER-USER -s 172.27.0.0/16 -d 172.27.0.2,172.27.0.4 -j ACCEPT
iptables -A DOCKER-USER -s 172.27.0.0/16 -j REJECT
"""
"""As its README prints them."""

IMAGES = {"hub": "hub", "db": "database", "proxy": "proxy", "notebook": "notebook"}

MAKE = f"""
cd {FOLDER}
mkdir -p ssl
openssl req -x509 -newkey rsa:2048 -sha256 -days 3650 -nodes -keyout ssl/jupyterhub_proxy.key \\
    -out ssl/jupyterhub_proxy.crt -addext subjectAltName=DNS:jupyterhub_proxy,IP:127.0.0.1 \\
    -subj /CN=jupyterhub_proxy 2>/dev/null
docker-compose up -d 2>&1
"""


@dataclass(frozen=True)
class Reference:
    """The project, and what its integrators hold."""

    host: Host
    tokens: dict[str, str]

    def hub(self, service: str = "service-admin") -> Hub:
        """As the integrator sees it: by the public port, verified by the project's certificate."""
        ca = self.host.folder / "reference.crt"
        put(ca, self.host.sh(f"cat {FOLDER}/ssl/jupyterhub_proxy.crt"))
        return Hub(f"{self.host.public_url}/hub/api", self.tokens[service], ca)

    def answers(self) -> bool:
        try:
            return self.hub().call("GET", "/users").status_code == 200
        except (ClientError, requests.RequestException):
            return False


def start(host: Host) -> Reference:
    """Put the project there and start it, with its rules; one service's token is weak."""
    tokens = {"service-admin": secrets.token_hex(32), "other": "changeme-please"}
    env = {
        "POSTGRES_DB": "jupyterhub",
        "POSTGRES_USER": "jupyterhub",
        "POSTGRES_PASSWORD": secrets.token_hex(32),
        "CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(32),
        "DOCKER_NETWORK_NAME": "jupyterhub_network",
        "JPY_SERVICE_ADMINS": ";".join(f"{name}:{token}" for name, token in tokens.items()),
        "JPY_COOKIE_SECRET": secrets.token_hex(64),
        "DOCKER_NOTEBOOK_IMAGE": "reference-notebook",
        "ACCESS_CONTROL_ORIGINS": "",
        "SSL_DIR_PATH": "./ssl",
    }
    host.sh(f"mkdir -p {FOLDER}/jupyterhub")
    for path in PROJECT.rglob("*.*"):
        host.run("tee", f"{FOLDER}/{path.relative_to(PROJECT)}", stdin=path.read_bytes())
    text = "".join(f"{key}={value}\n" for key, value in env.items())
    host.run("tee", f"{FOLDER}/.env", stdin=text.encode())
    for name, ours in IMAGES.items():
        image = f"$(docker images -q integrable-jupyterhub-{ours} | head -n 1)"
        host.sh(f"docker tag {image} reference-{name}")
    host.sh(MAKE, timeout=120)
    host.sh(RULES)
    reference = Reference(host, tokens)
    assert engine.until(reference.answers, 120), host.sh(
        "docker logs --tail 30 jupyterhub_hub 2>&1"
    )
    return reference
