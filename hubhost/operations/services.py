"""Operations on the services' containers."""

from __future__ import annotations

import shlex

from pyinfra.api.operation import operation
from pyinfra.context import host

from hubhost import facts, logs
from hubhost.operations.base import Commands, script, wait_until
from hubhost.paths import RELEASE_PROGRAM
from hubhost.service import Action, Service, plan


@operation()
def show_logs(request: logs.Request, prefix: str) -> Commands:
    """Print lines of the services' logs; changes nothing."""
    yield script(*request.command(prefix))


@operation()
def serving(services: tuple[Service, ...]) -> Commands:
    """Wait until all services serve, after a boot."""
    if host.get_fact(facts.NotServing, services=services):
        for service in services:
            yield script(
                *wait_until(
                    f"docker exec {service.name} {shlex.join(service.health)} >/dev/null 2>&1",
                    service.name,
                    2 * service.start_timeout,
                    f"does not serve, its last lines are above; `docker logs {service.name}` on the"
                    " host has all",
                )
            )


@operation()
def container(service: Service) -> Commands:
    """Have the service's container run as specified, and wait until it serves."""
    state = host.get_fact(facts.Container, service=service)
    action = plan(service, state)
    if action is Action.NOTHING:
        host.noop(f"{service.name} {action.value}")
        return
    # The program looks once more, under a lock, at what is to be done.
    yield script(f"{RELEASE_PROGRAM} run", stdin=service.definition())
