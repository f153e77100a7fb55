"""A stolen hub is not a stolen host: attacks from inside the running hub's container.

Each attack goes through the only socket that the hub has, and is refused; the control sends the
same request to Docker's own socket, where it succeeds.
"""

from __future__ import annotations

import json
import statistics
import threading
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from tests.deployment import Deployment
from tests.lab import Host, engine
from tests.lab.client import Hub, Session
from tests.sessions import name_of, never_lost, session_containers

HUB, FILTER = "jupyterhub_hub", "jupyterhub_filter"
NAME = "jupyterhub_session-attack"
CREATE = f"/v1.41/containers/create?name={NAME}"

ASK = """
import http.client, json, os, socket, sys
method, target, body = json.loads(sys.argv[1])
connection = socket.socket(socket.AF_UNIX)
connection.connect(os.environ["DOCKER_HOST"].removeprefix("unix://"))
head = f"{method} {target} HTTP/1.1\\r\\nHost: docker\\r\\nConnection: close\\r\\n"
head += f"Content-Type: application/json\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n"
connection.sendall(head.encode() + body.encode())
answer = http.client.HTTPResponse(connection, method=method)
answer.begin()
print(json.dumps([answer.status, answer.read().decode()]))
"""

Ask = Callable[..., tuple[int, str]]


def text(body: object) -> str:
    if isinstance(body, str):
        return body
    return "" if body is None else json.dumps(body)


def run(container: Container, command: list[str], user: str = "") -> tuple[int | None, str]:
    """`docker exec`: exit code and output."""
    done = container.exec_run(command, user=user)
    assert isinstance(done.output, bytes)
    return done.exit_code, done.output.decode()


@pytest.fixture
def from_hub(containers: docker.DockerClient) -> Ask:
    """Sends a request as the stolen hub would: (status, body)."""

    def ask(method: str, target: str, body: object = None) -> tuple[int, str]:
        command = ["python3", "-c", ASK, json.dumps([method, target, text(body)])]
        exit_code, output = run(containers.containers.get(HUB), command)
        assert exit_code == 0, output
        status, told = json.loads(output)
        return status, told

    return ask


@pytest.fixture
def raw(containers: docker.DockerClient) -> Ask:
    """The same request to Docker itself."""

    def ask(method: str, target: str, body: object = None) -> tuple[int, str]:
        api = containers.api
        answer = api.request(
            method,
            api.base_url + target,
            data=text(body).encode(),
            headers={"Content-Type": "application/json"},
            timeout=60,
            stream=True,
        )
        return answer.status_code, answer.raw.read(1000).decode(errors="replace")

    return ask


@pytest.fixture
def image(host: Host) -> str:
    """The image of sessions."""
    config = host.run("cat", "/etc/integrable-jupyterhub/filter/config.json").stdout
    return str(json.loads(config)["images"][0])


@pytest.fixture(autouse=True)
def swept(containers: docker.DockerClient) -> Iterator[None]:
    """What a test created is removed."""
    yield
    for container in containers.containers.list(all=True, ignore_removed=True):
        if container.name in (NAME, "victim", "renamed"):
            container.remove(force=True)


def good(image: str, **more: Any) -> dict[str, Any]:
    return {"Image": image, "Env": ["A=b"]} | more


STAYS = ["BASH_ENV=$(sleep 600)"]
"""Has the image's first program wait: without the hub's variables, it would end at once."""


def host_config(**wanted: Any) -> Callable[[str], dict[str, Any]]:
    return lambda image: good(image, HostConfig=wanted)


def by_hand(tail: str) -> Callable[[str], str]:
    return lambda image: json.dumps(good(image))[:-1] + f", {tail}}}"


OTHER_IMAGE = "THE-IMAGE-OF-THE-HUB"
PRIVILEGED = '{"Privileged": true}'
ATTACKS: dict[str, tuple[Callable[[str], Any], Callable[[dict[str, Any]], bool]]] = {
    "privileged": (host_config(Privileged=True), lambda c: c["HostConfig"]["Privileged"]),
    "bind /": (host_config(Binds=["/:/host"]), lambda c: bool(c["Mounts"])),
    "bind docker.sock": (
        host_config(Binds=["/var/run/docker.sock:/var/run/docker.sock"]),
        lambda c: bool(c["Mounts"]),
    ),
    "mount": (
        host_config(Mounts=[{"Type": "bind", "Source": "/etc", "Target": "/x"}]),
        lambda c: bool(c["Mounts"]),
    ),
    "the database's volume": (
        host_config(Binds=["jupyterhub_db:/x"]),
        lambda c: c["Mounts"][0]["Name"] == "jupyterhub_db",
    ),
    "host network": (
        host_config(NetworkMode="host"),
        lambda c: c["HostConfig"]["NetworkMode"] == "host",
    ),
    "another's network": (
        host_config(NetworkMode="container:jupyterhub_db"),
        lambda c: c["HostConfig"]["NetworkMode"].startswith("container:"),
    ),
    "host pid": (host_config(PidMode="host"), lambda c: c["HostConfig"]["PidMode"] == "host"),
    "host ipc": (host_config(IpcMode="host"), lambda c: c["HostConfig"]["IpcMode"] == "host"),
    "host uts": (host_config(UTSMode="host"), lambda c: c["HostConfig"]["UTSMode"] == "host"),
    "devices": (
        host_config(Devices=[{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x"}]),
        lambda c: bool(c["HostConfig"]["Devices"]),
    ),
    "capabilities": (
        host_config(CapAdd=["SYS_ADMIN"]),
        lambda c: c["HostConfig"]["CapAdd"] is not None,
    ),
    "no seccomp": (
        host_config(SecurityOpt=["seccomp=unconfined"]),
        lambda c: c["HostConfig"]["SecurityOpt"] == ["seccomp=unconfined"],
    ),
    "plain runc": (host_config(Runtime="runc"), lambda c: c["HostConfig"]["Runtime"] == "runc"),
    "cgroup parent": (
        host_config(CgroupParent="/x"),
        lambda c: c["HostConfig"]["CgroupParent"] == "/x",
    ),
    "root": (lambda image: good(image, User="0:0"), lambda c: c["Config"]["User"] == "0:0"),
    "our label": (
        lambda image: good(image, Labels={"integrable-jupyterhub.role": "service"}),
        lambda c: c["Config"]["Labels"]["integrable-jupyterhub.role"] == "service",
    ),
    "another image": (
        lambda _: good(OTHER_IMAGE),
        lambda c: "-hub:" in c["Config"]["Image"],
    ),
    "json: small letters": (
        by_hand(f'"hostconfig": {PRIVILEGED}'),
        lambda c: c["HostConfig"]["Privileged"],
    ),
    "json: escapes": (
        by_hand(f'"\\u0048ostConfig": {PRIVILEGED}'),
        lambda c: c["HostConfig"]["Privileged"],
    ),
    "json: a key twice": (
        by_hand(f'"HostConfig": {{}}, "HostConfig": {PRIVILEGED}'),
        lambda c: c["HostConfig"]["Privileged"],
    ),
    "json: a key twice, in one": (
        by_hand('"HostConfig": {"Privileged": false, "privileged": true}'),
        lambda c: c["HostConfig"]["Privileged"],
    ),
    "json: another image": (
        by_hand(f'"image": "{OTHER_IMAGE}"'),
        lambda c: "-hub:" in c["Config"]["Image"],
    ),
}


@pytest.mark.parametrize(("body", "succeeded"), ATTACKS.values(), ids=ATTACKS.keys())
def test_no_container_but_a_sessions_is_created(
    from_hub: Ask,
    raw: Ask,
    containers: docker.DockerClient,
    image: str,
    body: Callable[[str], Any],
    succeeded: Callable[[dict[str, Any]], bool],
) -> None:
    hubs_image = containers.containers.get(HUB).attrs["Config"]["Image"]
    attack = text(body(image)).replace(OTHER_IMAGE, hubs_image)
    status, told = from_hub("POST", CREATE, attack)
    assert status == 403, told
    present = containers.containers.list(all=True, ignore_removed=True)
    assert NAME not in {container.name for container in present}
    # The control: Docker would have done it.
    status, told = raw("POST", CREATE, attack)
    assert status == 201, told
    assert succeeded(containers.api.inspect_container(NAME))


def test_what_is_created_is_confined_and_the_hubs_to_start_and_remove(
    from_hub: Ask, containers: docker.DockerClient, image: str
) -> None:
    """The positive control of all that is refused."""
    assert from_hub("POST", CREATE, good(image, Env=STAYS))[0] == 201
    found = containers.api.inspect_container(NAME)
    host, uid = found["HostConfig"], found["Config"]["Labels"]["integrable-jupyterhub.uid"]
    assert found["Config"]["User"] == f"{uid}:100"
    assert int(uid) >= 1_900_000_000
    assert host["Runtime"] == "integrable-jupyterhub-session"
    assert host["NetworkMode"] == "jupyterhub_network"
    assert host["Binds"] == ["/etc/integrable-jupyterhub/session/resolv.conf:/etc/resolv.conf:ro"]
    assert [mount["Destination"] for mount in found["Mounts"]] == ["/etc/resolv.conf"]
    assert not host["Privileged"]
    assert not host["CapAdd"]
    assert not host["Devices"]
    assert not host["PortBindings"]
    assert host["CapDrop"] == ["ALL"]
    assert host["ReadonlyRootfs"]
    assert host["IpcMode"] == "none"
    assert (host["PidMode"], host["UTSMode"], host["UsernsMode"]) == ("", "", "")
    assert "no-new-privileges" in host["SecurityOpt"]
    assert any('"SCMP_ACT_ERRNO"' in option for option in host["SecurityOpt"])
    assert host["MaskedPaths"]
    assert host["ReadonlyPaths"]
    assert host["Memory"] == host["MemorySwap"] == 1024 * 2**20
    assert host["OomScoreAdj"] == 500
    assert host["LogConfig"]["Type"] == "local"
    assert from_hub("POST", f"/v1.41/containers/{NAME}/start")[0] == 204
    assert from_hub("GET", f"/v1.41/containers/{NAME}/json")[0] == 200
    assert from_hub("DELETE", f"/v1.41/containers/{NAME}")[0] == 204
    assert from_hub("GET", f"/v1.41/containers/{NAME}/json")[0] == 404


def test_an_images_volume_is_memory(
    from_hub: Ask,
    deployment: Deployment,
    containers: docker.DockerClient,
    image: str,
    restored: None,
) -> None:
    """Docker would make a volume on disk, without limit."""
    made = containers.api.create_container(image, "true")
    containers.api.commit(made, "with-volume", "1", changes="VOLUME /data /home/jovyan/work")
    containers.api.remove_container(made)
    deployment.run(notebook_image="with-volume:1")
    volumes = {volume.name for volume in containers.volumes.list()}
    assert from_hub("POST", CREATE, good("with-volume:1"))[0] == 201
    assert "/data" in containers.api.inspect_container(NAME)["HostConfig"]["Tmpfs"]
    assert {volume.name for volume in containers.volumes.list()} == volumes
    containers.containers.get(NAME).remove(v=True)
    containers.containers.create("with-volume:1", name=NAME)  # the control
    assert {volume.name for volume in containers.volumes.list()} > volumes
    containers.containers.get(NAME).remove(v=True)


@pytest.fixture
def victim(containers: docker.DockerClient) -> Container:
    """A container that is not ours."""
    image = containers.containers.get(HUB).attrs["Config"]["Image"]
    made = containers.containers.create(
        image, ["infinity"], entrypoint="sleep", name="victim", network_mode="none"
    )
    never_lost(made.start)
    return made


OTHERS = [
    ("GET", "/containers/victim/json", None),
    ("GET", "/containers/victim/logs?stdout=1", None),
    ("GET", "/containers/victim/top", None),
    ("GET", "/containers/victim/archive?path=/etc/passwd", None),
    ("GET", "/containers/victim/export", None),
    ("POST", "/containers/victim/exec", {"Cmd": ["id"]}),
    ("POST", "/containers/victim/update", {"Memory": 99999744, "MemorySwap": 99999744}),
    ("POST", "/containers/victim/rename?name=renamed", None),
    ("POST", "/containers/victim/pause", None),
    ("POST", "/containers/victim/kill", None),
    ("POST", "/containers/victim/stop?t=0", None),
    ("POST", "/containers/victim/restart?t=0", None),
    ("POST", "/containers/victim/start", None),
    ("DELETE", "/containers/victim?force=1", None),
    ("POST", "/commit?container=victim&repo=stolen", None),
]


@pytest.mark.parametrize(("method", "target", "body"), OTHERS, ids=lambda value: str(value)[:40])
def test_other_containers_are_neither_seen_nor_touched(
    from_hub: Ask, raw: Ask, victim: Container, method: str, target: str, body: object
) -> None:
    for name in ("victim", str(victim.id), "jupyterhub_db", FILTER):
        status, told = from_hub(method, f"/v1.41{target.replace('victim', name, 1)}", body)
        assert status == 403, told
    assert raw(method, f"/v1.41{target}", body)[0] in (200, 201, 204, 304)


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/containers/{}/exec", {"Cmd": ["id"]}),
        ("GET", "/containers/{}/archive?path=/etc/passwd", None),
        ("GET", "/containers/{}/logs?stdout=1", None),
        ("POST", "/containers/{}/update", {"CpuShares": 512}),
    ],
)
def test_a_session_is_started_inspected_and_removed_and_nothing_else(
    from_hub: Ask, raw: Ask, image: str, method: str, target: str, body: object
) -> None:
    assert from_hub("POST", CREATE, good(image, Env=STAYS))[0] == 201
    assert from_hub("POST", f"/containers/{NAME}/start")[0] == 204
    assert from_hub(method, target.format(NAME), body)[0] == 403
    assert raw(method, f"/v1.41{target.format(NAME)}", body)[0] in (200, 201)


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", "/containers/json", None),
        ("GET", "/images/json", None),
        ("GET", "/images/integrable-jupyterhub-hub:x/json", None),
        ("GET", "/volumes", None),
        ("POST", "/volumes/create", {"Name": "victim"}),
        ("DELETE", "/volumes/victim", None),
        ("GET", "/networks", None),
        ("GET", "/networks/jupyterhub_network", None),
        ("GET", "/info", None),
        ("GET", "/version", None),
        ("GET", "/system/df", None),
        ("GET", "/plugins", None),
        ("GET", "/events?until=1", None),
        ("POST", "/build?remote=x&t=x", None),
        ("POST", "/images/prune", None),
    ],
)
def test_the_rest_of_dockers_api_is_not_there(
    from_hub: Ask, raw: Ask, method: str, target: str, body: object
) -> None:
    assert from_hub(method, f"/v1.41{target}", body)[0] == 403
    assert raw(method, f"/v1.41{target}", body)[0] != 403


@pytest.mark.parametrize(
    "target",
    [
        "//containers/jupyterhub_db/json",
        "/v1.41/../containers/jupyterhub_db/json",
        "/containers/%6aupyterhub_db/json",
        "/containers/jupyterhub_session-x/../jupyterhub_db/json",
        "/containers/jupyterhub_session-x%2f..%2fjupyterhub_db/json",
        "/containers/jupyterhub_db/json/",
        "/CONTAINERS/jupyterhub_db/json",
        "http://docker/containers/jupyterhub_db/json",
        "/containers/json?all=1#/json",
    ],
)
def test_no_trick_with_a_path_shows_the_database(from_hub: Ask, target: str) -> None:
    status, told = from_hub("GET", target)
    assert status == 403
    assert "Docker filter: " in told


# --- Who holds which socket --------------------------------------------------------------------
def test_only_the_filter_holds_dockers_socket(containers: docker.DockerClient) -> None:
    holding = {
        service.name
        for service in containers.containers.list(
            filters={"label": "integrable-jupyterhub.role=service"}
        )
        if any(mount["Source"].endswith("docker.sock") for mount in service.attrs["Mounts"])
        or service.attrs["HostConfig"]["GroupAdd"]
    }
    assert holding == {FILTER}
    look = ["sh", "-c", "ls /var/run/docker.sock /run/docker.sock"]
    assert containers.containers.get(HUB).exec_run(look).exit_code != 0
    assert containers.containers.get(FILTER).exec_run(look).exit_code == 0


def test_the_filter_has_no_network_and_little_else(containers: docker.DockerClient) -> None:
    found = containers.containers.get(FILTER)
    interfaces = ["sh", "-c", "cat /proc/net/dev"]
    assert b"eth0" not in found.exec_run(interfaces).output
    assert b"eth0" in containers.containers.get(HUB).exec_run(interfaces).output
    host = found.attrs["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges" in host["SecurityOpt"]


@pytest.mark.parametrize("user", ["65603", "65604:65600", "65605:65600", "1000"])
def test_the_filters_socket_is_for_the_hubs_user_only(
    from_hub: Ask, containers: docker.DockerClient, user: str
) -> None:
    target = "/containers/jupyterhub_session-x/json"
    assert from_hub("GET", target)[0] == 404
    command = ["python3", "-c", ASK, json.dumps(["GET", target, ""])]
    _, told = run(containers.containers.get(HUB), command, user=user)
    assert "PermissionError" in told or json.loads(told)[0] == 403


def test_a_refusal_is_one_line_in_the_log_without_the_environment(
    from_hub: Ask, containers: docker.DockerClient, image: str
) -> None:
    def logs() -> str:
        return str(containers.containers.get(FILTER).logs().decode())

    before, asked = len(logs()), []

    def logged() -> bool:
        """After all the refusals before, lines may be left out for a second."""
        body = {"Image": image, "Env": ["TOKEN=s3cret"], "HostConfig": {}}
        asked.append(from_hub("POST", CREATE, body)[0])
        return len(logs()) > before

    assert engine.until(logged, 10)
    said = (
        "docker-filter: 403 POST /v1.41/containers/create: 'HostConfig' is not the hub's to choose"
    )
    lines = logs()[before:].splitlines()
    assert {*asked} == {403}
    assert len(lines) <= len(asked)
    assert all(line.startswith(said) for line in lines)
    assert "s3cret" not in logs()


# --- Sessions, as before ------------------------------------------------------------------------
def test_sessions_have_users_of_their_own(
    open_session: Callable[[], Session], containers: docker.DockerClient
) -> None:
    one, other = open_session(), open_session()
    uids = [session.run("import os; os.getuid()").value for session in (one, other)]
    assert uids[0] != uids[1]
    assert all(int(uid or 0) >= 1_900_000_000 for uid in uids)
    found = session_containers(containers)[name_of(one)]
    assert found.labels["integrable-jupyterhub.uid"] == uids[0]


def test_there_are_no_more_sessions_than_allowed(
    deployment: Deployment,
    hub: Hub,
    user: Callable[[], str],
    containers: docker.DockerClient,
    restored: None,
) -> None:
    deployment.run(max_sessions=1)
    # Those of a database that was put back have no user any more: the reaper takes them.
    assert engine.until(lambda: not session_containers(containers), 120)
    first, second = user(), user()
    assert hub.call("POST", f"/users/{first}/server").status_code == 201
    refused = hub.call("POST", f"/users/{second}/server")
    assert refused.status_code == 429
    assert "as many sessions as allowed exist (1)" in refused.text
    hub.delete_user(first)
    assert hub.call("POST", f"/users/{second}/server").status_code == 201


def test_a_session_starts_while_the_filter_restarts(
    hub: Hub, user: Callable[[], str], containers: docker.DockerClient
) -> None:
    before, during = user(), user()
    hub.start_server(before)  # the hub has connections open
    found = containers.containers.get(FILTER)
    found.stop()
    answers: list[int] = []
    start = threading.Thread(
        target=lambda: answers.append(hub.call("POST", f"/users/{during}/server").status_code)
    )
    start.start()
    waited = b"Docker does not answer"
    assert engine.until(lambda: waited in containers.containers.get(HUB).logs(tail=20), 20)
    found.start()
    start.join()
    assert answers == [201]


def test_a_hub_that_starts_without_the_filter_keeps_the_sessions(
    session: Session, hub: Hub, containers: docker.DockerClient
) -> None:
    kernel = session.start_kernel()
    session.run("x = 41", kernel=kernel)
    found, the_hub = containers.containers.get(FILTER), containers.containers.get(HUB)
    found.stop()
    the_hub.restart()
    waited = b"Docker does not answer"
    assert engine.until(lambda: waited in the_hub.logs(tail=20), 60)
    found.start()
    assert engine.until(lambda: hub.call("GET", "/").status_code == 200, 90)

    def ready() -> bool:
        user = hub.call("GET", f"/users/{name_of(session)}", 200).json()
        return bool(user["servers"][""]["ready"])

    assert engine.until(ready, 60)
    assert session.run("x + 1", kernel=kernel).value == "42"


# --- What it costs -------------------------------------------------------------------------------
MEASURE = """
import http.client, json, socket, sys, time
from docker_filter.decide import FIRST_UID, Create, compose
from docker_filter.policy import Policy, load_seccomp

policy = Policy.load()
env = tuple(f"VARIABLE_{i}=" + "x" * 60 for i in range(30))
wanted = Create(policy.name_prefix + "measured", policy.images[0], env)
bodies = {
    "/raw.sock": compose(wanted, FIRST_UID + 40, (), policy, load_seccomp()),
    "/run/docker-filter/docker.sock": {"Image": wanted.image, "Env": list(env)},
}

def ask(path, method, target, body=None):
    started = time.perf_counter()
    connection = http.client.HTTPConnection("docker", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    headers = {"Content-Type": "application/json"} if body else {}
    connection.request(method, "/v1.41" + target, json.dumps(body) if body else None, headers)
    answer = connection.getresponse()
    told = answer.read()
    connection.close()
    if b"init-p" in told:
        raise ConnectionResetError(told)
    assert answer.status in (200, 201, 204), (path, method, target, answer.status, told)
    return (time.perf_counter() - started) * 1000

for i in range(int(sys.argv[1])):
    pair = {}
    for path in sorted(bodies, reverse=i % 2 == 1):
        while True:  # under load runc now and then loses the process it has just made
            create = ask(path, "POST", "/containers/create?name=" + wanted.name, bodies[path])
            try:
                start = ask(path, "POST", f"/containers/{wanted.name}/start")
                break
            except ConnectionResetError:
                time.sleep(0.5)  # until Docker has taken it away
        inspect = ask(path, "GET", f"/containers/{wanted.name}/json")
        ask(path, "DELETE", f"/containers/{wanted.name}?force=1")
        pair[path] = [create, start, inspect]
    print(json.dumps(list(pair[path] for path in bodies)), flush=True)
"""


def test_what_the_filter_costs(host: Host, containers: docker.DockerClient, image: str) -> None:
    """Create, start and inspect a session's container through each socket, in turns."""
    the_filter = str(containers.containers.get(FILTER).attrs["Config"]["Image"])
    etc = "/etc/integrable-jupyterhub"
    told = host.run(
        *("docker", "run", "--rm", "--network", "none", "--user", "65602:65600"),
        *("--group-add", host.sh("stat -Lc %g /var/run/docker.sock")),
        *("-v", "jupyterhub_filter:/run/docker-filter:ro", "-v", "/var/run/docker.sock:/raw.sock"),
        *("-v", f"{etc}/filter/config.json:/etc/docker-filter/config.json:ro"),
        *("-v", f"{etc}/session/seccomp.json:/etc/docker-filter/seccomp.json:ro"),
        *("--entrypoint", "python3", the_filter, "-c", MEASURE, "40"),
        timeout=300,
    ).stdout.decode()
    pairs = [json.loads(line) for line in told.splitlines()]
    print(f"\n{'ms, median of 40':<18}{'raw':>8}{'filter':>8}{'difference':>12}")
    costs = {}
    for i, what in enumerate(("create", "start", "inspect")):
        raws, filtered = ([pair[side][i] for pair in pairs] for side in (0, 1))
        costs[what] = statistics.median(f - r for r, f in zip(raws, filtered, strict=True))
        print(
            f"{what:<18}{statistics.median(raws):>8.1f}{statistics.median(filtered):>8.1f}"
            f"{costs[what]:>+12.1f}"
        )
    assert sum(costs.values()) < 100
