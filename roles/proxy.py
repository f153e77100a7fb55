"""configurable-http-proxy in a container."""

from hubhost import services
from hubhost.isolation import PROXY_PORT
from hubhost.operations import container, served_certificate
from hubhost.paths import TLS
from hubhost.settings import Settings
from roles import deploy


@deploy("Proxy")
def proxy(settings: Settings) -> None:
    """The only door to the outside; the hub gives a new proxy its routes back within a second."""
    container(name="Run the proxy", service=services.proxy(settings))
    served_certificate(
        name="Serve the certificate",
        directory=str(TLS),
        address=f"{settings.proxy_ip}:{PROXY_PORT}",
    )
