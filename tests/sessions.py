"""Sessions seen from the outside: whose container is which."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import docker
from docker.errors import APIError
from docker.models.containers import Container

from tests.lab.client import Session

T = TypeVar("T")


def never_lost(start: Callable[[], T]) -> T:
    """Start a container; again where runc loses the process it has just made, under load."""
    for _ in range(2):
        try:
            return start()
        except APIError as error:
            if "init-p" not in str(error):
                raise
    return start()


def session_containers(containers: docker.DockerClient) -> dict[str, Container]:
    """The sessions' containers, running or not, by their users' names."""
    label = "integrable-jupyterhub.role=session"
    found = {}
    for container in containers.containers.list(
        all=True, filters={"label": label}, ignore_removed=True
    ):
        environment = dict(pair.split("=", 1) for pair in container.attrs["Config"]["Env"])
        found[environment["JUPYTERHUB_USER"]] = container
    return found


def name_of(session: Session) -> str:
    """The user's name."""
    return session.url.rpartition("/")[2]


def address_of(session: Session, containers: docker.DockerClient) -> str:
    """The session's address on the network."""
    found = session_containers(containers)[name_of(session)].attrs
    address: str = found["NetworkSettings"]["Networks"]["jupyterhub_network"]["IPAddress"]
    return address
