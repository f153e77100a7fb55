"""Backups, encrypted to public keys, by a timer; none where there are no keys."""

from pyinfra.context import host

from hubhost import facts, operations
from hubhost.backup import OWN_FOLDER, backup_files
from hubhost.errors import Problem
from hubhost.paths import BACKUP_UNIT
from hubhost.settings import Settings
from roles import deploy


@deploy("Backup")
def backup(settings: Settings) -> None:
    """Last, so that what it tells of the release is told only where all of it was deployed."""
    files = backup_files(settings)
    if not settings.backup_recipients:
        paths = tuple(str(file.path) for file in files)
        operations.no_unit(name="Make no backups", unit=f"{BACKUP_UNIT}.timer", files=paths)
        return
    operations.packages(name="Install age", packages=("age",))
    operations.file_tree(name="Write the script and its timer", files=files)
    operations.unit(name="Back up every so often", unit=f"{BACKUP_UNIT}.timer")


def folder_problems(settings: Settings) -> list[Problem]:
    """A folder that is not there: it may be a disk that is not mounted."""
    folder = settings.backup_folder
    if not settings.backup_recipients or folder == OWN_FOLDER:
        return []
    if host.get_fact(facts.BackupFolder, path=folder):
        return []
    message = f"{folder} is no folder of the host that can be written"
    remedy = f"mount the disk, or make it: host# mkdir {folder}"
    return [Problem("backup_folder", message, remedy)]
