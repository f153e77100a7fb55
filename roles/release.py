"""The record of what runs, and the program by which what ran before comes back."""

from hubhost import operations, services
from hubhost.hostfile import HostFile
from hubhost.images import PREFIX
from hubhost.paths import CARRY, FIREWALL, FIREWALL_UNIT, RELEASE_PROGRAM, RELEASES, UNITS
from hubhost.service import DATABASE_NAME, DIGEST_LABEL
from hubhost.settings import Settings
from hubhost.templates import render
from roles import deploy


@deploy("Release")
def handover(settings: Settings) -> None:
    """Before the first service: the program replaces their containers, and puts them back."""
    program = render(
        "release/release.sh",
        releases=RELEASES,
        names=[service.name for service in services.in_order(settings)],
        database=DATABASE_NAME,
        carry=CARRY,
        digest_label=DIGEST_LABEL,
        firewall=FIREWALL,
        firewall_unit=FIREWALL_UNIT,
        units=UNITS,
        prefix=PREFIX,
    )
    operations.file_tree(
        name="Write the program that hands services over",
        files=(HostFile(RELEASE_PROGRAM, program, 0o755), *services.carry_files(settings)),
    )


@deploy("Release")
def release(settings: Settings) -> None:
    """After the last service is healthy: what was replaced is not needed any more."""
    operations.keep_release(name="Record what runs", settings=settings)
    operations.prune_images(name="Delete images that no recorded release needs", settings=settings)
