"""A plain hub with DockerSpawner, as the reference configuration describes it."""

import os

c = get_config()  # type: ignore[name-defined]  # noqa: F821
env = os.environ

c.JupyterHub.authenticator_class = "null"
c.Authenticator.any_allow_config = True
c.JupyterHub.hub_ip = ""
c.JupyterHub.hub_connect_ip = "jupyterhub_hub"
c.JupyterHub.bind_url = "https://127.0.0.1:8000"
c.JupyterHub.cookie_secret = bytes.fromhex(env["JPY_COOKIE_SECRET"])
c.JupyterHub.cleanup_servers = False
c.JupyterHub.db_url = (
    f"postgresql+psycopg://{env['POSTGRES_USER']}:{env['POSTGRES_PASSWORD']}"
    f"@jupyterhub_db/{env['POSTGRES_DB']}"
)
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://jupyterhub_proxy:8001"
c.ConfigurableHTTPProxy.auth_token = env["CONFIGPROXY_AUTH_TOKEN"]

c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.DockerSpawner.image = env["DOCKER_NOTEBOOK_IMAGE"]
c.DockerSpawner.network_name = env["DOCKER_NETWORK_NAME"]
c.DockerSpawner.remove = True
c.Spawner.environment = {"JUPYTERHUB_ALLOW_TOKEN_IN_URL": "1"}

admins = dict(pair.split(":") for pair in env["JPY_SERVICE_ADMINS"].split(";"))
c.JupyterHub.services = [{"name": name, "api_token": token} for name, token in admins.items()]
scopes = ["admin:users", "admin:servers", "tokens", "access:servers", "list:users", "read:hub"]
c.JupyterHub.load_roles = [{"name": "services", "scopes": scopes, "services": list(admins)}]
