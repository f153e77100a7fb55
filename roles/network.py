"""The one network of services and sessions."""

from hubhost.network import Network
from hubhost.operations import docker_network
from hubhost.settings import Settings
from roles import deploy


@deploy("Network")
def network(settings: Settings) -> None:
    """Fixed addresses for services, a range of their own for sessions."""
    docker_network(name=f"Create {settings.network_name}", network=Network.of(settings))
