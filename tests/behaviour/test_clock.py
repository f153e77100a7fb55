"""The host's clock jumps: nothing is culled by that, and nobody's token is dead."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from hubhost.paths import ARCHIVE
from tests.deployment import Deployment
from tests.faults import Fault
from tests.lab import Host, engine
from tests.lab.client import Hub
from tests.sessions import name_of

HOURS = 9
"""More than a session may be idle (30 min), or old (8 h)."""
CLOCK = ARCHIVE / "clock"
"""On the host; what the hub's processes are told about the time, each time they look."""

# Only for the test: the machine's own clock is everybody's.
BUILD = """
apt-get install -qq -y --no-install-recommends libfaketime >/dev/null
folder=$(mktemp -d); cp /usr/lib/*/faketime/libfaketime.so.1 $folder
image=$(docker inspect -f '{{.Config.Image}}' jupyterhub_hub)
docker tag $image real-hub
cat > $folder/Dockerfile <<END
FROM real-hub
COPY --chmod=644 libfaketime.so.1 /usr/lib/libfaketime.so.1
ENV LD_PRELOAD=/usr/lib/libfaketime.so.1 FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 \\
    FAKETIME_TIMESTAMP_FILE=/var/lib/jupyterhub/archive/clock
END
echo +0 > CLOCK; chmod 644 CLOCK
DOCKER_BUILDKIT=1 docker build -q -t $image $folder
""".replace("CLOCK", str(CLOCK))
RESTORE = f"""
docker tag real-hub $(docker inspect -f '{{{{.Config.Image}}}}' jupyterhub_hub)
docker rmi real-hub; rm -f {CLOCK}
"""
# As the hub's own culler, once, and to its end.
CULL = """docker exec jupyterhub_hub python3 -c "
import asyncio, logging, jupyterhub_idle_culler as culler
logging.basicConfig(level=logging.INFO)
token = open('/run/secrets/culler_token').read().strip()
asyncio.run(culler.cull_idle('http://172.27.0.2:8081/hub/api', token, 1800, logging.getLogger(),
    cull_users=True, max_age={max_age}))
" 2>&1
"""
NOW = "docker exec jupyterhub_hub date +%s"


@pytest.fixture
def clock(deployment: Deployment, host: Host, hub: Hub) -> Iterator[Callable[[int], None]]:
    """Sets the clock of the hub and all it runs, in seconds from the true one."""
    host.sh(BUILD, timeout=300)
    assert "Hub | Run the hub" in deployment.run().changed

    def set_by(seconds: int) -> None:
        # Renamed into its place: a process that finds it empty ends.
        host.sh(f"echo {seconds:+d} > {CLOCK}.new; mv {CLOCK}.new {CLOCK}")
        off = int(host.sh(NOW)) - int(host.sh("date +%s"))
        assert abs(off - seconds) < 30, "the clock was not set"

    yield set_by
    host.sh(RESTORE)
    deployment.run()


def test_a_jump_of_the_clock_culls_nothing(
    clock: Callable[[int], None], fault: Fault, host: Host
) -> None:
    path = f"/users/{name_of(fault.session)}"
    for seconds in (HOURS * 3600, 0):  # forward; and back again
        with fault.watched(f"clock set to {seconds:+d} s"):
            clock(seconds)
            said = host.sh(CULL.format(max_age=28_800))
            assert "Culling" not in said, said
        assert fault.hub.call("GET", path, 200).json()["servers"]
    # The control: this culler does cull.
    assert "Culling" in host.sh(CULL.format(max_age=1))
    assert engine.until(lambda: fault.hub.call("GET", path, 200).json()["servers"] == {}, 60)
