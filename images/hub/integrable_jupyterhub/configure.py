"""Turns the installer's settings into JupyterHub's configuration; opens and starts nothing."""

import sys
from functools import partial
from pathlib import Path

from jupyterhub.slugs import safe_slug
from traitlets.config import Config

from integrable_jupyterhub import database
from integrable_jupyterhub.config import CULLER, ROUTES, HubConfig, Secrets

# What an integrator's service does, and no more (README, "Who may do what").
INTEGRATOR_SCOPES = [
    "access:servers",
    "admin:servers",
    "admin:users",
    "delete:servers",
    "delete:users",
    "servers",
    "tokens",
]
# What a user may do: use the own server and look at oneself. The session reports activity in the
# user's name; without that scope the culler would take every session for idle.
USER_SCOPES = ["access:servers!user", "read:users!user", "users:activity!user"]
# https://github.com/jupyterhub/jupyterhub-idle-culler#permissions
CULLER_SCOPES = [
    "list:users",
    "read:users:activity",
    "read:servers",
    "delete:servers",
    "delete:users",
]


def configure(c: Config, config: HubConfig, secrets: Secrets) -> None:
    """Fill `c`, the object that JupyterHub hands to jupyterhub_config.py."""
    _hub(c, config, secrets)
    _access(c, config, secrets)
    _answers(c, config)
    _sessions(c, config)


def _hub(c: Config, config: HubConfig, secrets: Secrets) -> None:
    c.JupyterHub.bind_url = config.public_url + config.base_url
    c.JupyterHub.hub_ip = config.hub_ip
    c.JupyterHub.hub_port = config.hub_port
    c.JupyterHub.cookie_secret = secrets.cookie_secret
    c.JupyterHub.template_paths = [str(Path(__file__).parent / "templates")]
    c.JupyterHub.authenticate_prometheus = True

    # Sessions and the proxy outlive the hub: an update of the hub ends nobody's kernel.
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = config.proxy_api_url
    c.ConfigurableHTTPProxy.auth_token = secrets.proxy_token

    c.JupyterHub.db_url = database.url(config.database, secrets.database_password)
    c.JupyterHub.db_kwargs = database.ENGINE_OPTIONS
    c.JupyterHub.upgrade_db = True

    if config.debug:
        c.JupyterHub.log_level = "DEBUG"
        c.Spawner.debug = True


def _access(c: Config, config: HubConfig, secrets: Secrets) -> None:
    """Nobody logs in: services bring their token, people the one a service made for them."""
    c.JupyterHub.authenticator_class = "integrable_jupyterhub.auth.TokenOnly"
    c.Authenticator.any_allow_config = True

    integrators = list(secrets.service_tokens)
    c.JupyterHub.services = [
        *({"name": name, "api_token": token} for name, token in secrets.service_tokens.items()),
        {"name": CULLER, "api_token": secrets.culler_token, "command": _culler(config)},
        {
            "name": ROUTES,
            "api_token": secrets.routes_token,
            "command": [sys.executable, "-m", "integrable_jupyterhub", "routes"],
        },
    ]
    c.JupyterHub.load_roles = [
        {"name": "user", "scopes": USER_SCOPES},
        {"name": "integrator", "scopes": INTEGRATOR_SCOPES, "services": integrators},
        {"name": CULLER, "scopes": CULLER_SCOPES, "services": [CULLER]},
        {"name": ROUTES, "scopes": ["proxy"], "services": [ROUTES]},
    ]


def _culler(config: HubConfig) -> list[str]:
    return [
        sys.executable,
        "-m",
        "jupyterhub_idle_culler",
        f"--timeout={config.cull.idle_seconds}",
        f"--max-age={config.cull.max_age_seconds}",
        f"--cull-every={config.cull.every_seconds}",
        # 2.0.0 refuses the bare flag ("expected one argument") and then culls nothing.
        "--cull-users=true",
    ]


def _answers(c: Config, config: HubConfig) -> None:
    c.JupyterHub.tornado_settings = {
        # POST .../server must answer only when the session serves, not with 202 after 10 s:
        # it waits its turn, starts, and is asked, each for as long as a start may take.
        "slow_spawn_timeout": 4 * config.session.start_timeout_seconds,
        "ended_page": config.ended_page,
        "archive": config.archive,
    }


def _label(name: str, room: int) -> str:
    """`name` as (the end of) a DNS label; dockerspawner escapes the empty server name too."""
    return str(safe_slug(name, max_length=room)) if name else ""


def _sessions(c: Config, config: HubConfig) -> None:
    session = config.session
    c.JupyterHub.spawner_class = "integrable_jupyterhub.spawner.SessionSpawner"
    c.JupyterHub.last_activity_interval = config.activity_seconds
    # In the queue, and starting; the spawner limits each.
    c.Spawner.start_timeout = 2 * session.start_timeout_seconds + 10
    c.Spawner.http_timeout = session.start_timeout_seconds
    # These only tell the session, which shows them; the Docker filter sets them.
    c.Spawner.mem_limit = f"{session.memory_mb}M"
    c.Spawner.cpu_limit = session.cpus
    c.Spawner.environment = {
        "JUPYTERHUB_ALLOW_TOKEN_IN_URL": "1",
        "JUPYTERHUB_ACTIVITY_INTERVAL": str(config.activity_seconds),
        "ACCESS_CONTROL_ORIGINS": ";".join(config.access_control_origins),
        "COOKIE_MAX_AGE": str(config.cull.max_age_seconds),
        "SESSION_ARCHIVE_MB": str(config.archive.max_mb if config.archive.on else 0),
    }

    # The filter speaks the engine's own version to Docker: there is nothing to ask it for.
    c.DockerSpawner.client_kwargs = {"version": "1.41"}
    c.DockerSpawner.image = session.image
    c.DockerSpawner.network_name = session.network
    c.DockerSpawner.use_internal_ip = True
    c.DockerSpawner.remove = True
    c.DockerSpawner.name_template = session.name_prefix + "{username}"
    # A DNS label, with a hash where a name had to be changed or cut.
    c.DockerSpawner.escape = partial(_label, room=63 - len(session.name_prefix))
