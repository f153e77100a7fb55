"""Postgres in a container, its data in a named volume."""

from hubhost import services
from hubhost.operations import container
from hubhost.settings import Settings
from roles import deploy


@deploy("Database")
def database(settings: Settings) -> None:
    """Reached by the hub only."""
    container(name="Run the database", service=services.database(settings))
