"""The integrator's contract as the LMS sends it: by the real PHP curl, and by Python."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from integrable_jupyterhub import gone
from jinja2 import Environment, FileSystemLoader

from tests.browser import browser_page, check_accessibility
from tests.deployment import Deployment
from tests.lab import engine
from tests.lab.client import Hub, Session
from tests.lms import Send, by_php, by_python, replay, start, users_name
from tests.sessions import name_of, session_containers

LMS, PORTAL, EVIL = "https://lms.example.org", "https://portal.example.org", "https://evil.example"
TRIES, PAUSE = 3, 1.0
"""How often, and how long apart, the LMS asks whether a session serves."""


@pytest.fixture(params=[by_php, by_python], ids=["php", "python"])
def send(request: pytest.FixtureRequest) -> Send:
    sender: Send = request.param
    return sender


@pytest.fixture
def name(hub: Hub) -> Iterator[str]:
    """A user's name as the LMS makes them; that user is no more afterwards."""
    name = users_name()
    yield name
    hub.delete_user(name)


def test_the_lms_starts_fills_reads_and_ends_a_session(
    send: Send, hub: Hub, name: str, containers: docker.DockerClient
) -> None:
    replay(send, hub, name, containers)


def test_json_full_of_ampersands_reaches_the_hub_too(send: Send, hub: Hub, name: str) -> None:
    send("POST", f"{hub.api_url}/users/{name}", hub.token, "")
    body = json.dumps({"note": "page", "expires_in": 3600, "more": "&a" * 5000})
    assert send("POST", f"{hub.api_url}/users/{name}/tokens", hub.token, body).status == 201


def test_a_stopped_server_is_424(send: Send, hub: Hub, name: str) -> None:
    token = start(send, hub, name)
    stopped = send("DELETE", f"{hub.api_url}/users/{name}/server", hub.token)
    assert stopped.status == 204
    for method in ("GET", "PUT", "POST", "DELETE"):
        gone = send(method, f"{hub.public_url}/user/{name}/api/contents/x", token, "{}")
        assert (gone.status, gone.redirects) == (424, 0)
        assert gone.json["status"] == 424


def test_a_crashed_session_is_424_soon_and_leaves_nothing(
    hub: Hub, session: Session, containers: docker.DockerClient
) -> None:
    name = name_of(session)
    session_containers(containers)[name].kill()
    told: list[int | str] = []

    def ended() -> bool:
        url = f"{session.url}/api/status"
        try:
            # At first the proxy waits for an address where nobody is.
            told.append(requests.get(url, verify=str(hub.ca), timeout=2).status_code)
        except requests.Timeout:
            told.append("nothing")
        return told[-1] == 424

    assert engine.until(ended, 60), told
    assert {*told} <= {"nothing", 503, 424}
    # The answer does not wait for Docker, which is still at it.
    assert engine.until(lambda: name not in session_containers(containers), 60)


def test_who_asks_for_a_server_that_starts_is_answered_when_it_serves(hub: Hub, name: str) -> None:
    hub.create_user(name)
    token = hub.mint_token(name)
    assert {answer.status_code for answer in starts(hub, [name] * 3)} == {201}
    assert hub.attach(name, token).status() == 200


@pytest.mark.parametrize("after", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 1.6, 2.0])
def test_a_user_is_deleted_at_any_moment_of_a_start(
    hub: Hub, name: str, containers: docker.DockerClient, after: float
) -> None:
    hub.create_user(name)
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(hub.call, "POST", f"/users/{name}/server")
        time.sleep(after)
        assert hub.call("DELETE", f"/users/{name}").status_code == 204
        assert hub.call("DELETE", f"/users/{name}").status_code == 404
        assert started.result().status_code in (201, 404, 409)
    assert name not in session_containers(containers)
    gone = requests.get(f"{hub.public_url}/user/{name}/api/status", verify=str(hub.ca), timeout=30)
    assert (gone.status_code, gone.history) == (404, [])


# --- Under load ----------------------------------------------------------------------------------
@pytest.fixture
def make(hub: Hub) -> Iterator[Callable[[int], list[str]]]:
    names: list[str] = []

    def make(count: int) -> list[str]:
        made = [f"u{secrets.randbelow(10**12)}_{i}" for i in range(count)]
        names.extend(made)
        for name in made:
            hub.create_user(name)
        return made

    yield make
    for name in names:
        hub.delete_user(name)


def starts(hub: Hub, names: list[str]) -> list[requests.Response]:
    """All at once."""
    ready = threading.Barrier(len(names))

    def one(name: str) -> requests.Response:
        ready.wait()
        return hub.call("POST", f"/users/{name}/server")

    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(one, names))


def sent_away(answer: requests.Response) -> str:
    """Why, from a 429 that says when to come again."""
    assert answer.status_code == 429, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    text: str = answer.json()["message"]
    return text


def test_a_full_queue_and_a_full_host_are_429_and_all_else_is_served(
    deployment: Deployment, hub: Hub, make: Callable[[int], list[str]], restored: None
) -> None:
    deployment.run(max_starts=1, max_waiting_starts=1, max_sessions=3)
    crowd = make(3)
    answers = starts(hub, crowd)
    assert sorted(answer.status_code for answer in answers) == [201, 201, 429]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert "waiting" in sent_away(refused)
    (late,) = (name for name, a in zip(crowd, answers, strict=True) if a is refused)
    assert hub.call("POST", f"/users/{late}/server").status_code == 201
    (fourth,) = make(1)
    assert "as many sessions as allowed" in sent_away(hub.call("POST", f"/users/{fourth}/server"))
    hub.delete_user(late)
    assert hub.call("POST", f"/users/{fourth}/server").status_code == 201


def test_without_memory_to_spare_a_start_is_429(
    deployment: Deployment, hub: Hub, make: Callable[[int], list[str]], restored: None
) -> None:
    deployment.run(memory_headroom_mb=10**7)
    (name,) = make(1)
    assert "memory" in sent_away(hub.call("POST", f"/users/{name}/server"))
    deployment.run()
    assert hub.call("POST", f"/users/{name}/server").status_code == 201


# --- Browsers ------------------------------------------------------------------------------------
def cookies_of(*answers: requests.Response) -> list[str]:
    return [line for answer in answers for line in answer.raw.headers.getlist("Set-Cookie")]


def visits(hub: Hub, session: Session) -> list[requests.Response]:
    """Answers of hub and session that set cookies: a token in the URL, and none."""
    asked = (f"{session.link()}", f"{session.url}/lab", f"{hub.public_url}/hub/login")
    return [
        step
        for url in asked
        for answer in [requests.get(url, verify=str(hub.ca), timeout=60)]
        for step in (*answer.history, answer)
    ]


def max_age(line: str) -> int:
    (cookie,) = SimpleCookie(line.replace("Partitioned", "")).values()
    return int(cookie["max-age"])


def test_by_default_nobody_frames_hub_or_session_and_cookies_stay_at_home(
    hub: Hub, session: Session
) -> None:
    answers = visits(hub, session)
    for answer in answers:
        if answer.headers["Content-Type"].startswith("text/html") and not answer.is_redirect:
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Referrer-Policy"] == "no-referrer"
    lines = cookies_of(*answers)
    assert any(line.startswith("_xsrf") for line in lines)
    assert len({line.partition("=")[0] for line in lines}) > 1
    assert all("Secure" in line and "SameSite=Lax" in line for line in lines)
    preflight = requests.options(
        f"{hub.api_url}/users", headers={"Origin": LMS}, verify=str(hub.ca), timeout=30
    )
    assert "Access-Control-Allow-Origin" not in preflight.headers


def test_listed_origins_embed_and_ask_hub_and_session(
    deployment: Deployment, hub: Hub, open_session: Callable[[], Session], restored: None
) -> None:
    deployment.run(access_control_origins=[LMS, PORTAL], cull_max_age_seconds=7200)
    session = open_session()
    answers = visits(hub, session)
    for answer in answers:
        if answer.headers["Content-Type"].startswith("text/html") and not answer.is_redirect:
            policy = answer.headers["Content-Security-Policy"]
            assert f"frame-ancestors 'self' {LMS} {PORTAL}" in policy
            assert answer.headers["Referrer-Policy"] == "no-referrer"
    lines = [line for line in cookies_of(*answers) if not line.partition(";")[0].endswith('=""')]
    assert any(line.startswith("_xsrf") for line in lines)
    assert len({line.partition("=")[0] for line in lines}) > 1
    for line in lines:
        assert {"Secure", "SameSite=None", "Partitioned"} <= {*line.split("; ")}, line
        assert 0 < max_age(line) <= 7200, line

    paths = {f"{hub.api_url}/users": hub.token, f"{session.url}/api/contents": session.token}
    for url, token in paths.items():
        for origin in (LMS, PORTAL, EVIL):
            asked = {
                "Origin": origin,
                "Access-Control-Request-Method": "GET",
                "Access-Control-Request-Headers": "authorization",
            }
            preflight = requests.options(url, headers=asked, verify=str(hub.ca), timeout=30)
            allowed = preflight.headers.get("Access-Control-Allow-Origin")
            if origin == EVIL:
                assert allowed != EVIL
                continue
            assert preflight.ok
            assert allowed == origin
            assert preflight.headers["Access-Control-Allow-Credentials"] == "true"
            assert "authorization" in preflight.headers["Access-Control-Allow-Headers"].lower()
            assert "Origin" in preflight.headers["Vary"]
            real = requests.get(
                url,
                headers={"Origin": origin, "Authorization": f"token {token}"},
                verify=str(hub.ca),
                timeout=30,
            )
            assert real.status_code == 200
            assert real.headers["Access-Control-Allow-Origin"] == origin
            assert "Origin" in real.headers["Vary"]


def starting_page(language: str) -> str:
    templates = Path(gone.__file__).parent / "templates"
    environment = Environment(loader=FileSystemLoader(templates), autoescape=True)
    return environment.get_template("no_session.html").render(
        words=gone.WORDS[language], language=language, starting=True
    )


@pytest.mark.parametrize(
    ("locale", "scheme", "words"),
    [
        ("en-GB", "light", "This session has ended"),
        ("de-DE", "dark", "Diese Sitzung ist beendet"),
    ],
)
def test_people_read_that_a_session_has_ended(
    hub: Hub, artifacts: Path, locale: str, scheme: Any, words: str
) -> None:
    with browser_page(locale=locale, color_scheme=scheme) as page:
        for path in ("/user/nobody/lab?token=0123", "/hub/login"):
            answer = page.goto(f"{hub.public_url}{path}")
            assert answer is not None
            assert answer.status == (404 if "nobody" in path else 403)
            assert page.url.endswith(path)
            assert page.get_by_role("heading", level=1).inner_text() == words
            check_accessibility(page)
        page.screenshot(path=artifacts / f"session-ended-{locale}.png")
        # "This session is starting" is there for a moment only: from its template.
        page.set_content(starting_page(locale.partition("-")[0]))
        check_accessibility(page)
