"""Rotation of secrets: what may be made anew, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from hubhost.errors import Problem, Problems
from hubhost.paths import SECRETS, TLS
from hubhost.secrets import ALL_SECRETS, SERVICE_TOKENS
from hubhost.settings import Settings
from hubhost.tls import renewal

CERTIFICATE = "tls"
USAGE = "make rotate SECRET=name"


@dataclass(frozen=True)
class Rotation:
    """A secret to be discarded: the deployment that follows makes another, and replaces who reads
    it. `service`: of the services' tokens, this one only. `cost` is what people notice."""

    name: str
    cost: str
    service: str | None = None

    @property
    def file(self) -> PurePosixPath:
        """On the host."""
        return TLS / "tls.key" if self.name == CERTIFICATE else SECRETS / self.name

    def __str__(self) -> str:
        return f"{self.name}: {self.cost}"


_HUB = "the hub is replaced, its API answers 503 for some seconds; sessions go on"
_COSTS = {
    SERVICE_TOKENS: "the old tokens of all services stop working: give out the new ones; " + _HUB,
    "database_password": "database and hub are replaced, the API errs for some seconds; sessions"
    " go on",
    "proxy_token": "proxy and hub are replaced, connections are cut and come back; kernels go on",
    "cookie_secret": _HUB,
    "culler_token": _HUB,
    "routes_token": _HUB,
    CERTIFICATE: "a new self-signed certificate, which clients that pin the old one have to be"
    " given; sessions go on",
}


def rotations(names: str, service: str, settings: Settings) -> tuple[Rotation, ...]:
    """What a person asked for: names with commas between them, or "all"; perhaps one service.

    Raises:
        Problems: no or unknown names, a service that has no token, a certificate not made here.
    """
    others = {
        "tls_certificate_file": settings.tls_certificate_file is not None,
        "tls_managed_on_host": settings.tls_managed_on_host,
    }
    own = not any(others.values())
    allowed = [secret.name for secret in ALL_SECRETS] + ([CERTIFICATE] if own else [])
    wanted = allowed if names == "all" else [name for name in names.split(",") if name]
    found: list[Problem] = []
    if not wanted:
        found.append(Problem("SECRET", "not set", f"{USAGE}, one or more of {', '.join(allowed)}"))
    for name in wanted:
        if name == CERTIFICATE and not own:
            message = f"the certificate is that of {next(s for s in others if others[s])}"
            found.append(Problem("SECRET", message, renewal(settings)))
        elif name not in allowed:
            remedy = f"name one or more of {', '.join(allowed)}"
            found.append(Problem("SECRET", f"there is no {name!r}", remedy))
    if service and wanted != [SERVICE_TOKENS]:
        found.append(Problem("SERVICE", "is for SECRET=service_tokens alone", USAGE))
    if service and service not in settings.service_admins:
        remedy = f"name one of service_admins: {', '.join(settings.service_admins)}"
        found.append(Problem("SERVICE", f"there is no {service!r}", remedy))
    if found:
        raise Problems(found)
    if service:
        cost = f"the old token of {service} stops working: give out the new one; {_HUB}"
        return (Rotation(SERVICE_TOKENS, cost, service),)
    return tuple(Rotation(name, _COSTS[name]) for name in wanted)


def discard(rotation: Rotation) -> list[str]:
    """Shell, by which the next deployment finds nothing there."""
    if not rotation.service:
        return [f"rm -f {rotation.file}"]
    others = '$1 != name { printf "%s%s", separator, $0; separator = RS }'
    return [
        f"cd {SECRETS}; umask 077",
        f"awk -v RS=';' -F: -v name={rotation.service} '{others}' {rotation.file} > .tokens.new",
        f"mv .tokens.new {rotation.file}",
    ]
