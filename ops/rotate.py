"""`make rotate SECRET=…`: make secrets anew, and deploy at once."""

import os
from pathlib import Path

from pyinfra import local, logger
from pyinfra.api.exceptions import DeployError
from pyinfra.context import host

from hubhost import operations
from hubhost.errors import Problems
from hubhost.rotation import rotations
from roles.preflight import load_settings

try:
    wanted = rotations(os.environ.get("SECRET", ""), os.environ.get("SERVICE", ""), load_settings())
except Problems as error:
    raise DeployError(str(error)) from None

operations.exclusive(name=operations.LOCKING)
for rotation in wanted:
    logger.warning("%s: %s", host.name, rotation)
    operations.discard(name=f"Discard {rotation.name}", rotation=rotation)
local.include(str(Path(__file__).parents[1] / "deploy.py"))
