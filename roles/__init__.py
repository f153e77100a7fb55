"""The steps of a deployment, one module each, in the order of deploy.py."""

from collections.abc import Callable
from typing import cast

from pyinfra.api.deploy import deploy as pyinfra_deploy

from hubhost.settings import Settings

Role = Callable[[Settings], None]


def deploy(name: str) -> Callable[[Role], Role]:
    """The @deploy of pyinfra for a function of the settings; its own types allow keywords only."""
    return cast(Callable[[Role], Role], pyinfra_deploy(name))
