"""`make rollback [RELEASE=id]`: what ran before runs again, from the host's own record."""

import os

from pyinfra import logger
from pyinfra.api.exceptions import DeployError
from pyinfra.context import host

from hubhost import facts, operations
from hubhost.errors import Problems
from hubhost.release import differences

history = host.get_fact(facts.Releases)
try:
    target = history.target(os.environ.get("RELEASE", ""))
except Problems as error:
    raise DeployError(f"{host.name}: {error}") from None

operations.exclusive(name=operations.LOCKING)
logger.warning("%s: from %s to %s", host.name, history.current, target)
for line in differences(history.content, target.content):
    logger.warning("%s: %s", host.name, line)
operations.rollback(name=f"Go back to {target.id}", release=target)
