"""What the installer tells the hub: one JSON file, and one file for each secret."""

import re
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyAddress,
    IPvAnyNetwork,
    ValidationError,
)

CONFIG_FILE = Path("/etc/jupyterhub/config.json")
SECRETS_FOLDER = Path("/run/secrets")

# The names of the hub's own services; a service of an integrator cannot have them.
CULLER = "culler"
ROUTES = "routes"

_SERVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# JupyterHub: orm.APIToken.min_length, utils._TOKEN_MAX_LEN ("Cannot create tokens larger than 64").
_TOKEN_LENGTH = range(8, 64 + 1)


class ConfigError(Exception):
    """The configuration or a secret is wrong; the text is one line for a person."""


def _with_slashes(path: str) -> str:
    return "/" + "".join(f"{part}/" for part in path.split("/") if part)


Positive = Annotated[int, Field(gt=0)]
BaseUrl = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/-]*$"), AfterValidator(_with_slashes)]
Origin = Annotated[str, Field(pattern=r"^https?://[^/\s;,'\"]+$")]
ContainerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Database(_Model):
    host: str
    port: Positive
    name: str
    user: str


class Session(_Model):
    """What the hub chooses of a session, and tells it: its limits are the Docker filter's business.

    Size in MiB.
    """

    image: str
    network: str
    name_prefix: ContainerName
    memory_mb: Positive
    cpus: Annotated[float, Field(gt=0)]
    start_timeout_seconds: Positive


class Admission(_Model):
    """How many sessions start at once, and wait to; memory in MiB that has to stay free."""

    starts: Positive
    waiting: Annotated[int, Field(ge=0)]
    headroom_mb: Annotated[int, Field(ge=0)]


class EndedPage(_Model):
    """What people see instead of a session that has ended; None: our own words, no link."""

    text_en: str | None = None
    text_de: str | None = None
    link: Annotated[str, Field(pattern=r"^https?://")] | None = None


class Archive(_Model):
    """Whether homes of ended sessions are kept, how long, and how much: of a session, of all."""

    on: bool = False
    keep_days: Positive = 30
    max_mb: Positive = 64
    total_mb: Positive = 10240


class Cull(_Model):
    idle_seconds: Positive
    max_age_seconds: Positive
    every_seconds: Positive


class HubConfig(_Model):
    """The hub's settings, validated; see images/hub/README.md for an example."""

    public_url: Annotated[str, Field(pattern=r"^https?://[^/\s]+$")]
    base_url: BaseUrl
    hub_ip: str
    hub_port: Positive
    proxy_api_url: Annotated[str, Field(pattern=r"^http://[^/\s]+$")]
    database: Database
    api_sources: tuple[IPvAnyNetwork, ...] = ()
    trusted_proxies: tuple[IPvAnyAddress, ...] = ()
    internal_networks: tuple[IPvAnyNetwork, ...] = ()
    access_control_origins: tuple[Origin, ...] = ()
    debug: bool = False
    session: Session
    admission: Admission
    ended_page: EndedPage = EndedPage()
    archive: Archive = Archive()
    cull: Cull
    activity_seconds: Positive

    @property
    def hub_api_url(self) -> str:
        return f"http://{self.hub_ip}:{self.hub_port}{self.base_url}hub/api"

    @property
    def proxy_ip(self) -> str:
        return urlsplit(self.proxy_api_url).hostname or ""

    @classmethod
    def load(cls, file: Path = CONFIG_FILE) -> Self:
        """Read and validate `file`; raises ConfigError, one line that names every wrong value."""
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}") from None
        except ValidationError as error:
            wrong = (
                f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()
            )
            raise ConfigError(f"{file}: {'; '.join(wrong)}") from None


class Secrets(_Model):
    """The secrets; `repr` shows none of them."""

    database_password: str = Field(repr=False)
    proxy_token: str = Field(repr=False)
    cookie_secret: bytes = Field(repr=False)
    service_tokens: dict[str, str] = Field(repr=False)
    culler_token: str = Field(repr=False)
    routes_token: str = Field(repr=False)

    @property
    def all_service_tokens(self) -> frozenset[str]:
        """Every token that a service may use: what else is in the database has been revoked."""
        return frozenset({*self.service_tokens.values(), self.culler_token, self.routes_token})

    @classmethod
    def load(cls, folder: Path = SECRETS_FOLDER) -> Self:
        """Read one file per secret; raises ConfigError, which names the file, never its content."""
        try:
            cookie_secret = bytes.fromhex(read_secret(folder / "cookie_secret"))
        except ValueError:
            raise ConfigError(f"{folder / 'cookie_secret'}: not a hexadecimal number") from None
        return cls(
            database_password=read_secret(folder / "database_password"),
            proxy_token=read_secret(folder / "proxy_token"),
            cookie_secret=cookie_secret,
            service_tokens=_service_tokens(folder / "service_tokens"),
            culler_token=_token(folder / "culler_token", read_secret(folder / "culler_token")),
            routes_token=_token(folder / "routes_token", read_secret(folder / "routes_token")),
        )


def read_secret(file: Path) -> str:
    """The file's text without surrounding space; raises ConfigError when there is none."""
    try:
        text = file.read_text("utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    if not text:
        raise ConfigError(f"{file}: is empty")
    return text


def _token(file: Path, token: str) -> str:
    if len(token) not in _TOKEN_LENGTH:
        raise ConfigError(
            f"{file}: a token has {len(token)} characters; JupyterHub takes"
            f" {_TOKEN_LENGTH[0]} to {_TOKEN_LENGTH[-1]} (openssl rand -hex 32 makes one)"
        )
    return token


def _service_tokens(file: Path) -> dict[str, str]:
    """`name:token;name2:token2` as a mapping."""
    tokens: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in read_secret(file).split(";"))):
        name, separator, token = entry.partition(":")
        if not separator or not _SERVICE_NAME.fullmatch(name):
            raise ConfigError(f"{file}: an entry is not name:token (letters, digits, . _ -)")
        if name in tokens or name in (CULLER, ROUTES):
            raise ConfigError(f"{file}: the service name {name} is taken")
        if token in tokens.values():
            raise ConfigError(f"{file}: the services have to have different tokens, see {name}")
        tokens[name] = _token(file, token)
    return tokens
