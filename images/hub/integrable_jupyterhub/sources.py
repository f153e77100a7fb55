"""Who may use the hub's API: by the address that a request really came from."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.handlers import BaseHandler
from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError

from integrable_jupyterhub.config import HubConfig

Address = IPv4Address | IPv6Address


def client(peer: str, forwarded: str, proxies: Collection[Address]) -> Address:
    """The nearest address on a request's way that is none of `proxies`.

    `peer` is at the other end of the connection, `forwarded` the header X-Forwarded-For: each proxy
    adds whom it saw at the end, and what stands before may be anybody's invention. (Tornado's own
    `remote_ip` believes the header whoever sent it, and X-Real-Ip before it.)

    Raises:
        ValueError: an address that counts is none.
    """
    address = _address(peer)
    for hop in reversed([hop.strip() for hop in forwarded.split(",") if hop.strip()]):
        if address not in proxies:
            break
        address = _address(hop)
    return address


def _address(text: str) -> Address:
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def may_use_api(config: HubConfig, peer: str, forwarded: str) -> bool:
    """Whether `api_sources` lets this request in; who is on the hub's own network needs no leave.

    Sessions, listed backends and the hub's own services talk to the hub directly.
    """
    proxies = (ip_address(config.proxy_ip), *config.trusted_proxies)
    try:
        address = client(peer, forwarded, proxies)
    except ValueError:
        return False
    return any(address in network for network in (*config.internal_networks, *config.api_sources))


def restrict_api(config: HubConfig) -> None:
    """Have every API handler of JupyterHub ask first; nothing where `api_sources` names nobody.

    By class and not by path, of which there are many spellings. What people's browsers need of
    /hub/api (oauth2/authorize) is no API handler.
    """
    if not config.api_sources:
        return

    async def prepare(self: Any) -> None:
        request: HTTPServerRequest = self.request
        forwarded = ",".join(request.headers.get_list("X-Forwarded-For"))
        if not may_use_api(config, _peer(request), forwarded):
            raise HTTPError(403, "the API is closed to this address (setting api_sources)")
        await BaseHandler.prepare(self)

    APIHandler.prepare = prepare


def _peer(request: Any) -> str:
    """Of the connection itself; empty when it is closed already."""
    socket = request.connection.stream.socket
    return str(socket.getpeername()[0]) if socket else ""
