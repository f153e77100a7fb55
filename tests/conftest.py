"""One fresh lab host for all tests that need one, deployed once, in the order a person would."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import docker
import pytest

from tests.deployment import Deployment, Run, give_images
from tests.faults import Fault
from tests.lab import Host, engine, lab
from tests.lab.client import Hub, Session
from tests.lab.demo import hub_of
from tests.lab.host import ssh_command


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lab", help="use this lab, which stays, instead of a fresh one")
    parser.addoption("--neighbour", help="the same for the second lab of some tests")
    parser.addoption("--third", help="and for the third")
    parser.addoption("--driver", help="what a fresh lab is: container, or vm: a virtual machine")
    parser.addoption("--images-of", help="take the images of this lab instead of building them")


# Tests look at containers and at the journal, also past midnight: they start it themselves.
NO_DAILY_LOOK = """
folder=/usr/local/lib/systemd/system/integrable-jupyterhub-daily.timer.d; mkdir -p $folder
printf '[Timer]\nOnCalendar=\nOnCalendar=2099-01-01\n' > $folder/tests.conf
systemctl daemon-reload
"""


@pytest.fixture(scope="session")
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """The lab host."""
    name, driver = request.config.getoption("--lab"), request.config.getoption("--driver")
    with nullcontext(Host.read(name)) if name else lab(driver=driver) as made:
        made.sh(NO_DAILY_LOOK)
        yield made


@pytest.fixture(scope="session")
def deployment(host: Host) -> Deployment:
    return Deployment(host)


@pytest.fixture(scope="session")
def first_run(deployment: Deployment, request: pytest.FixtureRequest) -> Run:
    """The deployment that made the hub."""
    if source := request.config.getoption("--images-of"):
        give_images(Host.read(source), deployment.host)
    run = deployment.run()
    print(f"\nfirst deploy: {run.seconds:.0f} s, {len(run.changed)} operations made changes")
    return run


@pytest.fixture(scope="session")
def neighbour(host: Host, first_run: Run, request: pytest.FixtureRequest) -> Iterator[Host]:
    """A second lab host, with Docker and our images, and nothing else at first."""
    if name := request.config.getoption("--neighbour"):
        yield Host.read(name)
        return
    with lab() as made:
        give_images(host, made)
        yield made


@pytest.fixture
def restored(deployment: Deployment) -> Iterator[None]:
    """For tests that change settings or break things: afterwards all is as deployed by default."""
    yield
    deployment.run()


@pytest.fixture
def sudoer(host: Host) -> str:
    """Another user of the host, who may all by sudo."""
    host.sh("""
apt-get install -qy --no-install-recommends sudo
id admin || useradd --create-home admin
echo 'admin ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/admin
install -d -m 700 -o admin ~admin/.ssh
install -m 600 -o admin ~/.ssh/authorized_keys ~admin/.ssh/authorized_keys
""")
    return "admin"


@pytest.fixture
def hub(host: Host, first_run: Run) -> Hub:
    """The hub's API, as the first service sees it now: tests change tokens and certificates."""
    return hub_of(host)[1]


@pytest.fixture
def user(hub: Hub) -> Iterator[Callable[[], str]]:
    """Makes users with names as integrators choose them; they are deleted afterwards."""
    names: list[str] = []

    def make() -> str:
        name = f"u{secrets.randbelow(10**12)}_{len(names)}"
        names.append(name)
        assert hub.create_user(name)
        return name

    yield make
    for name in names:
        hub.delete_user(name)


@pytest.fixture
def open_session(hub: Hub, user: Callable[[], str]) -> Callable[[], Session]:
    """Starts a session of a new user and opens it with a token of its own."""

    def start() -> Session:
        name = user()
        hub.start_server(name)
        return hub.attach(name, hub.mint_token(name))

    return start


@pytest.fixture
def session(open_session: Callable[[], Session]) -> Session:
    return open_session()


@pytest.fixture
def fault(host: Host, hub: Hub, open_session: Callable[[], Session]) -> Fault:
    session = open_session()
    kernel = session.start_kernel()
    session.run("x = 41", kernel=kernel)
    return Fault(host, hub, session, kernel)


@pytest.fixture(scope="session")
def containers(
    host: Host, first_run: Run, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[docker.DockerClient]:
    """The lab host's Docker, through a socket forwarded by SSH."""
    socket = tmp_path_factory.mktemp("docker") / "s"
    forward = ssh_command(
        host.ssh_config, (), "-N", "-L", f"{socket}:/var/run/docker.sock",
        "-o", "ExitOnForwardFailure=yes",
    )  # fmt: skip
    with subprocess.Popen(forward, stdin=subprocess.DEVNULL) as tunnel:
        try:
            assert engine.until(socket.exists, 20 * host.patience), "no tunnel to the lab's Docker"
            client = docker.DockerClient(base_url=f"unix://{socket}")
            yield client
            client.close()
        finally:
            tunnel.terminate()


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Where screenshots and reports of a run are kept; git-ignored."""
    folder = Path(os.environ.get("ARTIFACTS", Path(__file__).parents[1] / ".lab" / "artifacts"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def settings_of(host: Host, file: str) -> dict[str, object]:
    """A JSON file on the host."""
    content: dict[str, object] = json.loads(host.run("cat", file).stdout)
    return content
