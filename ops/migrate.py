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
from hubhost.migrate import deadline, differences, project, scripts, told
from roles.docker import TOOLS
from roles.images import images
from roles.preflight import LEAVING, load_settings


def tell(services: tuple[str, ...]) -> None:
    """A person carries them to the integrators."""
    for service, token in host.get_fact(facts.ServiceTokens, services=services).items():
        click.echo(f"{host.name}: the new token of {service}: {token}", err=True)


def look_and_plan() -> None:
    """Say what is there and what becomes of it, and have the scripts for both ways on the host."""
    found = project(look)
    settings = load_settings()
    problems = differences(found, settings)
    if problems and not os.environ.get("DIFFERENT"):
        raise Problems(problems)
    for line in told(found, settings, seconds):
        logger.warning("%s: %s", host.name, line)
    LEAVING[host.name] = found
    operations.file_tree(name="Write down the way back", files=scripts(found, settings))
    # Before the project stops, or nobody would have a session for as long as a build takes.
    operations.engine(name="Install the tools that build images", tools=TOOLS)
    images(settings)


look = host.get_fact(facts.Migration)
try:
    seconds = deadline(os.environ.get("DEADLINE", ""))
    if os.environ.get("UNDO"):
        if not look.state:
            remedy = "it is for a host on which make migrate has run"
            raise Problems([Problem("UNDO", f"nothing to undo on {host.name}", remedy)])
        logger.warning("%s: sessions of now end: %d", host.name, look.our_sessions)
        operations.bring_back(name="Bring the compose project back")
    else:
        if not look.state:
            look_and_plan()
        if look.state != "done":
            operations.take_over(name="Take the compose project's place", deadline=seconds)
        local.include(str(Path(__file__).parents[1] / "deploy.py"))
        if changed := LEAVING[host.name].changed if host.name in LEAVING else look.changed:
            python.call(name="Tell the new tokens", function=tell, services=changed)
except Problems as error:
    raise DeployError(str(error)) from None
