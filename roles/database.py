"""Postgres in a container, its data in a named volume."""

from hubhost import services
from hubhost.operations import container, forgotten_cluster
from hubhost.settings import Settings
from roles import deploy


@deploy("Database")
def database(settings: Settings) -> None:
    """Reached by the hub only."""
    forgotten_cluster(name="Delete the cluster of a former PostgreSQL, a week after")
    container(name="Run the database", service=services.database(settings))
