"""The proxy's key and certificate: the admin's, the host's own, or self-signed."""

from pyinfra import logger
from pyinfra.context import host

from hubhost import facts
from hubhost.operations import file_tree, self_signed_certificate
from hubhost.paths import TLS
from hubhost.settings import Settings
from hubhost.tls import WARN_BEFORE, ending, given_files, names, renewal
from roles import deploy


@deploy("TLS")
def tls(settings: Settings) -> None:
    """A key that only root and the proxy read, and a certificate for the public name."""
    if files := given_files(settings):
        file_tree(name="Install the certificate and its key", files=files)
    else:
        self_signed_certificate(
            name="Make a self-signed certificate",
            directory=str(TLS),
            names=names(settings),
            keep=settings.tls_managed_on_host,
        )
    _warn(settings)


def _warn(settings: Settings) -> None:
    """Of a certificate that no deploy renews."""
    warning = ending(settings)
    if settings.tls_managed_on_host:
        word = host.get_fact(facts.Certificate, directory=str(TLS))[:1]
        if word == ["expiring"]:
            days = WARN_BEFORE.days
            warning = f"{TLS}/tls.crt ends within {days} days; {renewal(settings)}"
    if warning:
        logger.warning("%s: %s", host.name, warning)
