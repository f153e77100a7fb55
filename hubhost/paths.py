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
GUARD_DIGEST = PurePosixPath("/run/integrable-jupyterhub-guard")
STATE = PurePosixPath("/var/lib/integrable-jupyterhub")
HUB_STATE = STATE / "hub"
"""What the hub keeps on disk, beside its database; root alone enters."""
ARCHIVE, FORGET_REQUESTS = HUB_STATE / "archive", HUB_STATE / "forget"
FORGET = ETC / "forget"
FORGET_UNIT = "integrable-jupyterhub-forget"
BACKUP = ETC / "backup"
BACKUP_SCRIPT = BACKUP / "backup.sh"
BACKUP_RECIPIENTS = BACKUP / "recipients"
BACKUP_UNIT = "integrable-jupyterhub-backup"
BACKUP_WORK, RESTORE_WORK = STATE / "backup-work", STATE / "restore-work"
"""What is not encrypted, while it is made or taken back; root alone enters."""
DOCKER_SOCKET = PurePosixPath("/var/run/docker.sock")
DAEMON_JSON = PurePosixPath("/etc/docker/daemon.json")
