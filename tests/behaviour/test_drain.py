"""`make drain`: nobody starts, those that run are told, and ended at the deadline."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
import requests

from tests.behaviour.test_status import report
from tests.browser import browser_page
from tests.deployment import Deployment, Run
from tests.lab import Host, engine
from tests.lab.client import Hub, Session
from tests.sessions import name_of

STATE = "/var/lib/integrable-jupyterhub/hub/drain/state.json"


@pytest.fixture(autouse=True)
def undrained(deployment: Deployment, first_run: Run) -> Iterator[None]:
    yield
    deployment.run(script="ops/undrain.py")


def page(hub: Hub, path: str, **headers: str) -> requests.Response:
    """What a browser without a token gets at this path of the hub's address."""
    return requests.get(
        hub.api_url.removesuffix("/hub/api") + path,
        headers=headers,
        verify=str(hub.ca),
        allow_redirects=False,
        timeout=30,
    )


def test_a_drained_hub_starts_nobody_until_it_is_undrained(
    deployment: Deployment,
    host: Host,
    hub: Hub,
    session: Session,
    user: Callable[[], str],
) -> None:
    name = user()
    dry = deployment.run("--dry", script="ops/drain.py")
    assert (dry.exit_code, host.sh(f"ls {STATE} 2>/dev/null || :")) == (0, "")
    assert deployment.runbook("make drain").exit_code == 0
    assert deployment.run(script="ops/drain.py").changed == []

    host.sh("docker restart jupyterhub_hub")
    assert engine.until(lambda: hub.call("GET", "/users").status_code == 200, 60)
    refused = hub.call("POST", f"/users/{name}/server")
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) == 120
    told = page(hub, f"/user/{name}/lab", **{"Accept": "text/html", "Accept-Language": "de"})
    assert (told.status_code, told.headers["Retry-After"]) == (503, "120")
    assert "Wartungsarbeiten" in told.text
    # A program asks whether this very session is over.
    assert page(hub, f"/user/{name}/api/status").status_code == 424
    assert page(hub, "/hub/maintenance").json() == {"drained": True, "ends": None}
    # Who was there goes on.
    assert session.run("6*7").value == "42"

    _, found = report(deployment)
    assert found["status"]["drain"]["drained"]
    assert "drain" in [one["subject"] for one in found["findings"]]

    assert deployment.runbook("make undrain").exit_code == 0
    assert deployment.run(script="ops/undrain.py").changed == []
    hub.start_server(name)
    assert page(hub, "/hub/maintenance").json() == {"drained": False, "ends": None}


def test_people_are_told_when_their_session_ends_and_then_it_does(
    deployment: Deployment, hub: Hub, open_session: Callable[[], Session], restored: None
) -> None:
    deployment.run(archive=True)
    session = open_session()
    name = name_of(session)
    session.put({"kept.txt": b"kept"})
    with browser_page(locale="en-GB") as tab:
        with tab.expect_response("**/hub/maintenance", timeout=120_000):
            tab.goto(session.link(), timeout=120_000)
        begun = time.time()
        assert deployment.runbook("make drain DEADLINE=MINUTES", MINUTES="1").exit_code == 0
        done = time.time()
        banner = tab.get_by_role("alert")
        banner.filter(has_text="maintenance").wait_for(timeout=60_000)
        told = page(hub, "/hub/maintenance").json()
        end = datetime.fromisoformat(told["ends"])
        assert begun + 59 < end.timestamp() < done + 61
        print(f"\nbanner {time.time() - begun:.0f} s after `make drain`: {banner.inner_text()}")
    retry = int(hub.call("POST", f"/users/{name}/server").headers.get("Retry-After", "0"))
    assert retry <= 60

    def gone() -> bool:
        return hub.call("GET", f"/users/{name}").status_code == 404

    assert engine.until(gone, 180)
    late = (datetime.now(UTC) - end).total_seconds()
    print(f"gone {late:.0f} s after the deadline")
    assert late > -1
    (archive,) = hub.call("GET", f"/archives?user={name}").json()
    packed = hub.call("GET", f"/archives/{archive['id']}").content
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert "kept.txt" in tar.getnames()
    assert json.dumps(told)  # an ISO time, which a page understands


BAD = {
    "ops/drain.py": (
        {"DEADLINE": "soon"},
        (
            "DEADLINE: 'soon' is no number of minutes; give whole minutes, 0 to 1440:"
            " make drain DEADLINE=30"
        ),
    ),
    "ops/check.py": (
        {"ALSO": "lms.example"},
        (
            "ALSO: 'lms.example' is no address with a port; name IPv4 addresses and ports:"
            " make check ALSO=198.51.100.7:443"
        ),
    ),
    "ops/uninstall.py": (
        {"KEEP_BACKUPS": "maybe"},
        (
            "KEEP_BACKUPS: 'maybe' is neither yes nor no;"
            " make uninstall KEEP_BACKUPS=no, or leave it out"
        ),
    ),
}


@pytest.mark.parametrize("script", BAD)
def test_a_parameter_that_is_none_is_one_line(
    deployment: Deployment, first_run: Run, script: str
) -> None:
    variables, line = BAD[script]
    run = deployment.run(script=script, variables=variables, check=False)
    assert run.exit_code
    assert run.error_lines == [line]
