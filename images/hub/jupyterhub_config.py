from integrable_jupyterhub import cookies, redact, sources
from integrable_jupyterhub.config import HubConfig, Secrets
from integrable_jupyterhub.configure import configure

redact.install()
cookies.allow_partitioned()
config = HubConfig.load()
sources.restrict_api(config)
configure(get_config(), config, Secrets.load())  # noqa: F821
