"""The whole installation, in order: `pyinfra inventory.py deploy.py`. Rerun for updates."""

from roles.backup import backup
from roles.daily import daily
from roles.database import database
from roles.docker import docker
from roles.docker_filter import docker_filter
from roles.firewall import firewall
from roles.forget import forget
from roles.handover import handover
from roles.hub import hub
from roles.images import images
from roles.network import network
from roles.preflight import load_settings, preflight
from roles.proxy import proxy
from roles.record import record
from roles.release import release
from roles.secrets import secrets
from roles.sessions import sessions
from roles.tls import tls

settings = load_settings()

preflight(settings)
record(settings)
sessions(settings)
docker(settings)
images(settings)
network(settings)
firewall(settings)
secrets(settings)
tls(settings)
handover(settings)
database(settings)
proxy(settings)
docker_filter(settings)
forget(settings)
daily(settings)
hub(settings)
backup(settings)
release(settings)
