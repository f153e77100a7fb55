"""The service between the hub and Docker, in a container without a network."""

from hubhost import services
from hubhost.operations import container, file_tree
from hubhost.settings import Settings
from roles import deploy


@deploy("Docker filter")
def docker_filter(settings: Settings) -> None:
    """Before the hub, which has no other way to Docker; sessions do not notice its restarts."""
    file_tree(name="Configure the Docker filter", files=services.filter_files(settings))
    container(name="Run the Docker filter", service=services.docker_filter(settings))
