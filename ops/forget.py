"""`make forget USER=…`: erase a user's session, archives, rows, and lines of logs, on all hosts."""

import os

from pyinfra import logger
from pyinfra.api.exceptions import DeployError
from pyinfra.context import host

from hubhost import facts, operations

if not (user := os.environ.get("FORGET", "")):
    raise DeployError("USER: not set; name the user: make forget USER=name")
if (kept := host.get_fact(facts.Kept, _stdin=user)) is None:
    raise DeployError(f"{host.name}: the hub does not answer; start it, or deploy, and try again")

logger.info("%s: %d of the user: rows, archives, lines of logs", host.name, kept)
operations.exclusive(name=operations.LOCKING)
operations.forget(name="Erase what there is of the user", user=user)
