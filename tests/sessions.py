"""Sessions seen from the outside: whose container is which."""

from __future__ import annotations

import docker
from docker.models.containers import Container

from tests.lab.client import Session


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
