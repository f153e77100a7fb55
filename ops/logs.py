"""`make logs`: what the services said. `python -m hubhost.logs` runs it, and prints the lines."""

import os

from pyinfra.api.exceptions import DeployError
from pyinfra.context import host, inventory

from hubhost import operations
from hubhost.errors import Problems
from hubhost.logs import Request

try:
    wanted = Request.of(os.environ)
except Problems as error:
    raise DeployError(str(error)) from None

several = f"{host.name}  " if len(inventory) > 1 else ""
operations.show_logs(name="Show the logs", request=wanted, prefix=several)
