"""Secrets: made once on the host, never read back."""

from pyinfra.operations import python

from hubhost import operations
from hubhost.paths import SECRETS
from hubhost.secrets import ALL_SECRETS, IMPORTED, imported_files
from hubhost.settings import Settings
from roles import deploy


def forget_import() -> None:
    """Several hosts may have been given the same import."""
    IMPORTED.unlink(missing_ok=True)


@deploy("Secrets")
def secrets(settings: Settings) -> None:
    """A token for each service, and the passwords between our own containers."""
    if files := imported_files(IMPORTED, SECRETS):
        operations.file_tree(name="Take over the imported secrets", files=files)
        python.call(name="Delete their file on this machine", function=forget_import)
    operations.secrets(
        name="Make the secrets that are missing",
        wanted=ALL_SECRETS,
        services=settings.service_admins,
    )
