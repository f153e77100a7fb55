"""Facts of the services' containers, and of sessions."""

from __future__ import annotations

import json
from shlex import quote
from typing import Any

from pyinfra.api.facts import FactBase
from typing_extensions import override

from hubhost.drain import Drain as DrainState
from hubhost.facts.base import Lines, quoted
from hubhost.paths import DRAIN, DRAIN_STATE
from hubhost.service import DIGEST_LABEL, ROLE_LABEL, ContainerState, Service

SESSIONS = f"docker ps -q --filter label={ROLE_LABEL}=session"
"""Shell: the ids of sessions' containers."""


class Drain(FactBase[DrainState | None]):
    """Whether the hub is drained; None: there is none, or it knows nothing of drains."""

    @override
    def command(self) -> str:
        return f"[ -d {DRAIN} ] && echo && cat {DRAIN_STATE} 2>/dev/null; true"

    @override
    def process(self, output: list[str]) -> DrainState | None:
        return DrainState.parse("\n".join(output)) if output else None


class Sessions(FactBase[int]):
    """How many sessions there are."""

    default = int

    @override
    def requires_command(self) -> str:
        return "docker"

    @override
    def command(self) -> str:
        return f"{SESSIONS}; true"

    @override
    def process(self, output: list[str]) -> int:
        return len(output)


class NotServing(Lines):
    """Names of those services that do not serve now."""

    @override
    def command(self, services: tuple[Service, ...]) -> str:
        return "".join(
            f"docker exec {service.name} {quoted(service.health)} >/dev/null 2>&1"
            f" || echo {service.name}\n"
            for service in services
        )


class Container(FactBase[ContainerState]):
    """The state of a service's container, of its image, and of the files mounted into it."""

    default = ContainerState

    @override
    def requires_command(self, service: Service) -> str:
        return "docker"

    @override
    def command(self, service: Service) -> str:
        inspect = (
            f'{{"digest": {{{{json (index .Config.Labels "{DIGEST_LABEL}")}}}}, '
            '"running": {{.State.Running}}, '
            '"health": {{if .State.Health}}{{json .State.Health.Status}}{{else}}""{{end}}}'
        )
        return f"""
docker container inspect -f {quote(inspect)} {quote(service.name)} 2>/dev/null
docker image inspect -f '{{"image_id": {{{{json .Id}}}}}}' {quote(service.image)} 2>/dev/null
echo "{{\\"files_digest\\": \\"$(cat -- {quoted(service.mounted_files)} /dev/null 2>/dev/null \\
  | sha256sum | cut -c1-64)\\"}}"
"""

    @override
    def process(self, output: list[str]) -> ContainerState:
        found: dict[str, Any] = {}
        for line in output:
            if line.strip():  # `docker inspect` prints an empty line for what it does not find
                found.update(json.loads(line))
        if found.get("digest", "") is None:  # a container by that name that is not ours
            found["digest"] = ""
        return ContainerState(**found)
