"""Facts of Docker, its network and its volumes."""

from __future__ import annotations

import json
from shlex import quote
from typing import Any

from pyinfra.api.facts import FactBase
from typing_extensions import override

from hubhost.paths import DAEMON_JSON
from hubhost.service import ROLE_LABEL

ENGINE_PACKAGE = """
for package in docker.io docker-ce; do
  [ "$(dpkg-query -Wf '${db:Status-Status}' $package 2>/dev/null)" = installed ] \\
    && echo "engine_package $package" && found=$package
done
# A package that is half installed owns its file too: that is no engine of somebody else's.
[ -n "${found:-}" ] || ! path=$(command -v dockerd) || dpkg-query -S "$path" >/dev/null 2>&1 \\
  || echo "engine_package other"
"""

DOCKER_ROOT = """
docker_root=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null)
[ -d "$docker_root" ] || docker_root=/var/lib
"""


class Engine(FactBase[tuple[str, str]]):
    """The package that Docker comes from (empty: there is none), and the Debian version."""

    @override
    def command(self) -> str:
        return f"""
{ENGINE_PACKAGE}
. /etc/os-release; echo "version ${{VERSION_ID:-}}"
"""

    @override
    def process(self, output: list[str]) -> tuple[str, str]:
        found = dict(line.split(" ", 1) for line in output)
        return found.get("engine_package", ""), found["version"]


class EngineIsStale(FactBase[bool]):
    """Whether daemon.json is newer than the running engine, so that a restart is due.

    Or AppArmor's parser is, and the engine does not know of it: it looks once, when it starts.
    """

    default = bool

    @override
    def requires_command(self) -> str:
        return "dockerd"

    @override
    def command(self) -> str:
        return f"""
started=$(date -d "$(systemctl show -P ActiveEnterTimestamp docker)" +%s 2>/dev/null || echo 0)
[ "$(stat -c %Y {quote(str(DAEMON_JSON))} 2>/dev/null || echo 0)" -gt "$started" ] && echo stale
[ -e /sys/kernel/security/apparmor ] \
  && [ "$(stat -c %Z /sbin/apparmor_parser 2>/dev/null || echo 0)" -gt "$started" ] \
  && ! docker info --format '{{{{.SecurityOptions}}}}' | grep -q apparmor && echo stale
true
"""

    @override
    def process(self, output: list[str]) -> bool:
        return "stale" in output


class DockerNetwork(FactBase[dict[str, Any] | None]):
    """A Docker network as `docker network inspect` tells it, with the roles of what is attached.

    Where there is none of that name, the one that we made by another: it is to be replaced.
    """

    @override
    def requires_command(self, network: str) -> str:
        return "docker"

    @override
    def command(self, network: str) -> str:
        return f"""
name={quote(network)}
docker network inspect "$name" >/dev/null 2>&1 \\
  || name=$(docker network ls --filter label={ROLE_LABEL}=network --format '{{{{.Name}}}}' \\
    | head -n 1)
[ -n "$name" ] || exit 0
docker network inspect "$name" --format '{{{{json .}}}}'
docker ps -a --filter network="$name" --format '{{{{.Names}}}} {{{{.Label "{ROLE_LABEL}"}}}}'
"""

    @override
    def process(self, output: list[str]) -> dict[str, Any] | None:
        if not output or not output[0].startswith("{"):
            return None
        attached = dict(line.partition(" ")[::2] for line in output[1:])
        return {**json.loads(output[0]), "attached": attached}


class VolumeAge(FactBase[int | None]):
    """How old a Docker volume is, in days; None: there is none of that name."""

    @override
    def requires_command(self, volume: str) -> str:
        return "docker"

    @override
    def command(self, volume: str) -> str:
        return f"""
made=$(docker volume inspect -f '{{{{.CreatedAt}}}}' {quote(volume)} 2>/dev/null)
[ -z "$made" ] || echo $(( ($(date +%s) - $(date -d "$made" +%s)) / 86400 ))
"""

    @override
    def process(self, output: list[str]) -> int | None:
        return int(output[0]) if output else None
