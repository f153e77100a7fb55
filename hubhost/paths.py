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
DOCKER_DROP_IN = UNITS / "docker.service.d" / "integrable-jupyterhub.conf"
MODULE = PurePosixPath("/etc/modules-load.d/integrable-jupyterhub.conf")
SYSCTL = PurePosixPath("/etc/sysctl.d/90-integrable-jupyterhub.conf")
LOCK = PurePosixPath("/run/integrable-jupyterhub.lock")
"""Who changes something on the host holds it (hubhost/lock.py)."""
GUARD_DIGEST = PurePosixPath("/run/integrable-jupyterhub-guard")
STATE = PurePosixPath("/var/lib/integrable-jupyterhub")
RELEASES = STATE / "releases"
"""What ran as each release that was good; `current` is a link to the one that runs."""
RELEASE_PROGRAM = ETC / "release.sh"
DUMPS = STATE / "dumps"
CARRY = ETC / "database" / "carry"
HUB_STATE = STATE / "hub"
"""What the hub keeps on disk, beside its database; root alone enters."""
ARCHIVE, FORGET_REQUESTS = HUB_STATE / "archive", HUB_STATE / "forget"
DAILY_STATE = STATE / "daily"
"""What the daily look noted: root alone enters."""
MIGRATION = STATE / "migration"
"""What leads back to the compose project that was there before."""
DRAIN = HUB_STATE / "drain"
DRAIN_STATE = DRAIN / "state.json"
BEFORE = STATE / "before"
"""What was on the host before the first deployment, and what was added since; for uninstall."""
BACKUPS = STATE / "backup"
ISOLATION_STATE = STATE / "isolation.json"
"""What the last `make check` found."""
FORGET = ETC / "forget"
FORGET_UNIT = "integrable-jupyterhub-forget"
LOGS = PurePosixPath("/var/log/integrable-jupyterhub")
"""Logs of services whose containers were replaced, a folder for each."""
LOGS_SCRIPT = ETC / "logs"
BACKUP = ETC / "backup"
BACKUP_SCRIPT = BACKUP / "backup.sh"
BACKUP_RECIPIENTS = BACKUP / "recipients"
BACKUP_UNIT = "integrable-jupyterhub-backup"
BACKUP_WORK, RESTORE_WORK = STATE / "backup-work", STATE / "restore-work"
"""What is not encrypted, while it is made or taken back; root alone enters."""
DOCKER_SOCKET = PurePosixPath("/var/run/docker.sock")
DAEMON_JSON = PurePosixPath("/etc/docker/daemon.json")

RECORDED = (ETC, f"{UNITS}/integrable-jupyterhub*", DOCKER_DROP_IN, MODULE, SYSCTL)
NOT_RECORDED = (f"{SECRETS}/*", f"{TLS}/*", str(RELEASE_PROGRAM), str(CARRY), "*.new")
"""Patterns for `find`: what deployments write that makes a release, and what of it does not."""
