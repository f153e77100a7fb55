"""`make check`: what a session reaches, tried on each host."""

import os

from pyinfra.api.exceptions import DeployError
from pyinfra.context import host

from hubhost import check, facts, operations
from hubhost.errors import Problems
from roles.preflight import load_settings

settings = load_settings()
try:
    also = check.others(os.environ.get("ALSO", ""))
except Problems as error:
    raise DeployError(str(error)) from None
if host.get_fact(facts.Drain) is None:
    raise DeployError(f"{host.name}: there is no hub whose sessions can be checked; deploy first")

operations.exclusive(name=operations.LOCKING)
operations.isolation_check(name="Try what a session reaches", settings=settings, also=also)
