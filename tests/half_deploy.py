"""What a deployment does but for images and services: test_leaving takes it away again."""

from roles.docker import docker
from roles.firewall import firewall
from roles.network import network
from roles.preflight import load_settings, preflight
from roles.record import record
from roles.sessions import sessions

settings = load_settings()

preflight(settings)
record(settings)
sessions(settings)
docker(settings)
network(settings)
firewall(settings)
