"""Secrets: made once on the host, never read back."""

from hubhost import operations
from hubhost.secrets import ALL_SECRETS
from hubhost.settings import Settings
from roles import deploy


@deploy("Secrets")
def secrets(settings: Settings) -> None:
    """A token for each service, and the passwords between our own containers."""
    operations.secrets(
        name="Make the secrets that are missing",
        wanted=ALL_SECRETS,
        services=settings.service_admins,
    )
