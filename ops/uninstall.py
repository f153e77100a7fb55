"""`make uninstall`: take away what this project made on a host, and nothing else."""

import os

from pyinfra import logger
from pyinfra.api.exceptions import DeployError
from pyinfra.context import host

from hubhost import facts, operations, uninstall
from hubhost.engine import without_ours
from hubhost.errors import Problems
from hubhost.paths import DAEMON_JSON
from roles.preflight import load_settings

settings = load_settings()
try:
    keep = uninstall.keeps(os.environ.get("KEEP_BACKUPS", ""))
except Problems as error:
    raise DeployError(str(error)) from None
current = host.get_fact(facts.Content, path=str(DAEMON_JSON))
before = host.get_fact(facts.DaemonBefore)
wanted = without_ours(current, before, settings.network_subnet)
daemon = uninstall.of_daemon(current, before, wanted)
script = uninstall.script(settings, keep_backups=keep, daemon=daemon)

if lost := host.get_fact(facts.Lost):
    logger.warning("%s: lost for good: %s; tokens, secrets, certificates", host.name, lost)
for line in host.get_fact(facts.Ours, script=script):
    logger.info("%s%s", host.print_prefix, line)
operations.exclusive(name=operations.LOCKING)
operations.uninstall(name="Remove what was made here", removal=script, daemon_json=wanted)
