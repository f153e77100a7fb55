"""Moving over from a reference configuration's compose project, and back: what is there, what is
kept, and the two scripts that do it, which lie on the host from before the first change on."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from itertools import pairwise
from typing import Any

from cryptography import x509

from hubhost.errors import Problem, Problems
from hubhost.hostfile import SERVICES_GROUP, HostFile
from hubhost.isolation import HUB_PORT, PROXY_PORT
from hubhost.logs import KEEP_LOG
from hubhost.paths import MIGRATION, SECRETS, TLS, UNITS
from hubhost.preflight import HostReport
from hubhost.secrets import MAX_TOKEN
from hubhost.service import DATABASE_NAME, HUB_NAME, PROXY_NAME, ROLE_LABEL
from hubhost.services import DATABASE_VOLUME
from hubhost.settings import HOME, Settings
from hubhost.templates import render

SERVICES = (DATABASE_NAME, PROXY_NAME, HUB_NAME)
"""The services of the reference configuration, in the order that they start in."""

SUFFIX = "-before-migration"
"""What the old containers' names end in, once their names are ours."""

STRONG_LENGTH, STRONG_CHARACTERS = 32, 8
"""A token that is kept: 128 bits in hex have 32 characters; eight different ones or more."""

MEANT = "or, if that is meant, say DIFFERENT=1"


@dataclass(frozen=True)
class Token:
    """A service's token as the host tells of it, without telling it."""

    service: str
    length: int
    characters: int

    @property
    def kept(self) -> bool:
        """Whether JupyterHub 6 takes it, and nobody guesses it."""
        strong = self.length >= STRONG_LENGTH and self.characters >= STRONG_CHARACTERS
        return strong and self.length <= MAX_TOKEN


@dataclass(frozen=True)
class Container:
    """A container as Docker tells of it; of its environment the names only."""

    id: str
    name: str
    image: str
    running: bool
    restart: str
    labels: dict[str, str]
    networks: dict[str, dict[str, Any]]
    ports: dict[str, list[dict[str, str]] | None]
    volumes: tuple[str, ...]
    variables: frozenset[str]
    user: str = ""

    @classmethod
    def of(cls, told: dict[str, Any]) -> Container:
        return cls(
            id=told["id"],
            name=told["name"].removeprefix("/"),
            image=told["image"],
            running=told["running"],
            restart=told["restart"] or "no",
            labels=told["labels"] or {},
            networks=told["networks"] or {},
            ports=told["ports"] or {},
            volumes=tuple(m["Name"] for m in told["mounts"] or () if m.get("Name")),
            variables=frozenset(told["variables"].split()),
            user=told["user"],
        )

    @property
    def service(self) -> str:
        return self.labels.get("com.docker.compose.service", "")

    @property
    def project(self) -> str:
        return self.labels.get("com.docker.compose.project", "")

    @property
    def is_session(self) -> bool:
        """JupyterHub tells each server whose it is."""
        return "JUPYTERHUB_USER" in self.variables and ROLE_LABEL not in self.labels


@dataclass(frozen=True)
class Look:
    """All that one look at a host finds. `state`: "", "begun" or "done", of a migration."""

    state: str
    containers: tuple[Container, ...]
    networks: dict[str, dict[str, Any]]
    rules: tuple[str, ...]
    tokens: tuple[Token, ...]
    origins: tuple[str, ...]
    notebook: str
    notebook_id: str
    base_url: str
    tls_key: str
    tls_certificate: str
    certificate: str
    saved_rules: tuple[str, ...]
    changed: tuple[str, ...]
    our_sessions: int

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Look:
        """Of lines `key value`, as the fact prints them."""
        values: dict[str, list[str]] = {}
        for line in lines:
            key, _, value = line.partition(" ")
            values.setdefault(key, []).append(value)

        def one(key: str) -> str:
            return values.get(key, [""])[0]

        arguments = one("proxy_arguments").replace("=", " ").split()

        def after(option: str) -> str:
            found = [b for a, b in pairwise(arguments) if a == option]
            return found[0] if found else ""

        networks = [json.loads(line) for line in values.get("network", ())]
        tokens = (line.split(" ") for line in values.get("token", ()))
        origins = (part.strip().rstrip("/") for part in one("origins").split(";"))
        return cls(
            state=one("state"),
            containers=tuple(Container.of(json.loads(v)) for v in values.get("container", ())),
            networks={network["Name"]: network for network in networks},
            rules=tuple(rule for rule in values.get("rule", ()) if rule.startswith("-A ")),
            tokens=tuple(Token(name, int(n), int(c)) for name, n, c in tokens),
            origins=tuple(filter(None, origins)),
            notebook=one("notebook"),
            notebook_id=one("notebook_id"),
            base_url=one("base_url"),
            tls_key=after("--ssl-key"),
            tls_certificate=after("--ssl-cert"),
            certificate="\n".join(values.get("certificate", ())),
            saved_rules=tuple(values.get("saved_rules", ())),
            changed=tuple(one("changed").split()),
            our_sessions=int(one("our_sessions") or 0),
        )


@dataclass(frozen=True)
class Project:
    """A compose project of the reference configuration's shape."""

    name: str
    folder: str
    services: tuple[Container, ...]
    network: dict[str, Any]
    sessions: tuple[Container, ...]
    rules: tuple[tuple[int, str], ...]
    look: Look

    @property
    def public_ports(self) -> set[int]:
        """Those of the host that lead to the proxy."""
        return published(self.services, f"{PROXY_PORT}/tcp")

    def __str__(self) -> str:
        return f"{self.name} in {self.folder or 'an unknown folder'}"


def published(containers: Iterable[Container], port: str | None = None) -> set[int]:
    """The host's ports by which some containers are reached; `port`, as Docker writes it: that."""
    return {
        int(binding["HostPort"])
        for one in containers
        for inside, bindings in one.ports.items()
        for binding in bindings or ()
        if binding["HostPort"] and port in (None, inside)
    }


def project(look: Look) -> Project:
    """The project to move over from.

    Raises:
        Problems: there is none, more than one, one of another shape, or a hub of ours beside it.
    """
    found: dict[str, dict[str, Container]] = {}
    for one in look.containers:
        if one.service in SERVICES and one.project:
            found.setdefault(one.project, {})[one.service] = one
    ours = any(one.labels.get(ROLE_LABEL) == "service" for one in look.containers)
    if not found:
        message = "no compose project with the services " + ", ".join(SERVICES)
        remedy = "start it there (`docker compose up --detach`), or make deploy, which needs none"
        raise Problems([Problem("migrate", message, remedy)])
    names = " and ".join(sorted(found))
    if ours:
        message = f"a hub of ours and the project {names} are both there"
        raise Problems([Problem("migrate", message, "remove one of them")])
    if len(found) > 1:
        raise Problems([Problem("migrate", f"{names} both look like it", "remove one of them")])
    (name, parts), *_ = found.items()
    if missing := [service for service in SERVICES if service not in parts]:
        message = f"the project {name} has no container of {', '.join(missing)}"
        remedy = "start it whole (`docker compose up --detach`), or take it down and make deploy"
        raise Problems([Problem("migrate", message, remedy)])
    services = tuple(parts[service] for service in SERVICES)
    shared = [n for n in services[0].networks if all(n in s.networks for s in services)]
    bridges = [n for n in shared if look.networks.get(n, {}).get("Driver") == "bridge"]
    if not bridges:
        message = f"the services of {name} share no bridge network"
        raise Problems([Problem("migrate", message, "take the project down, and make deploy")])
    network = look.networks[bridges[0]]
    others = [c for c in look.containers if bridges[0] in c.networks and c not in services]
    problems = [
        Problem(
            "migrate",
            f"{other.name} is on the network {bridges[0]} too, and is no session",
            "stop it and disconnect it, and list its address in `backends` to have it back there",
        )
        for other in others
        if not other.is_session
    ]
    if any(DATABASE_VOLUME in one.volumes for one in services):
        message = f"the project {name} keeps data in a volume that is called {DATABASE_VOLUME}"
        remedy = "give it another (copy its content): it is the name of ours"
        problems.append(Problem("migrate", message, remedy))
    if problems:
        raise Problems(problems)
    return Project(
        name=name,
        folder=services[0].labels.get("com.docker.compose.project.working_dir", ""),
        services=services,
        network=network,
        sessions=tuple(others),
        rules=tuple(_rules_for(network, look.rules)),
        look=look,
    )


def _rules_for(network: dict[str, Any], rules: Iterable[str]) -> Iterable[tuple[int, str]]:
    """The rules of DOCKER-USER that name the network, by addresses or by bridge, with their place.

    They count from 1, as iptables does, without a jump of ours.
    """
    subnets = [IPv4Network(c["Subnet"]) for c in _ipam(network) if ":" not in c["Subnet"]]
    bridge = _bridge(network)
    own = [rule for rule in rules if "JHUB-" not in rule]
    for place, rule in enumerate(own, 1):
        words = shlex.split(rule)
        for option, value in pairwise(words):
            inside = option in ("-s", "-d") and any(
                IPv4Network(value, strict=False).subnet_of(subnet) for subnet in subnets
            )
            if inside or (option in ("-i", "-o") and value == bridge):
                yield place, rule.removeprefix("-A DOCKER-USER ")
                break


def _bridge(network: dict[str, Any]) -> str:
    """The network's device on the host."""
    given = (network.get("Options") or {}).get("com.docker.network.bridge.name")
    return str(given or f"br-{network['Id'][:12]}")


def _ipam(network: dict[str, Any]) -> list[dict[str, Any]]:
    return (network.get("IPAM") or {}).get("Config") or []


def differences(found: Project, settings: Settings) -> list[Problem]:
    """What the project has and the settings have not: integrators or browsers would notice."""
    look, name = found.look, found.name
    problems = []

    def differs(setting: str, message: str, value: object) -> None:
        remedy = f"set {setting} = {json.dumps(value)} (make env-import does, of its .env), {MEANT}"
        problems.append(Problem(setting, message, remedy))

    if found.network["Name"] != settings.network_name:
        message = f"{settings.network_name} is not the project's: {found.network['Name']}"
        differs("network_name", message, found.network["Name"])
    if found.public_ports and settings.public_port not in found.public_ports:
        port = min(found.public_ports)
        differs("public_port", f"{settings.public_port} is not the project's: {port}", port)
    if look.base_url and look.base_url != settings.base_url:
        message = f"{settings.base_url} is not the project's: {look.base_url}"
        differs("base_url", message, look.base_url)
    services = [token.service for token in look.tokens]
    if lost := [service for service in services if service not in settings.service_admins]:
        wanted = list(dict.fromkeys([*settings.service_admins, *services]))
        differs("service_admins", f"{', '.join(lost)} of {name} would lose access", wanted)
    ours = list(map(str, settings.access_control_origins))
    if lost := [origin for origin in look.origins if origin not in ours]:
        message = f"{', '.join(lost)} could no longer embed sessions"
        differs("access_control_origins", message, [*ours, *lost])
    given = settings.tls_certificate_file or settings.tls_managed_on_host
    if look.certificate and not given and (issuer := _issuer(look.certificate)):
        remedy = f"set tls_managed_on_host = True in {HOME} to take it over, {MEANT}"
        message = f"the project's is of {issuer}, ours would be self-signed"
        problems.append(Problem("tls_certificate_file", message, remedy))
    return problems


def _issuer(certificate: str) -> str:
    """Who signed a certificate (PEM); empty where it did itself."""
    read = x509.load_pem_x509_certificate(certificate.encode())
    return "" if read.issuer == read.subject else read.issuer.rfc4514_string()


def told(found: Project, settings: Settings, deadline: int) -> list[str]:
    """What a person should know before it is done, a line each."""
    look = found.look
    volumes = sorted({volume for one in found.services for volume in one.volumes})
    lines = [f"found the project {found}, network {found.network['Name']}"]
    if found.sessions:
        names = ", ".join(one.user or one.name for one in found.sessions)
        when = f"within {deadline} s" if deadline else "at once (DEADLINE=seconds gives them time)"
        lines.append(f"sessions that run end {when}, and what they hold is lost: {names}")
    lines.append(
        "its containers stop, stay, and are called NAME" + SUFFIX + "; its database stays in "
        f"{', '.join(volumes) or 'its container'}; it is not taken over: users are of sessions"
    )
    if found.rules:
        lines.append(f"rules of DOCKER-USER that go: {'; '.join(rule for _, rule in found.rules)}")
    lines += [f"rules may come back by {file}: take them out there" for file in look.saved_rules]
    ours = settings.service_admins
    if kept := [one.service for one in look.tokens if one.kept and one.service in ours]:
        lines.append(f"service tokens that stay as they are: {_list(kept)}")
    if changed := changed_tokens(found, settings):
        lines.append(f"service tokens that are made anew, too weak or long: {_list(changed)}")
    if lost := [one.service for one in look.tokens if one.service not in ours]:
        lines.append(f"services that lose access: {_list(lost)}")
    if other := sorted(published(found.services) - found.public_ports):
        lines.append(f"ports of the host that are no longer published: {_list(other)}")
    if settings.tls_managed_on_host and look.tls_certificate:
        lines.append("its certificate is taken over")
    elif not settings.tls_certificate_file:
        lines.append("a new self-signed certificate is made: give it to who verifies the old one")
    return [*lines, "`make migrate UNDO=1` brings it back"]


def _list(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def changed_tokens(found: Project, settings: Settings) -> tuple[str, ...]:
    """Services that get a new token."""
    weak = [token.service for token in found.look.tokens if not token.kept]
    return tuple(service for service in weak if service in settings.service_admins)


def deadline(text: str) -> int:
    """DEADLINE in seconds; none: 0.

    Raises:
        Problems: it is no number.
    """
    if text and not text.isdecimal():
        message = f"{text!r} is no number of seconds"
        raise Problems([Problem("DEADLINE", message, "say how long running sessions may go on")])
    return int(text or 0)


def without(report: HostReport, look: Look) -> HostReport:
    """What preflight will find once the project is gone."""
    leaving = [one for one in look.containers if one.service in SERVICES or one.is_session]
    names, ports = {one.name for one in leaving}, published(leaving)
    networks = {name for one in leaving for name in one.networks}
    bridges = {_bridge(look.networks[name]) for name in networks & look.networks.keys()}
    return replace(
        report,
        routes=tuple(route for route in report.routes if route.device not in bridges),
        listeners=tuple(one for one in report.listeners if one.port not in ports),
        taken_names=tuple(name for name in report.taken_names if name not in names),
        foreign_containers=tuple(n for n in report.foreign_containers if n not in names),
    )


def scripts(found: Project, settings: Settings) -> tuple[HostFile, ...]:
    """The way there and the way back, for the host. The way back first: it must not be missing."""
    network = found.network["Name"]
    values = {
        "project": found.name,
        "network": shlex.quote(network),
        "network_options": shlex.join(network_options(found.network)),
        "containers": [
            {
                "id": one.id,
                "name": shlex.quote(one.name),
                "new_name": shlex.quote(one.name + SUFFIX),
                "service": one.service,
                "restart": one.restart,
                "running": one.running,
                "connect": shlex.join(_connect(one, network)),
            }
            for one in found.services
        ],
        "hub": next(one.id for one in found.services if one.service == HUB_NAME),
        "proxy": next(one.id for one in found.services if one.service == PROXY_NAME),
        "rules": [
            {"place": place, "rule": shlex.join(shlex.split(rule)), "listed": shlex.quote(rule)}
            for place, rule in found.rules
        ],
        "kept": [token.service for token in found.look.tokens if token.kept],
        "changed": changed_tokens(found, settings),
        "tls": settings.tls_managed_on_host and found.look.tls_certificate != "",
        "tls_key": shlex.quote(found.look.tls_key),
        "tls_certificate": shlex.quote(found.look.tls_certificate),
        "notebook": shlex.quote(found.look.notebook),
        "notebook_id": found.look.notebook_id,
        "hub_runs": all(one.running for one in found.services),
        "hub_service": HUB_NAME,
        "hub_port": HUB_PORT,
        "base_url": found.look.base_url or "/",
        "services_group": SERVICES_GROUP,
        "migration": MIGRATION,
        "role_label": ROLE_LABEL,
        "secrets": SECRETS,
        "tls_folder": TLS,
        "units": UNITS,
        "keep_log": KEEP_LOG,
    }
    return tuple(
        HostFile(MIGRATION / name, render(f"migrate/{name}", **values), 0o700)
        for name in ("undo", "take-over")
    )


def network_options(network: dict[str, Any]) -> list[str]:
    """Arguments for `docker network create` that make a network as `docker network inspect` tells.

    With its labels, by which Compose knows its own.
    """
    options = ["--driver", network["Driver"]]
    options += [
        f"--{name}"
        for key, name in (("Internal", "internal"), ("EnableIPv6", "ipv6"))
        if network.get(key)
    ]
    for config in _ipam(network):
        for key, name in (("Subnet", "subnet"), ("IPRange", "ip-range"), ("Gateway", "gateway")):
            if config.get(key):
                options += [f"--{name}", config[key]]
    for kind, values in (("opt", network.get("Options")), ("label", network.get("Labels"))):
        for key, value in (values or {}).items():
            options += [f"--{kind}", f"{key}={value}"]
    return [*options, network["Name"]]


def _connect(one: Container, network: str) -> list[str]:
    """Arguments for `docker network connect`: the fixed address and the names of before."""
    endpoint = one.networks[network]
    options = []
    if address := (endpoint.get("IPAMConfig") or {}).get("IPv4Address"):
        options += ["--ip", address]
    for alias in endpoint.get("Aliases") or ():
        if alias != one.id[:12]:
            options += ["--alias", alias]
    return [*options, network, one.id]
