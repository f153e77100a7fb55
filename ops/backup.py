"""`make backup [TO=folder]`: make one now on each host, and copy it to this machine."""

import os
import shlex
from pathlib import Path

from pyinfra import logger
from pyinfra.api.exceptions import DeployError, NestedOperationError
from pyinfra.context import host, state
from pyinfra.operations import python

from hubhost import facts, operations
from hubhost.backup import digest
from hubhost.connection import fetch
from hubhost.paths import BACKUP_SCRIPT
from hubhost.settings import HOME

to = os.environ.get("BACKUP_TO", "")
if to and not (Path(to).is_dir() and os.access(to, os.W_OK)):
    raise DeployError(f"TO: {to} is no folder that can be written here; name one, or make it")
if not host.get_fact(facts.Files, paths=(str(BACKUP_SCRIPT),)):
    raise DeployError(
        f"backup_recipients: {host.name} was deployed without any, so nobody could read a backup;"
        f" name public keys in {HOME}, and deploy"
    )


def tell_or_copy() -> None:
    """Of the newest, which is the one that was just made."""
    _, size, signer, path = host.get_fact(facts.NewestBackup)
    logger.info("%s: %s, %s bytes, signed by %s", host.name, path, size, signer)
    if not to:
        return
    file = Path(to) / Path(path).name
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("w+b") as opened:
            whole = fetch(state, host, f"cat {shlex.quote(path)}", opened)
            if not whole or digest(opened)[:16] not in file.name:
                raise OSError("did not come whole")
        part.replace(file)
    except OSError as error:
        why = error.strerror or error
        logger.error("TO: %s: %s; make room there, and try again", file, why)
        raise NestedOperationError from None  # pyinfra prints a traceback of any other
    finally:
        part.unlink(missing_ok=True)
    logger.info("%s: copied to %s, and whole there", host.name, file)


operations.exclusive(name=operations.LOCKING)
operations.backup(name="Make a backup")
python.call(name="Copy it to this machine" if to else "Tell where it is", function=tell_or_copy)
