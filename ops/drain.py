"""`make drain DEADLINE=minutes`: no new sessions, and an end for those that run."""

import os

from pyinfra.api.exceptions import DeployError
from pyinfra.context import host

from hubhost import facts, operations
from hubhost.drain import minutes_of
from hubhost.errors import Problems

try:
    minutes = minutes_of(os.environ.get("DEADLINE", ""))
except Problems as error:
    raise DeployError(str(error)) from None
if host.get_fact(facts.Drain) is None:
    raise DeployError(f"{host.name}: there is no hub that can be drained; deploy first")

operations.exclusive(name=operations.LOCKING)
ends = "leave the others alone" if minutes is None else f"end the others in {minutes} min"
operations.drain(name=f"Let no session start, {ends}", minutes=minutes)
