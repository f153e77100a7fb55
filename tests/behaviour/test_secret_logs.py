"""Tokens are in no log, whatever goes wrong with the request that carries them."""

from __future__ import annotations

import docker
import requests

from tests.lab import Host, engine
from tests.lab.client import Hub, Session
from tests.sessions import name_of, session_containers

SERVICES = ("hub", "proxy", "db", "filter")


def test_no_token_is_in_any_log_whatever_fails(
    host: Host, hub: Hub, session: Session, containers: docker.DockerClient
) -> None:
    name = name_of(session)  # which is found in the logs
    container = session_containers(containers)[name].name
    served: dict[str, set[int]] = {}

    def ask(place: str, *paths: str) -> None:
        for path in paths:
            for token in (session.token, hub.token):
                url = f"{hub.public_url}{path}"
                answer = requests.get(url, {"token": token}, verify=str(hub.ca), timeout=60)
                served.setdefault(place, set()).add(answer.status_code)

    own = (f"/user/{name}/lab", f"/user/{name}/api/kernels", f"/user/{name}/files/none?x=1")
    ask("all is well", *own, "/hub/login", "/hub/api/users", f"/hub/spawn/{name}", "/nowhere")
    # The session's server prints the whole address when it answers 5xx.
    bad = session.request("POST", f"/api/kernels?token={session.token}", body={"name": "none"})
    assert bad.status_code >= 500, bad.text
    logs = f"docker logs {container} 2>&1"
    assert engine.until(lambda: name in host.sh(logs), 30)  # it is handed to Docker by and by
    told = {"session": host.sh(logs)}
    try:
        host.sh("docker stop jupyterhub_db")
        ask("no database", "/hub/api/users")
        host.sh(f"docker start jupyterhub_db; docker kill {container}")
        ask("no session", own[0])
        host.sh("docker stop jupyterhub_hub")
        ask("no hub", "/user/nobody/lab", own[0])
    finally:
        host.sh("docker start jupyterhub_db jupyterhub_hub")
    assert engine.until(lambda: hub.call("GET", "/").status_code == 200, 90)

    told |= {name: host.sh(f"docker logs jupyterhub_{name} 2>&1") for name in SERVICES}
    told["journal"] = host.sh("journalctl --no-pager --quiet")
    print(f"\n{served}")
    assert max(served["no session"]) >= 424  # the reaper may have seen it already
    assert max(served["no hub"]) >= 500
    # The positive control: these are the logs of just these requests.
    for place in ("hub", "proxy", "session"):
        assert name in told[place], f"{place} says nothing of {name}"
    assert "token=[secret]" in told["hub"] + told["session"]
    for place, text in told.items():
        for token in (session.token, hub.token):
            assert token not in text, f"a token is in the log of {place}"
