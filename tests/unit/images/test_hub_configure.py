"""The configuration JupyterHub gets."""

from pathlib import Path
from typing import Any

import pytest
from integrable_jupyterhub.auth import TokenOnly
from integrable_jupyterhub.config import HubConfig, Secrets
from integrable_jupyterhub.configure import USER_SCOPES, configure
from integrable_jupyterhub.spawner import SessionSpawner
from jupyterhub.app import JupyterHub
from jupyterhub.auth import Authenticator
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.roles import get_default_roles
from jupyterhub.scopes import expand_scopes
from sqlalchemy import make_url
from traitlets.config import Config

from tests.unit.images.samples import CONFIG, write_secrets


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets.load(write_secrets(tmp_path))


def configured(secrets: Secrets, **changes: Any) -> Config:
    c = Config()
    configure(c, HubConfig.model_validate({**CONFIG, **changes}), secrets)
    return c


def test_every_trait_that_is_set_exists(secrets: Secrets) -> None:
    """A misspelt trait is a warning in JupyterHub's log and has no effect."""
    classes = {
        "JupyterHub": JupyterHub,
        "Authenticator": Authenticator,
        "ConfigurableHTTPProxy": ConfigurableHTTPProxy,
        "Spawner": SessionSpawner,
        "DockerSpawner": SessionSpawner,
    }
    c = configured(secrets, debug=True)
    assert set(c) == set(classes)
    for section, settings in c.items():
        known = classes[section].class_traits(config=True)
        assert set(settings) <= set(known), section


def test_jupyterhub_accepts_the_values(secrets: Secrets) -> None:
    app = JupyterHub(config=configured(secrets, base_url="/jupyter"))
    assert app.authenticator_class is TokenOnly
    assert app.spawner_class is SessionSpawner
    # JupyterHub itself has no certificate, so it writes http here; the proxy has one.
    assert app.bind_url.partition("://")[2] == "127.0.0.1:8000/jupyter/"
    assert app.base_url == "/jupyter/"
    assert (app.hub_ip, app.hub_port) == ("172.27.0.2", 8081)
    assert (app.cleanup_servers, app.cleanup_proxy, app.upgrade_db) == (False, False, True)


def test_a_password_with_any_character_reaches_the_database(secrets: Secrets) -> None:
    url = make_url(configured(secrets).JupyterHub.db_url)
    assert (url.password, url.host, url.drivername) == (
        secrets.database_password,
        "172.27.0.3",
        "postgresql+psycopg",
    )


def roles(c: Config) -> dict[str, dict[str, Any]]:
    return {role["name"]: role for role in c.JupyterHub.load_roles}


def test_each_service_may_do_what_it_is_for_and_no_more(secrets: Secrets) -> None:
    c = configured(secrets)
    assert roles(c)["integrator"]["services"] == ["lms", "portal"]
    assert set(roles(c)["integrator"]["scopes"]) == {
        *("access:servers", "admin:servers", "admin:users", "delete:servers", "delete:users"),
        *("servers", "tokens"),
    }
    assert roles(c)["routes"] == {"name": "routes", "scopes": ["proxy"], "services": ["routes"]}
    assert "admin:users" not in roles(c)["culler"]["scopes"]
    given = {service["name"]: service["api_token"] for service in c.JupyterHub.services}
    assert set(given.values()) == secrets.all_service_tokens


def everything_in(scopes: list[str]) -> set[str]:
    """The scopes with those they imply, without the filter (`!user`)."""
    return set(expand_scopes({scope.partition("!")[0] for scope in scopes}))


def test_a_user_may_use_the_own_server_only(secrets: Secrets) -> None:
    assert roles(configured(secrets))["user"]["scopes"] == USER_SCOPES
    assert all(scope.endswith("!user") for scope in USER_SCOPES)
    assert not everything_in(USER_SCOPES) & {
        "servers",
        "delete:servers",
        "tokens",
        "admin:servers",
        "shares",
    }


def test_a_session_may_report_its_activity() -> None:
    """A session's token has what its role asks for *and* its user has: nothing may get lost."""
    server = next(role for role in get_default_roles() if role["name"] == "server")
    assert everything_in(server["scopes"]) <= everything_in(USER_SCOPES)


def test_the_culler_gets_its_limits(secrets: Secrets) -> None:
    services = {service["name"]: service for service in configured(secrets).JupyterHub.services}
    command = services["culler"]["command"]
    assert {"--timeout=1800", "--max-age=28800", "--cull-every=60", "--cull-users=true"} <= {
        *command
    }


def test_no_token_is_in_a_command_line(secrets: Secrets) -> None:
    commands = [service.get("command", []) for service in configured(secrets).JupyterHub.services]
    assert not any(token in str(commands) for token in secrets.all_service_tokens)


def test_the_hub_says_nothing_of_how_a_session_is_confined(secrets: Secrets) -> None:
    """The Docker filter would refuse to be told."""
    c = configured(secrets)
    assert not [name for name in c.DockerSpawner if name.startswith(("extra", "volume", "mount"))]
    # For the session to show; the filter has its own.
    assert (c.Spawner.mem_limit, c.Spawner.cpu_limit) == ("1024M", 1.5)


def test_a_start_is_answered_when_the_session_serves(secrets: Secrets) -> None:
    """Not with 202 after 10 s, however long it waits and starts."""
    c = configured(secrets)
    longest = c.Spawner.start_timeout + c.Spawner.http_timeout
    assert c.JupyterHub.tornado_settings["slow_spawn_timeout"] > longest


@pytest.mark.parametrize(
    "name", ["u1700000000000_1234567890_1", "ÄÖ Ü", "a/b", "x" * 250, "Ann", "ann", "-", "{0}"]
)
def test_any_user_gets_a_name_docker_takes(secrets: Secrets, name: str) -> None:
    c = configured(secrets)
    container = c.DockerSpawner.name_template.format(username=c.DockerSpawner.escape(name))
    assert container.startswith("jupyterhub-session-")
    assert len(container) <= 63
    assert container.isascii()
    assert set(container) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_different_users_get_different_names(secrets: Secrets) -> None:
    escape = configured(secrets).DockerSpawner.escape
    names = ["a-b", "a_b", "a.b", "Ab", "ab", "x" * 200, "x" * 201]
    assert len({escape(name) for name in names}) == len(names)


def test_a_session_is_told_who_may_embed_it_and_how_long_it_and_its_cookies_live(
    secrets: Secrets,
) -> None:
    origins = ["https://lms.example", "https://portal.example:8443"]
    environment = configured(secrets, access_control_origins=origins).Spawner.environment
    assert environment["ACCESS_CONTROL_ORIGINS"] == ";".join(origins)
    assert environment["COOKIE_MAX_AGE"] == environment["CULL_MAX_AGE_SECONDS"] == "28800"
    assert environment["CULL_IDLE_SECONDS"] == "1800"
