"""What the isolation check makes: containers as sessions are, and nothing that stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from docker_filter import probe
from docker_filter.decide import Create, Refused, compose
from docker_filter.policy import Policy
from docker_filter.probe import KNOCK, LISTEN, Probe
from docker_filter.serve import Answer

from tests.unit.images.samples import FILTER_POLICY, in_loop

POLICY = Policy(**FILTER_POLICY)


class FakeDocker:
    """Docker's API as far as a probe asks it: the containers that run say `said`."""

    def __init__(
        self, said: bytes = b'["open", "refused"]\n', start: int = 204, times: int = 1000
    ) -> None:
        """`start`: what so many attempts to start a container are answered."""
        self.said, self.start, self.times = said, start, times
        self.made: list[dict[str, Any]] = []
        self.there: set[str] = set()

    async def ask(self, method: str, path: str, body: Any = None) -> Answer:
        name = path.partition("?")[0].removeprefix("/containers/").split("/")[0]
        if path.startswith("/images/"):
            return Answer(200, b'{"Config": {"Volumes": {"/data": {}}}}')
        if path.startswith("/containers/create"):
            self.made.append(body)
            self.there.add(path.partition("name=")[2])
            return Answer(201, b'{"Id": "5e"}')
        if method == "DELETE":
            self.there.discard(name)
            return Answer(204, b"")
        if path.endswith("/start"):
            self.times -= 1
            if self.start >= 400 and self.times >= 0:
                return Answer(self.start, b'{"message": "no runtime"}')
            return Answer(204, b"")
        if path.endswith("/json"):
            address = {"Networks": {POLICY.network: {"IPAddress": "172.27.128.9"}}}
            return Answer(200, json.dumps({"NetworkSettings": address}).encode())
        assert "/logs" in path
        said = b"[]\n" if name.endswith("-1") else self.said
        return Answer(200, b"\1\0\0\0\0\0\0" + bytes([len(said)]) + said)


def knocked(docker: FakeDocker) -> list[Any]:
    return list(json.loads(next(m["Cmd"][0] for m in docker.made if m["Entrypoint"][3] == KNOCK)))


@in_loop
async def test_both_are_made_as_sessions_are_but_for_what_runs_in_them() -> None:
    docker: Any = FakeDocker()
    doors = [["tcp", "172.27.0.2", 8081], ["tcp", "neighbour", 8888]]
    assert await Probe(POLICY, "{}", docker).results(8888, doors) == ["open", "refused"]
    session = compose(Create("x", POLICY.images[0], ()), 1, ["/data"], POLICY, "{}")
    for made in docker.made:
        same = set(session) - {"User", "Labels", "HostConfig"}
        assert {key: made[key] for key in same} == {key: session[key] for key in same}
        uid = made["User"].partition(":")[0]
        mine = compose(Create("x", POLICY.images[0], ()), int(uid), ["/data"], POLICY, "{}")
        assert made["HostConfig"] == mine["HostConfig"]
        # Neither the hub's reaper nor the limit of sessions knows it.
        assert made["Labels"] == {"integrable-jupyterhub.role": "probe"}
    assert {made["Entrypoint"][3] for made in docker.made} == {LISTEN, KNOCK}
    assert len({made["User"] for made in docker.made}) == 2
    assert knocked(docker)[1] == ["tcp", "172.27.128.9", 8888]
    assert docker.there == set()


@in_loop
async def test_a_container_that_does_not_start_is_made_anew() -> None:
    """Twice, for under load runc loses one now and then."""
    docker: Any = FakeDocker(start=500, times=2)
    assert await Probe(POLICY, "{}", docker).results(8888, []) == ["open", "refused"]
    assert len(docker.made) == 4
    assert docker.there == set()


@pytest.mark.parametrize(
    ("docker", "told"),
    [
        (FakeDocker(start=500), "no runtime"),
        (FakeDocker(said=b"Traceback (most recent call last):\n"), "Traceback"),
    ],
)
@in_loop
async def test_what_fails_says_why_and_leaves_nothing(docker: Any, told: str) -> None:
    with pytest.raises(Refused, match=told):
        await Probe(POLICY, "{}", docker).results(8888, [])
    assert docker.there == set()


@in_loop
async def test_silence_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.3)
    docker: Any = FakeDocker(said=b"")
    with pytest.raises(TimeoutError):
        await Probe(POLICY, "{}", docker).results(8888, [])
    assert docker.there == set()
