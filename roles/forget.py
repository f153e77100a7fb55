"""What erases a user from the services' logs, on the hub's request."""

from hubhost import operations, services
from hubhost.hostfile import HostFile
from hubhost.paths import FORGET, FORGET_REQUESTS, FORGET_UNIT, LOGS, UNITS
from hubhost.service import ROLE_LABEL
from hubhost.settings import Settings
from hubhost.templates import render
from roles import deploy


@deploy("Forget")
def forget(settings: Settings) -> None:
    """Before the hub, which writes to these folders."""
    values = {
        "kept": LOGS,
        "requests": FORGET_REQUESTS,
        "role_label": ROLE_LABEL,
        "unit": FORGET_UNIT,
    }
    units = tuple(f"{FORGET_UNIT}.{kind}" for kind in ("path", "service"))
    operations.folders(name="Make the folders that the hub writes to", folders=services.HUB_FOLDERS)
    operations.file_tree(
        name="Write the script and its units",
        files=(
            HostFile(FORGET / "forget", render("forget/forget", **values), 0o755),
            *(
                HostFile(UNITS / unit, render(f"forget/{unit}", forget=FORGET, **values))
                for unit in units
            ),
        ),
    )
    operations.unit(name="Watch for requests to forget a user", unit=units[0])
