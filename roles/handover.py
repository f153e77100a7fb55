"""The programs that replace the services' containers, carry the database over, and go back."""

from hubhost import services
from hubhost.hostfile import HostFile
from hubhost.operations import file_tree
from hubhost.paths import RELEASE_PROGRAM
from hubhost.release import program
from hubhost.settings import Settings
from roles import deploy


@deploy("Handover")
def handover(settings: Settings) -> None:
    """Before the first service."""
    names = [service.name for service in services.in_order(settings)]
    file_tree(
        name="Write the program",
        files=(
            HostFile(RELEASE_PROGRAM, program(names), 0o755),
            *services.carry_files(settings),
        ),
    )
