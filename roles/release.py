"""The record of what runs, by which it can come back."""

from hubhost.operations import keep_release, prune_images
from hubhost.settings import Settings
from roles import deploy


@deploy("Release")
def release(settings: Settings) -> None:
    """After the last service is healthy: what was replaced is not needed any more."""
    keep_release(name="Record what runs", settings=settings)
    prune_images(name="Delete images that no recorded release needs", settings=settings)
