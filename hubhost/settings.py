"""The settings of one host: typed, validated as a whole, before anything on the host is touched."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from hubhost.agekeys import recipient_problem
from hubhost.destination import Destination
from hubhost.errors import Problem, Problems
from hubhost.paths import BACKUPS, STATE

HOME = "group_data/all.py"
"""Where a person changes a setting: every remedy names it."""

SERVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of services: neither ``:`` nor ``;``, which separate them in JPY_SERVICE_ADMINS."""

OUR_SERVICES = ("culler", "routes")
"""Services that the hub runs itself."""

IMAGE_REFERENCE = re.compile(
    r"(?:[a-z0-9.-]+(?::[0-9]+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
"""An image reference, after github.com/distribution/reference."""


URL_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/@%\[\]+-]+")
"""What a URL may be made of here: nothing that ends a shell's word or a header's source."""


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        well_formed = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        well_formed = False
    if not well_formed or not URL_CHARACTERS.fullmatch(value):
        raise ValueError("must be http or https://HOST[:PORT]")
    if parts.scheme not in ("http", "https"):
        raise ValueError("must be http or https://HOST[:PORT]")
    return value.rstrip("/")


def _origin(value: str) -> str:
    value = _url(value)
    parts = urlsplit(value)
    if parts.path or parts.username:
        raise ValueError("an origin is scheme, host and port only, such as https://lms.example.org")
    return value


def _public_url(value: str) -> str:
    value = _origin(value)
    if urlsplit(value).scheme != "https":
        raise ValueError("must be https://HOST[:PORT]: the proxy speaks TLS only")
    return value


def _base_url(value: str) -> str:
    if not re.fullmatch(r"/|(?:/[A-Za-z0-9._~-]+)+/?", value):
        raise ValueError('must be "/" or a path such as "/jupyter"')
    return value.rstrip("/") + "/"


def _image(value: str) -> str:
    if not IMAGE_REFERENCE.fullmatch(value):
        raise ValueError("must be an image reference such as registry.example.org/notebook:1.2")
    return value


def _service_name(value: str) -> str:
    if not SERVICE_NAME.fullmatch(value):
        raise ValueError("a service's name has letters, digits, '.', '_' and '-' only")
    if value in OUR_SERVICES:
        raise ValueError("is the name of a service of the hub's own")
    return value


def _database_identifier(value: str) -> str:
    if value in ("postgres", "template0", "template1"):
        raise ValueError("is Postgres's own")
    return value


def _outbound(value: str) -> str:
    Destination.parse(value)
    return value


def _source(value: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value)
    except ValueError:
        raise ValueError("must be a network such as 198.51.100.0/24 or 2001:db8::/32") from None


def _address(value: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(value)
    except ValueError:
        raise ValueError("must be an IPv4 or IPv6 address") from None


def _recipient(value: str) -> str:
    problem = recipient_problem(value)
    if problem:
        raise ValueError(problem)
    return value.strip()


def _host_folder(value: str) -> str:
    if not re.fullmatch(r"(?:/[A-Za-z0-9._-]+)+", value) or "/.." in value:
        raise ValueError("must be an absolute path of letters, digits, '._-'")
    if PurePosixPath(value).is_relative_to(STATE) and value != str(BACKUPS):
        raise ValueError(f"must not be below {STATE}, but for {BACKUPS}")
    return value


def _existing_file(value: Path) -> Path:
    if not value.is_file():
        raise ValueError("must be a file on the controller")
    return value


Url = Annotated[str, AfterValidator(_url)]
Origin = Annotated[str, AfterValidator(_origin)]
ImageReference = Annotated[str, AfterValidator(_image)]
Outbound = Annotated[str, AfterValidator(_outbound)]
Source = Annotated[IPv4Network | IPv6Network, BeforeValidator(_source)]
Recipient = Annotated[str, AfterValidator(_recipient)]
HostFolderPath = Annotated[str, AfterValidator(_host_folder)]
Address = Annotated[IPv4Address | IPv6Address, BeforeValidator(_address)]
ExistingFile = Annotated[Path, AfterValidator(_existing_file)]
Identifier = Annotated[
    str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$"), AfterValidator(_database_identifier)
]
DockerName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[int, Field(ge=10)]
Megabytes = Annotated[int, Field(ge=64)]


class Settings(BaseModel):
    """Every setting; group_data/all.py holds the default and the explanation of each."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    public_url: Annotated[str, AfterValidator(_public_url)]
    base_url: Annotated[str, AfterValidator(_base_url)]
    public_bind: IPv4Address
    public_bind_ipv6: IPv6Address | None
    public_port: Port
    public_sources: tuple[Source, ...]
    api_sources: tuple[Source, ...]
    trusted_proxies: tuple[Address, ...]
    access_control_origins: tuple[Origin, ...]

    service_admins: Annotated[
        tuple[Annotated[str, AfterValidator(_service_name)], ...], Field(min_length=1)
    ]

    network_name: DockerName
    network_bridge: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,14}$")]
    network_subnet: IPv4Network
    network_gateway: IPv4Address
    session_range: IPv4Network
    hub_ip: IPv4Address
    database_ip: IPv4Address
    proxy_ip: IPv4Address
    client_networks: tuple[IPv4Network, ...]
    backends: tuple[IPv4Address, ...]
    service_outbound: tuple[Literal["hub", "proxy", "database"], ...]

    notebook_image: ImageReference | None
    notebook_profile: Literal["slim", "full"]
    session_memory_mb: Annotated[int, Field(ge=256)]
    session_home_mb: Annotated[int, Field(ge=16)]
    session_cpus: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    session_pids: Annotated[int, Field(ge=64)]
    session_outbound: tuple[Outbound, ...]
    max_sessions: Annotated[int, Field(ge=1, le=10000)]
    session_start_timeout_seconds: Seconds
    max_starts: Annotated[int, Field(ge=1, le=1000)]
    max_waiting_starts: Annotated[int, Field(ge=0, le=10000)]
    memory_headroom_mb: Annotated[int, Field(ge=0)]
    cull_idle_seconds: Seconds
    cull_max_age_seconds: Seconds
    activity_seconds: Seconds
    ended_text_en: str | None
    ended_text_de: str | None
    ended_link: Url | None

    archive: bool
    archive_keep_days: Annotated[int, Field(ge=1, le=3650)]
    archive_max_mb: Annotated[int, Field(ge=1, le=500)]
    archive_total_mb: Annotated[int, Field(ge=1)]

    backup_recipients: tuple[Recipient, ...]
    backup_folder: HostFolderPath
    backup_every_hours: Literal[1, 2, 3, 4, 6, 8, 12, 24]
    backup_keep: Annotated[int, Field(ge=1, le=1000)]

    tls_key_file: ExistingFile | None
    tls_certificate_file: ExistingFile | None
    tls_ca_file: ExistingFile | None
    tls_managed_on_host: bool

    database_name: Identifier
    database_user: Identifier
    hub_memory_mb: Megabytes
    database_memory_mb: Megabytes
    proxy_memory_mb: Megabytes
    publish_hub: IPv4Address | None
    publish_proxy_api: IPv4Address | None
    publish_database: IPv4Address | None
    debug: bool
    log_days: Annotated[int, Field(ge=1, le=365)]

    images_epoch: Annotated[int, Field(ge=1)]
    releases_kept: Annotated[int, Field(ge=1, le=50)]
    base_image: ImageReference | None
    debian_mirror: Url
    debian_security_mirror: Url
    pypi_index: Url
    npm_registry: Url
    extra_ca_certificates: tuple[ExistingFile, ...]

    allow_untested_os: bool

    @property
    def static_ips(self) -> dict[str, IPv4Address]:
        """The fixed address of each service, by the name of its setting."""
        return {
            "hub_ip": self.hub_ip,
            "database_ip": self.database_ip,
            "proxy_ip": self.proxy_ip,
        }

    @property
    def outbound(self) -> tuple[Destination, ...]:
        """What sessions may reach outside the network."""
        return tuple(map(Destination.parse, self.session_outbound))

    @property
    def session_hosts(self) -> dict[str, IPv4Address]:
        """Names that sessions have to resolve by /etc/hosts, for they have no DNS."""
        return {d.name: d.address for d in self.outbound if d.name}

    @property
    def public_host(self) -> str:
        """The name or address in public_url: what the certificate must be valid for."""
        return urlsplit(self.public_url).hostname or ""

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        problems = [*self._network_problems(), *self._other_problems()]
        if problems:
            raise Problems(problems)
        return self

    def _network_problems(self) -> list[Problem]:
        subnet, sessions = self.network_subnet, self.session_range
        problems: list[Problem] = []

        def wrong(setting: str, message: str, remedy: str) -> None:
            problems.append(Problem(setting, message, f"{remedy} in {HOME}"))

        if not sessions.subnet_of(subnet):
            wrong("session_range", f"{sessions} is not part of {subnet}", "choose a part of it")
        if sessions.num_addresses < self.max_sessions:
            room = f"{sessions} has {sessions.num_addresses} addresses"
            message = f"{room}, fewer than max_sessions = {self.max_sessions}"
            wrong("session_range", message, "choose a larger part of the subnet")
        for setting, message in self._address_problems():
            wrong(setting, message, f"choose an address of {subnet} outside {sessions}")
        for destination in self.outbound:
            if destination.network.overlaps(subnet):
                wrong(
                    "session_outbound",
                    f"{destination.network} overlaps the hub's own network {subnet}",
                    "name networks outside it only",
                )
        for network in self.client_networks:
            if network.overlaps(subnet):
                wrong(
                    "network_subnet",
                    f"{subnet} overlaps {network} of client_networks",
                    "choose a private network that nobody uses",
                )
        return problems

    def _address_problems(self) -> Iterator[tuple[str, str]]:
        """(setting, what is wrong with it), for each fixed address of the network."""
        subnet, sessions = self.network_subnet, self.session_range
        ends = (subnet.network_address, subnet.broadcast_address)
        seen: dict[IPv4Address, str] = {}
        for setting, address in (
            ("network_gateway", self.network_gateway),
            *self.static_ips.items(),
            *(("backends", backend) for backend in self.backends),
        ):
            if address not in subnet or address in ends:
                yield setting, f"{address} is not an address of {subnet}"
            elif address in sessions:
                yield setting, f"{address} lies in the session range {sessions}"
            if address in seen:
                yield setting, f"{address} is taken by {seen[address]}"
            seen.setdefault(address, setting)

    def _other_problems(self) -> list[Problem]:
        problems = []
        if (self.tls_key_file is None) != (self.tls_certificate_file is None):
            given, missing = "tls_key_file", "tls_certificate_file"
            if self.tls_key_file is None:
                given, missing = missing, given
            problems.append(
                Problem(missing, f"not set, but {given} is", f"set both or neither in {HOME}")
            )
        if self.tls_ca_file and not self.tls_certificate_file:
            message = "not set, but tls_ca_file is"
            remedy = f"name the certificate and its key in {HOME}"
            problems.append(Problem("tls_certificate_file", message, remedy))
        if self.tls_managed_on_host and self.tls_certificate_file:
            message = "set, and so is tls_certificate_file: a deploy would undo what the host does"
            problems.append(Problem("tls_managed_on_host", message, f"set one of them in {HOME}"))
        if self.session_home_mb >= self.session_memory_mb:
            problems.append(
                Problem(
                    "session_home_mb",
                    f"{self.session_home_mb} leaves nothing of session_memory_mb "
                    f"{self.session_memory_mb}: a session's home lies in its memory",
                    f"choose at most half of it in {HOME}",
                )
            )
        if self.archive_total_mb < self.archive_max_mb:
            problems.append(
                Problem(
                    "archive_total_mb",
                    f"{self.archive_total_mb} is less than archive_max_mb {self.archive_max_mb}:"
                    " not even one session's files would fit",
                    f"choose many times as much in {HOME}",
                )
            )
        if len(set(self.service_admins)) != len(self.service_admins):
            problems.append(
                Problem(
                    "service_admins",
                    f"{', '.join(self.service_admins)} names a service twice",
                    f"name each once in {HOME}",
                )
            )
        if self.cull_idle_seconds <= 2 * self.activity_seconds:
            problems.append(
                Problem(
                    "cull_idle_seconds",
                    f"{self.cull_idle_seconds} is not more than two activity reports "
                    f"(activity_seconds {self.activity_seconds}): active sessions would be culled",
                    f"choose a longer time in {HOME}",
                )
            )
        return problems


def load(data: Mapping[str, Any]) -> Settings:
    """Validate the settings of one host.

    `data` is all that pyinfra knows of the host. What the connection needs (``ssh_*``) and
    pyinfra's own arguments (``_sudo`` …) are not settings and left out.

    Raises:
        Problems: with one line for every setting that is wrong or unknown.
    """
    values = {k: v for k, v in data.items() if not k.startswith(("ssh_", "_"))}
    try:
        return Settings(**values)
    except ValidationError as error:
        # A list whose only entry is bad is then also too short: say the first of it.
        found = error.errors()
        first = {e["loc"][:1]: e for e in reversed(found)}
        errors = [e for e in found if e["type"] != "too_short" or first[e["loc"][:1]] is e]
        problems = [p for e in errors for p in _problems_of(dict(e))]
        raise Problems(problems) from None


def _problems_of(error: dict[str, Any]) -> list[Problem]:
    """Say one of pydantic's errors the way this project says it."""
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, Problems):
        return cause.problems
    setting = str(error["loc"][0])
    kind = error["type"]
    if kind == "extra_forbidden":
        close = difflib.get_close_matches(setting, Settings.model_fields, n=1)
        hint = f"did you mean {close[0]}?" if close else f"the settings are those of {HOME}"
        return [Problem(setting, "no such setting", hint)]
    if kind == "missing":
        return [Problem(setting, "not set", f"set it in {HOME}")]
    message = error["msg"].removeprefix("Value error, ")
    return [Problem(setting, f"{error['input']!r}: {message}", f"change it in {HOME}")]


def unknown_groups(group_data: Path, groups: set[str]) -> list[Problem]:
    """Files in group_data/ that belong to no group of the inventory: pyinfra ignores them."""
    return [
        Problem(
            f"{group_data.name}/{file.name}",
            f"the inventory has no group {file.stem!r}",
            f"rename it to one of: {', '.join(sorted(groups))}",
        )
        for file in sorted(group_data.glob("*.py"))
        if file.stem not in groups
    ]
