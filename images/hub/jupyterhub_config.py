import tornado.httputil
from integrable_jupyterhub import clock, cookies, embedding, outage, redact, sources
from integrable_jupyterhub.admission import Admission
from integrable_jupyterhub.config import HubConfig, Secrets
from integrable_jupyterhub.configure import configure
from integrable_jupyterhub.spawner import SessionSpawner

redact.install()
cookies.allow_partitioned()
# JSON comes labelled as a form (PHP's curl does that). Since 6.6, tornado parses it as a form too
# and answers 400 when there are 1000 "&" in it.
tornado.httputil.set_parse_body_config(
    tornado.httputil.ParseBodyConfig(
        urlencoded=tornado.httputil.ParseUrlEncodedConfig(max_arguments=10**7)
    )
)
config = HubConfig.load()
cookies.install(config.access_control_origins, config.cull.max_age_seconds)
embedding.install(config.access_control_origins)
sources.restrict_api(config)
outage.install()
clock.install()
SessionSpawner.admission = Admission(
    config.admission.starts,
    config.admission.waiting,
    config.session.start_timeout_seconds,
    config.admission.headroom_mb,
)
configure(get_config(), config, Secrets.load())  # noqa: F821
