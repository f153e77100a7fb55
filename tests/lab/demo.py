"""`make demo`, last step: the way of an integrator, from a service token to an executed cell."""

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import requests
import websocket

from tests.lab import example
from tests.lab.client import ClientError, Hub, Session
from tests.lab.errors import LabError
from tests.lab.host import Host, lab_of, put, removing

TOKENS_FILE = "/etc/integrable-jupyterhub/secrets/service_tokens"
CERTIFICATE_FILE = "/etc/integrable-jupyterhub/tls/tls.crt"

USER = "demo"
EXAMPLE_URL = "http://localhost:8800"


def service_token(text: str) -> tuple[str, str]:
    """(name, token) of the first service in "name:token;name2:token2"."""
    name, _, token = text.strip().split(";")[0].partition(":")
    return name, token


def hub_of(host: Host, base_url: str = "/") -> tuple[str, Hub]:
    """The name of the host's first service, and the hub as that service sees it.

    The certificate comes by SSH, whose host key we know: nobody can slip in another.
    """
    ca = host.folder / "tls.crt"
    put(ca, host.run("cat", CERTIFICATE_FILE).stdout.decode())
    name, token = service_token(host.run("cat", TOKENS_FILE).stdout.decode())
    url = f"{host.public_url}{base_url.rstrip('/')}/hub/api"
    return name, Hub(url, token, ca, patience=30 * host.patience)


def known_token(summary: Path) -> str | None:
    """The token in the session link of the last summary, if there was one."""
    try:
        link: str = json.loads(summary.read_text())["session_url"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    tokens = parse_qs(urlsplit(link).query).get("token")
    return tokens[0] if tokens else None


def open_session(hub: Hub, token: str | None) -> Session:
    """A session of the demo user that serves: the one that is there, or a new one."""
    hub.create_user(USER)
    hub.start_server(USER)
    if token:
        session = hub.attach(USER, token)
        if session.status() == 200:
            return session
    session = hub.attach(USER, hub.mint_token(USER))
    if (status := session.status()) != 200:
        raise ClientError(f"{session.url}/api/status answers {status}, not 200")
    return session


def start_example(host: Host, hub: Hub) -> str:
    """Where the page of examples/embed is, or why it is nowhere."""
    environment = {"HUB_URL": hub.public_url, "HUB_TOKEN": hub.token, "HUB_CA": str(hub.ca)}
    try:
        example.start(host.folder, environment, EXAMPLE_URL)
    except LabError as error:
        return f"not started: {error}"
    return EXAMPLE_URL


def main() -> None:
    started = time.monotonic()
    host = Host.read(os.environ.get("LAB", "demo"))
    summary = host.folder / "summary.json"
    service, hub = hub_of(host)
    session = open_session(hub, known_token(summary))
    result = session.run("6*7")
    if result.value != "42":
        raise ClientError(f"6*7 in a session came to {result.text or 'nothing'}, not 42")
    put(
        summary,
        json.dumps(
            {
                "public_url": hub.public_url,
                "api_url": hub.api_url,
                "service_name": service,
                "service_token": hub.token,
                "session_url": session.link(),
                "ssh": {key: asdict(host.ssh)[key] for key in ("host", "port", "user", "key")},
            },
            indent=2,
        )
        + "\n",
    )
    page = start_example(host, hub)
    print(f"""
A session was started and opened, and ran 6*7 = {result.value} ({time.monotonic() - started:.1f} s).

  public URL     {hub.public_url}
  API URL        {hub.api_url}
  service token  of {service}: {summary} (on the host: {TOKENS_FILE})
  session        {session.link()}
                 (the certificate is self-signed: the browser will ask; good for an hour)
  example page   {page}
  root shell     make shell{lab_of(host.name)}
  stop           {removing(host.name)}""")


if __name__ == "__main__":
    try:
        main()
    except (LabError, ClientError) as error:
        sys.exit(f"demo: {error}")
    except (requests.RequestException, websocket.WebSocketException) as error:
        sys.exit(f"demo: the hub does not answer: {error}")
