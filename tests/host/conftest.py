"""testinfra on the lab host, through the connection that the inventory names."""

import pytest
import testinfra
from testinfra.host import Host as Machine

from tests.deployment import Run
from tests.lab import Host


@pytest.fixture(scope="session")
def machine(host: Host, first_run: Run) -> Machine:
    """The deployed host, read only; one SSH connection for all looks."""
    return testinfra.get_host(
        f"ssh://lab?ssh_config={host.ssh_config}&controlpath={host.folder / 'control'}"
    )
