"""What the host does daily by itself: it looks how things are, and deletes old lines of logs."""

from hubhost import operations
from hubhost.hostfile import HostFile
from hubhost.images import NAME_LABEL, RECIPE, BaseImage, ca_certificates
from hubhost.isolation import PROXY_PORT
from hubhost.logs import PREFIX
from hubhost.paths import (
    ARCHIVE,
    DAILY_SCRIPT,
    DAILY_STATE,
    DAILY_UNIT,
    ETC,
    FORGET,
    LOGS,
    LOGS_SCRIPT,
    TLS,
    UNITS,
)
from hubhost.service import ROLE_LABEL
from hubhost.services import DATABASE_VOLUME
from hubhost.settings import Settings
from hubhost.templates import render
from hubhost.tls import WARN_BEFORE, renewal
from roles import deploy


@deploy("Daily")
def daily(settings: Settings) -> None:
    """One timer for all; what it finds is in the journal, and in `make status`."""
    script = render(
        "daily/daily",
        address=f"{settings.proxy_ip}:{PROXY_PORT}",
        archive=ARCHIVE,
        ca_certificates=ca_certificates(settings).strip(),
        database_volume=DATABASE_VOLUME,
        etc=ETC,
        forget=FORGET,
        image_label=NAME_LABEL,
        log_days=settings.log_days,
        logs=LOGS,
        renewal=renewal(settings),
        role_label=ROLE_LABEL,
        seconds=int(WARN_BEFORE.total_seconds()),
        security_mirror=settings.debian_security_mirror,
        state=DAILY_STATE,
        suite=BaseImage.of(RECIPE, settings.images_epoch).suite,
        tls=TLS,
    )
    unit = UNITS / DAILY_UNIT
    operations.file_tree(
        name="Write the daily look, and what shows logs",
        files=(
            HostFile(LOGS_SCRIPT, render("logs/logs", kept=LOGS, prefix=PREFIX), 0o755),
            HostFile(DAILY_SCRIPT, script, 0o755),
            HostFile(
                unit.with_suffix(".service"), render("daily/daily.service", daily=DAILY_SCRIPT)
            ),
            HostFile(unit.with_suffix(".timer"), render("daily/daily.timer")),
        ),
    )
    operations.unit(name="Look daily", unit=f"{DAILY_UNIT}.timer")
