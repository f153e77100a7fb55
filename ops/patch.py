"""`make patch`: Debian's updates, the engine's too, new images, a reboot where it is due.

As often as it takes: each step looks at what is there, so a run that failed goes on in the next.
"""

import os
from pathlib import Path

from pyinfra import local, logger
from pyinfra.api.exceptions import DeployError
from pyinfra.context import host

from hubhost import facts, operations, services
from hubhost.drain import minutes_of
from hubhost.errors import Problems
from roles.images import images
from roles.preflight import load_settings, preflight

DEADLINE = 30
"""Minutes that running sessions are given."""

settings = load_settings()
try:
    minutes = minutes_of(os.environ.get("DEADLINE", ""), DEADLINE)
except Problems as error:
    raise DeployError(str(error)) from None
assert minutes is not None
if host.get_fact(facts.Drain) is None:
    raise DeployError(f"{host.name}: there is no hub that can be drained; deploy first")
found = host.get_fact(facts.Updates)
why = host.get_fact(facts.RebootDue)
logger.info(
    "%sas far as its lists tell: %s; reboot: %s",
    host.print_prefix,
    f"{len(found)} packages to update: {', '.join(found)}" if found else "nothing to update",
    "; ".join(why) or "not due, unless an update wants it",
)
logger.warning(
    "%s: where there is something to update, sessions end in %d min, and with a reboot all files"
    " in them; no new ones until it is over",
    host.name,
    minutes,
)

operations.exclusive(name=operations.LOCKING)
preflight(settings)
# Before anybody is bothered: builds take minutes, and one that fails leaves all as it is.
images(settings)
operations.package_lists(name="Fetch the lists of Debian's archive")
operations.drain_to_patch(name="Drain, if there is something to install", minutes=minutes)
operations.sessions_ended(name="Wait until the sessions have ended")
operations.updates(name="Install Debian's updates and the engine's")
operations.reboot(name="Reboot, if that is due")
operations.serving(
    name="Wait until the services serve",
    services=(
        services.database(settings),
        services.proxy(settings),
        services.docker_filter(settings),
        services.hub(settings),
    ),
)
local.include(str(Path(__file__).parents[1] / "deploy.py"))
operations.isolation_check(name="Try what a session reaches", settings=settings)
operations.undrain(name="Let sessions start again")
