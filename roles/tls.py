"""The proxy's key and certificate: the admin's, or self-signed."""

from hubhost.operations import file_tree, self_signed_certificate
from hubhost.paths import TLS
from hubhost.settings import Settings
from hubhost.tls import given_files, names
from roles import deploy


@deploy("TLS")
def tls(settings: Settings) -> None:
    """A key that only root and the proxy read, and a certificate for the public name."""
    if files := given_files(settings):
        file_tree(name="Install the certificate and its key", files=files)
    else:
        self_signed_certificate(
            name="Make a self-signed certificate", directory=str(TLS), names=names(settings)
        )
