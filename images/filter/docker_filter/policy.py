"""What the installer tells the filter: one JSON file, and the sessions' seccomp profile."""

import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

CONFIG_FILE = Path("/etc/docker-filter/config.json")
SECCOMP_FILE = Path("/etc/docker-filter/seccomp.json")

Positive = Annotated[int, Field(gt=0)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
HostPath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9/_.-]+$")]


class ConfigError(Exception):
    """The configuration is wrong; the text is one line for a person."""


class Policy(BaseModel):
    """What every session's container is made of. Sizes in MiB; `home_mb` counts into `memory_mb`.

    `hosts` go into a session's /etc/hosts; `resolv_conf` is a path on the host.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    hub_uid: Positive
    images: Annotated[tuple[str, ...], Field(min_length=1)]
    name_prefix: Word
    network: Word
    runtime: Word
    resolv_conf: HostPath
    hosts: dict[Word, IPv4Address]
    max_sessions: Positive
    memory_mb: Positive
    home_mb: Positive
    cpus: Annotated[float, Field(gt=0)]
    pids: Positive

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


def load_seccomp(file: Path = SECCOMP_FILE) -> str:
    """The profile as Docker's API takes it; raises ConfigError when it is none.

    An empty profile would be valid JSON and confine nobody.
    """
    try:
        profile = json.loads(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{file}: not JSON: {error}") from None
    if not isinstance(profile, dict) or profile.get("defaultAction") != "SCMP_ACT_ERRNO":
        raise ConfigError(f"{file}: not a seccomp profile that denies by default")
    return json.dumps(profile, separators=(",", ":"))
