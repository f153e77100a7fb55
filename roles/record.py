"""What was there before us: without that, nobody could take us away again."""

from hubhost.operations import note_before
from hubhost.settings import Settings
from roles import deploy


@deploy("Record")
def record(settings: Settings) -> None:
    """First of all, once: packages, Docker's configuration, rules of before."""
    note_before(name="Note what is on the host before anything is changed")
