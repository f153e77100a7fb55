from integrable_jupyterhub import cookies, redact
from integrable_jupyterhub.config import HubConfig, Secrets
from integrable_jupyterhub.configure import configure

redact.install()
cookies.allow_partitioned()
configure(get_config(), HubConfig.load(), Secrets.load())  # noqa: F821
