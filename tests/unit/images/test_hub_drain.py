"""A drained hub: what the file says, who is refused, and who is ended at the deadline."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from integrable_jupyterhub import drain
from integrable_jupyterhub.drain import Deadline, Drain, read
from integrable_jupyterhub.spawner import SessionSpawner
from jupyterhub.spawner import SpawnException

from tests.unit.images.samples import in_loop

NOW = 1_800_000_000.0


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state.json"
    monkeypatch.setattr(drain, "FILE", path)
    return path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, None),
        ('{"minutes": null, "deadline": null}', Drain(None)),
        ('{"minutes": 5, "deadline": 1800000000}', Drain(NOW)),
        ("", Drain(None)),
        ('{"deadline": "soon"}', Drain(None)),
        ("[]", Drain(None)),
    ],
)
def test_what_nobody_understands_drains_and_ends_nothing(
    file: Path, text: str | None, found: Drain | None
) -> None:
    if text is not None:
        file.write_text(text)
    assert read() == found


@pytest.mark.parametrize(
    ("deadline", "seconds", "over"),
    [(None, 120, False), (NOW + 90, 90, False), (NOW, 120, True), (NOW - 1, 120, True)],
)
def test_clients_may_come_again_after_the_deadline(
    deadline: float | None, seconds: int, over: bool
) -> None:
    found = Drain(deadline)
    assert (found.retry_after(NOW), found.over(NOW)) == (seconds, over)


@in_loop
async def test_no_session_starts_and_a_client_is_told_when_to_come_again(file: Path) -> None:
    file.write_text(json.dumps({"deadline": time.time() + 60}))
    spawner = SessionSpawner(_deprecated_db_session=None)
    with pytest.raises(SpawnException, match="under maintenance") as refused:
        await spawner.start()
    assert refused.value.status_code == 503
    assert 55 <= int(refused.value.headers["Retry-After"]) <= 60


@in_loop
async def test_one_that_waits_its_turn_is_refused_too(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawner = SessionSpawner(_deprecated_db_session=None)
    begun = asyncio.Event()

    async def start_now() -> None:
        begun.set()

    monkeypatch.setattr(spawner, "start_now", start_now)
    async with spawner.admission.turn():
        monkeypatch.setattr(spawner.admission, "_turns", asyncio.Semaphore(0))
        start = asyncio.ensure_future(spawner.start())
        await asyncio.sleep(0.01)
        file.write_text('{"deadline": null}')
        spawner.admission._turns.release()
        with pytest.raises(SpawnException, match="under maintenance"):
            await start
    assert not begun.is_set()


class Http:
    def __init__(self, code: int) -> None:
        self.code, self.asked = code, list[tuple[str, str, str]]()

    async def fetch(self, url: str, method: str, headers: dict[str, str], **_: Any) -> Any:
        self.asked.append((method, url, headers["Authorization"]))
        return SimpleNamespace(code=self.code)


def user(name: str, *active: bool) -> Any:
    spawners = {str(n): SimpleNamespace(active=is_active) for n, is_active in enumerate(active)}
    return SimpleNamespace(name=name, spawners=spawners)


def deadline(code: int = 204) -> tuple[Deadline, Http]:
    users = {1: user("ada"), 2: user("b/ob", False, True), 3: user("eve", False)}
    app = SimpleNamespace(users=users, log=logging.getLogger("test"))
    made, http = Deadline(app, "http://hub/hub/api", "s3cret"), Http(code)
    vars(made)["_http"] = http
    return made, http


@in_loop
async def test_at_the_deadline_those_that_run_are_deleted_as_the_culler_does(file: Path) -> None:
    made, http = deadline()
    file.write_text(json.dumps({"deadline": time.time() - 1}))
    await made.look()
    assert http.asked == [("DELETE", "http://hub/hub/api/users/b%2Fob", "token s3cret")]


@pytest.mark.parametrize("text", [None, '{"deadline": null}', '{"deadline": 4000000000}', "?"])
@in_loop
async def test_before_the_deadline_and_without_one_nobody_is(file: Path, text: str | None) -> None:
    made, http = deadline()
    if text is not None:
        file.write_text(text)
    await made.look()
    assert http.asked == []


@in_loop
async def test_an_end_that_fails_is_told_and_tried_again(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made, http = deadline(500)
    file.write_text('{"deadline": 1}')
    await made.look()
    await made.look()
    assert len(http.asked) == 2
    assert "ending a session was answered with 500" in caplog.text
