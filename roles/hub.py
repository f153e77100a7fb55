"""JupyterHub in a container."""

from hubhost import services
from hubhost.operations import container, file_tree
from hubhost.settings import Settings
from roles import deploy


@deploy("Hub")
def hub(settings: Settings) -> None:
    """Sessions outlive its restarts."""
    file_tree(name="Configure the hub", files=services.hub_files(settings))
    container(name="Run the hub", service=services.hub(settings))
