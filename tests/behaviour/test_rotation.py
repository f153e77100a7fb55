"""`make rotate`: the old secret is dead, the new one works, and running sessions go on."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deployment import Deployment, Run
from tests.lab import Host, engine
from tests.lab.client import Hub, Session
from tests.lab.demo import hub_of
from tests.sessions import name_of

TWO = ["service-admin", "other"]
SECRETS = "/etc/integrable-jupyterhub/secrets"


def rotate(deployment: Deployment, secret: str, service: str = "", **settings: Any) -> Run:
    variables = {"SECRET": secret, "SERVICE": service}
    return deployment.run(script="ops/rotate.py", variables=variables, **settings)


def digests(host: Host) -> dict[str, str]:
    lines = host.sh(f"cd {SECRETS}; sha256sum * ../tls/tls.*").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


@pytest.fixture
def session(host: Host, hub: Hub) -> Iterator[Session]:
    """Of a user who is deleted with whatever token is valid then."""
    name = f"rotated{secrets.randbelow(10**10)}"
    hub.create_user(name)
    hub.start_server(name)
    yield hub.attach(name, hub.mint_token(name))
    hub_of(host)[1].delete_user(name)


def test_all_secrets_are_made_anew_and_a_kernel_outlives_it(
    deployment: Deployment, host: Host, hub: Hub, session: Session
) -> None:
    kernel = session.start_kernel()
    session.run("answer = 6 * 7", kernel=kernel)
    before = digests(host)
    run = rotate(deployment, "all")
    assert "service_tokens: the old tokens of all services stop working" in run.output
    after = digests(host)
    assert after.keys() == before.keys()
    assert [name for name in before if after[name] == before[name]] == []

    # The certificate is another one too, which clients have to be given.
    new = hub_of(host)[1]
    assert Hub(hub.api_url, hub.token, new.ca).call("GET", "/users").status_code == 403
    assert new.call("GET", "/users").status_code == 200
    again = new.attach(name_of(session), session.token)
    assert engine.until(lambda: again.status() == 200, 30)
    assert again.run("answer", kernel=kernel).value == "42"
    assert deployment.run().changed == []


def test_one_services_token_is_made_anew(
    deployment: Deployment, host: Host, hub: Hub, restored: None
) -> None:
    deployment.run(service_admins=TWO)
    token = host.sh(f"tr ';' '\\n' < {SECRETS}/service_tokens | sed -n 's/^other://p'")
    assert Hub(hub.api_url, token, hub.ca).call("GET", "/users").status_code == 200
    rotate(deployment, "service_tokens", "other", service_admins=TWO)
    assert Hub(hub.api_url, token, hub.ca).call("GET", "/users").status_code == 403
    assert hub.call("GET", "/users").status_code == 200


def test_the_runbooks_lines_say_what_they_cost(
    deployment: Deployment, host: Host, hub: Hub, restored: None
) -> None:
    before = digests(host)
    done = deployment.runbook("make rotate SECRET=proxy_token,cookie_secret")
    assert done.exit_code == 0, done.output
    assert "connections are cut and come back; kernels go on" in done.output
    after = digests(host)
    assert {name for name in before if before[name] != after[name]} == {
        "proxy_token",
        "cookie_secret",
    }
    done = deployment.runbook(
        "make rotate SECRET=service_tokens SERVICE=NAME", NAME="service-admin"
    )
    assert done.exit_code == 0, done.output
    told = deployment.runbook("host# cat /etc/integrable-jupyterhub/secrets/service_tokens").stdout
    assert hub_of(host)[1].token in told
    assert hub.token not in told
