"""Starting and ending a session, with a Docker that is not there."""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from docker.errors import APIError, ImageNotFound, NotFound
from docker_filter.decide import Create, List, Touch, parse
from docker_filter.policy import Policy
from integrable_jupyterhub import spawner as hub_spawner
from integrable_jupyterhub.admission import Admission
from integrable_jupyterhub.spawner import SessionSpawner
from jupyterhub.spawner import SpawnException
from requests import PreparedRequest, Response

from tests.unit.images.samples import FILTER_POLICY, in_loop


def refusal(kind: type[APIError], status: int, text: str) -> APIError:
    response = Response()
    response.status_code = status
    return kind(text, response=response, explanation=text)


class FakeDocker:
    """docker.APIClient as far as a session needs it; an exception in `plan` is raised once, or so
    many times as it is there."""

    def __init__(self, port: int = 8888, **plan: Exception | Sequence[Exception]) -> None:
        self.port, self.calls = port, list[tuple[str, Any]]()
        self.plan = defaultdict[str, list[Exception]](list)
        for name, errors in plan.items():
            self.plan[name] = [errors] if isinstance(errors, Exception) else [*errors]
        self.alive = True

    def _call(self, name: str, subject: Any) -> None:
        self.calls.append((name, subject))
        if planned := self.plan[name]:
            raise planned.pop()

    def create_container_from_config(self, config: dict[str, Any], name: str) -> dict[str, Any]:
        self.config = config
        self._call("create", name)
        return {"Id": "0123456789abcdef"}

    def start(self, container: str) -> None:
        self._call("start", container)

    def inspect_container(self, container: str) -> dict[str, Any]:
        self._call("inspect", container)
        if not self.alive:
            raise refusal(NotFound, 404, "No such container")
        return {
            "Id": "0123456789abcdef",
            "State": {"Running": True},
            "NetworkSettings": {"Networks": {"net": {"IPAddress": "127.0.0.1"}}},
        }

    def remove_container(self, container: str, **how: Any) -> None:
        self._call("remove", (container, how))


@pytest.fixture
def spawner(monkeypatch: pytest.MonkeyPatch) -> SessionSpawner:
    user = SimpleNamespace(name="ann", url="/user/ann/", escaped_name="ann")
    spawner = SessionSpawner(user=user, hub=SimpleNamespace(), network_name="net")
    spawner.name_template = "session-{username}"
    spawner.use_internal_ip = True
    spawner.image = "notebook:1"
    monkeypatch.setattr(spawner, "get_env", lambda: {"A": "b", "TEXT": "two\nlines"})
    return spawner


def use(spawner: SessionSpawner, docker: FakeDocker) -> FakeDocker:
    spawner.__class__ = type("OneSpawner", (SessionSpawner,), {"_client": docker})
    spawner.port = docker.port
    return docker


async def listen(port: int = 0) -> asyncio.Server:
    return await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)


@in_loop
async def test_a_session_is_made_started_and_found(spawner: SessionSpawner) -> None:
    async with await listen() as server:
        port = server.sockets[0].getsockname()[1]
        docker = use(spawner, FakeDocker(port))
        assert await spawner.start() == ("127.0.0.1", port)
    assert [name for name, _ in docker.calls] == ["create", "start", "inspect"]
    assert ("create", "session-ann") in docker.calls
    assert docker.config == {"Image": "notebook:1", "Env": ["A=b", "TEXT=two\nlines"]}


@in_loop
async def test_a_start_returns_as_soon_as_the_port_opens(spawner: SessionSpawner) -> None:
    """JupyterHub's own back-off would take up to 5 s to notice."""
    async with await listen() as probe:
        port = probe.sockets[0].getsockname()[1]
    use(spawner, FakeDocker(port))
    start = asyncio.ensure_future(spawner.start())
    await asyncio.sleep(0.4)
    assert not start.done()
    async with await listen(port):
        opened = time.monotonic()
        await start
    assert time.monotonic() - opened < 0.3


@pytest.mark.parametrize("times", [1, 3], ids=["at once", "in its time"])
@in_loop
async def test_the_rest_of_a_killed_start_makes_way(spawner: SessionSpawner, times: int) -> None:
    """Docker removes one that has crashed by itself, and has not done so when it says so."""
    async with await listen() as server:
        in_use = [refusal(APIError, 409, "the name is in use") for _ in range(times)]
        docker = use(spawner, FakeDocker(server.sockets[0].getsockname()[1], create=in_use))
        await spawner.start()
    called = [name for name, _ in docker.calls if name in ("create", "remove")]
    assert called == ["create", "remove"] * times + ["create"]


LOST = [
    f"OCI runtime create failed: runc create failed: unable to start container process: {why}"
    for why in (
        "waiting for init preliminary setup: read init-p: connection reset by peer: unknown",
        "can't copy bootstrap data to pipe: write init-p: broken pipe: unknown",
    )
]


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("words", LOST, ids=["read", "write"])
@in_loop
async def test_a_process_that_runc_loses_is_made_twice_more(
    spawner: SessionSpawner, words: str, times: int
) -> None:
    async with await listen() as server:
        lost = [refusal(APIError, 500, words) for _ in range(times)]
        docker = use(spawner, FakeDocker(server.sockets[0].getsockname()[1], start=lost))
        if times == 3:
            with pytest.raises(SpawnException, match="init-p"):
                await spawner.start()
        else:
            await spawner.start()
    made = [name for name, _ in docker.calls if name in ("create", "start")]
    assert made == ["create", "start"] * min(times + 1, 3)


@in_loop
async def test_a_missing_image_is_named(spawner: SessionSpawner) -> None:
    use(spawner, FakeDocker(create=refusal(ImageNotFound, 404, "No such image")))
    with pytest.raises(SpawnException, match="notebook:1 does not exist on this host") as caught:
        await spawner.start()
    assert caught.value.status_code == 500


@in_loop
async def test_what_docker_refuses_is_passed_on(spawner: SessionSpawner) -> None:
    use(spawner, FakeDocker(start=refusal(NotFound, 404, "network net not found")))
    with pytest.raises(SpawnException, match="network net not found"):
        await spawner.start()


@in_loop
async def test_too_many_sessions_are_429(spawner: SessionSpawner) -> None:
    use(spawner, FakeDocker(create=refusal(APIError, 429, "as many as allowed")))
    with pytest.raises(SpawnException, match="as many as allowed") as caught:
        await spawner.start()
    assert caught.value.status_code == 429
    assert int(caught.value.headers["Retry-After"]) > 0


@in_loop
async def test_without_an_address_left_it_is_429(spawner: SessionSpawner) -> None:
    # Docker 20.10 to 28, word for word.
    said = "no available IPv4 addresses on this network's address pools: jupyterhub_network (a1a8)"
    use(spawner, FakeDocker(start=refusal(APIError, 500, said)))
    with pytest.raises(SpawnException, match="every address of session_range is taken") as caught:
        await spawner.start()
    assert caught.value.status_code == 429


@in_loop
async def test_no_turn_is_429_too(spawner: SessionSpawner) -> None:
    docker = use(spawner, FakeDocker())
    spawner.__class__.admission = Admission(1, 0, 5, headroom_mb=10**9)
    with pytest.raises(SpawnException, match="not enough memory") as caught:
        await spawner.start()
    assert (caught.value.status_code, docker.calls) == (429, [])
    assert int(caught.value.headers["Retry-After"]) > 0


@in_loop
async def test_what_a_failed_start_made_is_removed(spawner: SessionSpawner) -> None:
    docker = use(spawner, FakeDocker(start=refusal(APIError, 500, "no address is free")))
    with pytest.raises(SpawnException, match="no address is free"):
        await spawner.start()
    assert [name for name, _ in docker.calls] == ["create", "start", "remove"]


@in_loop
async def test_a_session_that_does_not_serve_in_time_is_removed(spawner: SessionSpawner) -> None:
    docker = use(spawner, FakeDocker(port=1))
    spawner.__class__.admission = Admission(1, 0, seconds=0.1, headroom_mb=0)
    with pytest.raises(SpawnException, match=r"did not serve within 0\.1 s"):
        await spawner.start()
    assert docker.calls[-1][0] == "remove"


@in_loop
async def test_a_start_called_off_while_docker_creates_leaves_nothing(
    spawner: SessionSpawner,
) -> None:
    """The thread that calls Docker can't be called off: its container would stay."""
    docker, creating, go = use(spawner, FakeDocker()), threading.Event(), threading.Event()
    plain = docker.create_container_from_config

    def slowly(config: dict[str, Any], name: str) -> dict[str, Any]:
        creating.set()
        go.wait(5)
        return plain(config, name)

    docker.create_container_from_config = slowly  # type: ignore[method-assign]
    start = asyncio.ensure_future(spawner.start())
    await asyncio.to_thread(creating.wait, 5)
    start.cancel()
    await asyncio.sleep(0.05)
    assert not start.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert [name for name, _ in docker.calls] == ["create", "remove"]


@in_loop
async def test_a_deleted_user_leaves_no_container_whatever_the_hub_believes(
    spawner: SessionSpawner,
) -> None:
    docker = use(spawner, FakeDocker(remove=refusal(APIError, 500, "device busy")))
    await spawner.delete_forever()  # the user goes all the same; the reaper will try again
    assert docker.calls == [("remove", ("session-ann", {"v": True, "force": True}))]


AWAY = [
    requests.ConnectionError("no socket"),
    refusal(APIError, 503, "Docker filter: Docker does not answer"),
]


@pytest.mark.parametrize("error", AWAY, ids=["filter", "docker"])
@in_loop
async def test_while_nobody_answers_it_asks_again(
    spawner: SessionSpawner, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JupyterHub would take an error for the session's end, and forget one that runs."""
    monkeypatch.setattr(hub_spawner, "AGAIN_SECONDS", 0.01)
    docker = use(spawner, FakeDocker(inspect=error))
    assert await spawner.poll() is None
    assert [name for name, _ in docker.calls] == ["inspect", "inspect"]


@in_loop
async def test_its_patience_has_an_end(
    spawner: SessionSpawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_spawner, "PATIENCE_SECONDS", 0)
    use(spawner, FakeDocker(inspect=AWAY[0]))
    with pytest.raises(requests.ConnectionError):
        await spawner.poll()


@in_loop
async def test_the_docker_filter_takes_all_that_it_sends(
    spawner: SessionSpawner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's own requests, up to the wire."""
    policy = Policy.model_validate(
        {**FILTER_POLICY, "name_prefix": "session-", "images": ["notebook:1"]}
    )
    taken = []

    def send(_: Any, request: PreparedRequest, **__: Any) -> Response:
        url, body = request.path_url, request.body or b""
        raw = body.encode() if isinstance(body, str) else body
        taken.append(parse(request.method or "", url, raw, policy))
        response = Response()
        response.status_code = 200
        response._content = b'{"Id": "5e5510", "State": {"Running": true}}'
        return response

    monkeypatch.setattr(requests.Session, "send", send)
    spawner.__class__ = type("OneSpawner", (SessionSpawner,), {"_client": None})
    spawner.client_kwargs = {"version": "1.41", "base_url": "http://docker:80"}
    await spawner.choose_container()
    await spawner.start_object()
    await spawner.poll()
    await spawner.stop()
    spawner.client.containers(all=True)  # as the reaper asks
    assert taken == [
        Create("session-ann", "notebook:1", ("A=b", "TEXT=two\nlines")),
        Touch("start", "5e5510"),
        Touch("inspect", "session-ann"),
        Touch("remove", "session-ann"),
        List(),
    ]


@in_loop
async def test_a_session_that_ends_at_once_is_not_waited_for(spawner: SessionSpawner) -> None:
    docker = use(spawner, FakeDocker(port=1))
    docker.alive = False
    with pytest.raises(SpawnException, match="ended before it served"):
        await asyncio.wait_for(spawner.wait_until_serving("127.0.0.1", 1), timeout=3)


@in_loop
async def test_the_end_is_quick_and_by_name(spawner: SessionSpawner) -> None:
    docker = use(spawner, FakeDocker())
    await spawner.stop()
    assert docker.calls == [("remove", ("session-ann", {"v": True, "force": True}))]


@pytest.mark.parametrize("status", [404, 409])
@in_loop
async def test_ending_what_is_gone_or_going_is_fine(spawner: SessionSpawner, status: int) -> None:
    use(spawner, FakeDocker(remove=refusal(APIError, status, "gone")))
    await spawner.stop()


@in_loop
async def test_an_end_that_docker_refuses_is_an_error(spawner: SessionSpawner) -> None:
    use(spawner, FakeDocker(remove=refusal(APIError, 500, "device busy")))
    with pytest.raises(APIError, match="device busy"):
        await spawner.stop()


def test_docker_is_called_from_more_than_one_thread(spawner: SessionSpawner) -> None:
    assert spawner.executor._max_workers > 1
