"""`make migrate`: move over from a compose project of the reference configuration; UNDO=1: back."""

import os
from pathlib import Path

import click
from pyinfra import local, logger
from pyinfra.api.exceptions import DeployError
from pyinfra.context import host
from pyinfra.operations import python

from hubhost import facts, operations
from hubhost.errors import Problem, Problems
from hubhost.migrate import changed_tokens, deadline, differences, project, scripts, told
from roles.docker import TOOLS
from roles.images import images
from roles.preflight import LEAVING, load_settings


def tell(services: tuple[str, ...]) -> None:
    """A person carries them to the integrators."""
    for service, token in host.get_fact(facts.ServiceTokens, services=services).items():
        click.echo(f"{host.name}: the new token of {service}: {token}", err=True)


def move() -> None:
    """All of it, or what a run that was cut short has left to do."""
    if look.state == "done":
        deploy()
        return
    LEAVING[host.name] = look
    operations.exclusive(name=operations.LOCKING)
    changed = look.changed if look.state else plan()
    # Before the project stops, or nobody had a session for as long as a build takes.
    operations.engine(name="Install the tools that build images", tools=TOOLS)
    images(settings)
    operations.take_over(name="Take the compose project's place", deadline=seconds)
    deploy()
    if changed:
        python.call(name="Tell the new tokens", function=tell, services=changed)


def deploy() -> None:
    local.include(str(Path(__file__).parents[1] / "deploy.py"))


def back() -> None:
    """To what there was."""
    if not look.state:
        remedy = "it is for a host that make migrate was at"
        raise Problems([Problem("UNDO", f"nothing to undo on {host.name}", remedy)])
    logger.warning("%s: sessions that run and end: %d", host.name, look.our_sessions)
    operations.exclusive(name=operations.LOCKING)
    operations.bring_back(name="Bring the compose project back")


def plan() -> tuple[str, ...]:
    """Say what is there and what becomes of it, and have the scripts for both ways on the host."""
    found = project(look)
    problems = differences(found, settings)
    if problems and not os.environ.get("DIFFERENT"):
        raise Problems(problems)
    for line in told(found, settings, seconds):
        logger.warning("%s: %s", host.name, line)
    operations.file_tree(name="Write down the way back", files=scripts(found, settings))
    return changed_tokens(found, settings)


settings = load_settings()
look = host.get_fact(facts.Migration)
try:
    seconds = deadline(os.environ.get("DEADLINE", ""))
    if os.environ.get("UNDO"):
        back()
    else:
        move()
except Problems as error:
    raise DeployError(str(error)) from None
