"""`make restore FILE=… KEY=…`: a host becomes what it was in a backup, and is deployed."""

import os
from pathlib import Path

from pyinfra import local, logger
from pyinfra.api.exceptions import DeployError
from pyinfra.context import host, inventory

from hubhost import backup, facts, operations, services
from hubhost.errors import Problems
from roles.preflight import load_settings

wanted = {name: os.environ.get(f"RESTORE_{name}", "") for name in ("FILE", "KEY", "SIGNER", "HOST")}
settings = load_settings()
if len(inventory) > 1 and not wanted["HOST"]:
    raise DeployError(f"HOST: the inventory has {len(inventory)} hosts; name one: HOST={host.name}")
for name in ("FILE", "KEY"):
    if not wanted[name]:
        raise DeployError(f"{name}: not set; make restore FILE=backup.age KEY=key.txt")
key = Path(wanted["KEY"]).expanduser()
try:
    if found := backup.tools_missing():
        raise Problems(found)
    content = backup.read(Path(wanted["FILE"]).expanduser(), key)
    target = host.get_fact(facts.RestoreTarget)
    if found := backup.refusals(content, target, settings, wanted["SIGNER"]):
        raise Problems(found)
except Problems as error:
    raise DeployError(str(error)) from None

for line in (*backup.differences(content, settings), *backup.costs(content, target)):
    logger.warning("%s: %s", host.name, line)
operations.exclusive(name=operations.LOCKING)
operations.unpack_backup(name="Bring the backup", lines=backup.Lines(content, key))
operations.restore_files(name="Put its secrets and certificate in place")
local.include(str(Path(__file__).parents[1] / "deploy.py"))
operations.restore_data(
    name="Replace database and archives, end sessions", hub=services.hub(settings)
)
