"""`make forget USER=…`: erase a user's session, archives, rows, and lines of logs, on all hosts."""

import os

from pyinfra.api.exceptions import DeployError

from hubhost import operations

if not (user := os.environ.get("FORGET", "")):
    raise DeployError("USER: not set, name the user: make forget USER=name")

operations.forget(name="Erase what there is of the user", user=user)
