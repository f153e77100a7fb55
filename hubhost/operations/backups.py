"""Operations that make a backup, and take one up."""

from __future__ import annotations

import shlex

from pyinfra.api.operation import operation

from hubhost import facts
from hubhost.hostfile import SERVICES_GROUP
from hubhost.operations.base import Commands, script, wait_until
from hubhost.paths import ARCHIVE, BACKUP_UNIT, RESTORE_WORK, SECRETS, STATE, TLS
from hubhost.service import DATABASE_NAME, Service
from hubhost.services import HUB_USER


@operation(is_idempotent=False)
def backup() -> Commands:
    """Make a backup, in the timer's unit; what it says comes from the journal."""
    told = f"journalctl -q -o cat -u {BACKUP_UNIT} --since=@$since | grep ^backup:"
    yield script(
        "since=$(date +%s)",
        f"systemctl start {BACKUP_UNIT} 2>/dev/null && done=0 || done=$?",
        "journalctl --sync",
        f'[ "$done" = 0 ] || {{ {told} >&2; exit 1; }}',
        told,
    )


@operation(is_idempotent=False)
def unpack_backup(lines: list[str]) -> Commands:
    """Lay what a backup holds (lines of base64) beside where it belongs; root alone enters."""
    yield script(
        f"umask 022; mkdir -p {STATE}; rm -rf {RESTORE_WORK}; umask 077; mkdir {RESTORE_WORK}",
        f"base64 -d | tar -x --no-same-owner --no-same-permissions -C {RESTORE_WORK}",
        f"[ -s {RESTORE_WORK}/about ] || {{ echo 'the backup did not come whole' >&2; exit 1; }}",
        stdin=lines,
    )


@operation(is_idempotent=False)
def restore_files() -> Commands:
    """Put a backup's secrets and certificate in place; the deployment makes them take effect."""
    yield script(
        f"install -d -m 755 {TLS}; install -d -m 700 {SECRETS}; cd {RESTORE_WORK}",
        "put() {",
        '  install -m "$1" -o 0 -g "$2" "$3" "$4/.new"; mv "$4/.new" "$4/${3##*/}"',
        "}",
        f"for file in secrets/*; do put 640 {SERVICES_GROUP} $file {SECRETS}; done",
        f"put 640 {SERVICES_GROUP} tls.key {TLS}; put 644 0 tls.crt {TLS}",
    )


@operation(is_idempotent=False)
def restore_data(hub: Service) -> Commands:
    """Replace the database and the archives by a backup's, and end what they do not know."""
    owner = f"{HUB_USER}:{SERVICES_GROUP}"
    start = f"docker container start {hub.name} >/dev/null"
    yield script(
        f"cd {RESTORE_WORK}",
        f"trap '{start}' EXIT",  # whatever fails
        f"docker container stop --time {hub.stop_timeout} {hub.name} >/dev/null",
        # One whose removal has begun already is refused, and gone soon.
        "end=$(( $(date +%s) + 60 ))",
        f'while sessions=$({facts.SESSIONS} --all) || exit 1; [ -n "$sessions" ]; do',
        "  docker rm -f $sessions >/dev/null 2>&1 ||",
        "    { sleep 0.2; [ $(date +%s) -lt $end ] || docker rm -f $sessions >/dev/null; }",
        "done",
        f"docker exec -i {DATABASE_NAME} load < database.dump",
        f"find {ARCHIVE} -mindepth 1 -delete; mkdir -p archive; chown -R {owner} archive",
        f"find archive -mindepth 1 -maxdepth 1 -exec mv -t {ARCHIVE} {{}} +",
        start,
        *wait_until(
            f"docker exec {hub.name} {shlex.join(hub.health)} >/dev/null 2>&1",
            hub.name,
            hub.start_timeout,
            f"does not take up the database of the backup; `docker logs {hub.name}` has all",
        ),
        f"rm -rf {RESTORE_WORK}",
    )
