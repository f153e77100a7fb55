"""The integrator's path, and what a session may do."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable

import docker
import pytest
import requests

from tests.deployment import Deployment, Run
from tests.lab import Host, engine
from tests.lab.client import Hub, Session
from tests.sessions import name_of, session_containers

SUBNET_FOR_SESSIONS = ipaddress.ip_network("172.27.128.0/17")


def test_an_integrator_runs_a_cell(session: Session) -> None:
    assert session.status() == 200
    assert session.run("6*7").value == "42"


def test_the_answer_to_start_means_that_the_session_serves(
    hub: Hub, user: Callable[[], str]
) -> None:
    name = user()
    token = hub.mint_token(name)
    assert hub.call("POST", f"/users/{name}/server").status_code == 201
    assert hub.attach(name, token).status() == 200


def test_an_error_in_a_cell_is_an_error(session: Session) -> None:
    assert session.run("1/0").error == "ZeroDivisionError: division by zero"


def test_a_file_goes_in_and_comes_out(session: Session) -> None:
    model = {"type": "file", "format": "text", "content": "käse"}
    assert session.request("PUT", "/api/contents/a.txt", body=model).status_code == 201
    assert session.run("open('a.txt').read()").value == "'käse'"


def test_a_deleted_user_leaves_no_container_and_no_volume(
    hub: Hub, user: Callable[[], str], containers: docker.DockerClient
) -> None:
    volumes = {volume.name for volume in containers.volumes.list()}
    name = user()
    hub.start_server(name)
    assert name in session_containers(containers)
    assert hub.call("DELETE", f"/users/{name}").status_code == 204
    assert hub.call("GET", f"/users/{name}").status_code == 404
    assert name not in session_containers(containers)
    assert {volume.name for volume in containers.volumes.list()} == volumes


def test_without_a_token_nobody_gets_in(host: Host, hub: Hub, session: Session) -> None:
    anonymous = requests.Session()
    anonymous.verify = str(hub.ca)
    anonymous.trust_env = False
    assert anonymous.get(f"{hub.api_url}/users", timeout=30).status_code == 403
    answer = anonymous.get(f"{session.url}/api/contents", timeout=30, allow_redirects=False)
    assert answer.status_code in (302, 403)
    assert anonymous.get(f"{session.url}/lab", timeout=30).url.partition("?")[0].endswith("/login")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/users"),
        ("DELETE", "/users/{me}/server"),
        ("POST", "/users/{me}/tokens"),
        ("POST", "/users/somebody"),
    ],
)
def test_a_sessions_token_opens_that_session_only(
    hub: Hub, session: Session, method: str, path: str
) -> None:
    stolen = Hub(hub.api_url, session.token, hub.ca)
    path = path.format(me=name_of(session))
    assert stolen.call(method, path).status_code in (403, 404)
    assert hub.call(method, path).status_code < 300 or method != "GET"  # the positive control


def test_a_session_is_closed_to_another_sessions_token(
    open_session: Callable[[], Session], hub: Hub
) -> None:
    mine, theirs = open_session(), open_session()
    assert Session(theirs.url, mine.token, hub.ca).status() in (302, 403)
    assert theirs.status() == 200


def test_a_session_is_confined(session: Session, containers: docker.DockerClient) -> None:
    found = session_containers(containers)[name_of(session)].attrs
    host = found["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges" in host["SecurityOpt"]
    assert host["Memory"] == 1024 * 1024 * 1024
    assert host["PidsLimit"] == 256
    assert host["NanoCpus"] == 10**9 or host["CpuQuota"] == host["CpuPeriod"]
    assert [mount["Destination"] for mount in found["Mounts"]] == ["/etc/resolv.conf"]
    assert not found["Mounts"][0]["RW"]
    assert not host["Privileged"]
    networks = found["NetworkSettings"]["Networks"]
    assert networks.keys() == {"jupyterhub_network"}
    address = ipaddress.ip_address(networks["jupyterhub_network"]["IPAddress"])
    assert address in SUBNET_FOR_SESSIONS
    assert found["Config"]["User"] not in ("", "0", "root")


def test_a_session_has_dockers_apparmor_profile_where_the_host_has_apparmor(
    host: Host, session: Session, containers: docker.DockerClient
) -> None:
    has = host.run("test", "-e", "/sys/kernel/security/apparmor", check=False).returncode == 0
    profile = session_containers(containers)[name_of(session)].attrs["AppArmorProfile"]
    assert profile == ("docker-default" if has else "")


def test_a_sessions_home_is_memory_of_limited_size(session: Session) -> None:
    code = "import shutil, os; shutil.disk_usage(os.path.expanduser('~')).total // 2**20"
    assert session.run(code).value == "256"
    filler = "open('x', 'wb').write(bytes(300 * 2**20))"
    assert "No space left" in (session.run(filler).error or "")


def test_a_session_survives_a_restart_of_the_hub(
    session: Session, hub: Hub, containers: docker.DockerClient
) -> None:
    kernel = session.start_kernel()
    session.run("x = 41", kernel=kernel)
    containers.containers.get("jupyterhub_hub").restart()
    assert session.run("x + 1", kernel=kernel).value == "42"
    assert engine.until(lambda: hub.call("GET", "/").status_code == 200, 60)


def test_routes_are_back_at_once_when_the_proxy_restarts(
    session: Session, containers: docker.DockerClient
) -> None:
    kernel = session.start_kernel()
    session.run("x = 41", kernel=kernel)
    started = time.monotonic()
    containers.containers.get("jupyterhub_proxy").restart(timeout=2)
    stopped = time.monotonic() - started

    def serves() -> bool:
        try:
            return session.status() == 200
        except requests.RequestException:
            return False

    assert engine.until(serves, 15), "no route after 15 s"
    print(f"\nproxy restarted in {stopped:.1f} s, route back {time.monotonic() - started:.1f} s")
    assert session.run("x + 1", kernel=kernel).value == "42"


def test_an_idle_session_is_culled_with_its_user(
    deployment: Deployment, hub: Hub, user: Callable[[], str], restored: None
) -> None:
    deployment.run(cull_idle_seconds=25, activity_seconds=10)
    name = user()
    hub.start_server(name)

    def gone() -> bool:
        return hub.call("GET", f"/users/{name}").status_code == 404

    assert engine.until(gone, 300)


def test_debug_logging_is_a_setting(
    deployment: Deployment, first_run: Run, containers: docker.DockerClient, restored: None
) -> None:
    def logs() -> str:
        return str(containers.containers.get("jupyterhub_hub").logs().decode())

    assert "[D " not in logs()
    deployment.run(debug=True)
    assert "[D " in logs()
