"""Where things lie on a host: each path has its one home here."""

from pathlib import PurePosixPath

ETC = PurePosixPath("/etc/integrable-jupyterhub")
SECRETS = ETC / "secrets"
TLS = ETC / "tls"
FIREWALL = ETC / "firewall"
SESSION = ETC / "session"
FIREWALL_UNIT = "integrable-jupyterhub-firewall.service"
DAILY_SCRIPT = ETC / "daily"
DAILY_UNIT = "integrable-jupyterhub-daily"
UNITS = PurePosixPath("/etc/systemd/system")
GUARD_DIGEST = PurePosixPath("/run/integrable-jupyterhub-guard")
STATE = PurePosixPath("/var/lib/integrable-jupyterhub")
HUB_STATE = STATE / "hub"
"""What the hub keeps on disk, beside its database; root alone enters."""
ARCHIVE, FORGET_REQUESTS = HUB_STATE / "archive", HUB_STATE / "forget"
DAILY_STATE = STATE / "daily"
"""What the daily look noted: root alone enters."""
FORGET = ETC / "forget"
FORGET_UNIT = "integrable-jupyterhub-forget"
LOGS = PurePosixPath("/var/log/integrable-jupyterhub")
"""Logs of services whose containers were replaced, a folder for each."""
LOGS_SCRIPT = ETC / "logs"
DOCKER_SOCKET = PurePosixPath("/var/run/docker.sock")
DAEMON_JSON = PurePosixPath("/etc/docker/daemon.json")
