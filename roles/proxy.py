"""configurable-http-proxy in a container."""

from hubhost import services
from hubhost.operations import container
from hubhost.settings import Settings
from roles import deploy


@deploy("Proxy")
def proxy(settings: Settings) -> None:
    """The only door to the outside; the hub gives a new proxy its routes back within a second."""
    container(name="Run the proxy", service=services.proxy(settings))
