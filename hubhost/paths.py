"""Where things lie on a host: each path has its one home here."""

from pathlib import PurePosixPath

ETC = PurePosixPath("/etc/integrable-jupyterhub")
SECRETS = ETC / "secrets"
TLS = ETC / "tls"
FIREWALL = ETC / "firewall"
SESSION = ETC / "session"
FIREWALL_UNIT = "integrable-jupyterhub-firewall.service"
CERTIFICATE_CHECK = ETC / "certificate-check.sh"
CERTIFICATE_UNIT = "integrable-jupyterhub-certificate"
UNITS = PurePosixPath("/etc/systemd/system")
LOCK = PurePosixPath("/run/integrable-jupyterhub.lock")
"""Who changes something on the host holds it (hubhost/lock.py)."""
GUARD_DIGEST = PurePosixPath("/run/integrable-jupyterhub-guard")
STATE = PurePosixPath("/var/lib/integrable-jupyterhub")
HUB_STATE = STATE / "hub"
"""What the hub keeps on disk, beside its database; root alone enters."""
ARCHIVE, FORGET_REQUESTS = HUB_STATE / "archive", HUB_STATE / "forget"
DRAIN = HUB_STATE / "drain"
DRAIN_STATE = DRAIN / "state.json"
BEFORE = STATE / "before"
"""What was on the host before the first deployment, and what was added since; for uninstall."""
BACKUPS = STATE / "backup"
ISOLATION_STATE = STATE / "isolation.json"
"""What the last `make check` found."""
FORGET = ETC / "forget"
FORGET_UNIT = "integrable-jupyterhub-forget"
DOCKER_SOCKET = PurePosixPath("/var/run/docker.sock")
DAEMON_JSON = PurePosixPath("/etc/docker/daemon.json")
