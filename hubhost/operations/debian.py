"""Operations on Debian's packages."""

from __future__ import annotations

import shlex

from pyinfra.api.operation import operation
from pyinfra.context import host

from hubhost import facts
from hubhost.operations.base import LOCKED, Commands, script
from hubhost.paths import BEFORE, DAEMON_JSON, ETC, STATE

APT = (
    LOCKED.format("apt")
    + """
end=$(( $(date +%s) + 600 ))
exec 3>&1
apt() {
    until said=$(apt-get -qy -o DPkg::Lock::Timeout=600 "$@" 2>&1 >&3); do
        printf '%s\\n' "$said" >&2
        case $said in
        *"(11: "*) ;; # EAGAIN; with another number it is no lock that is held
        *"("[0-9]*": "*) return 100 ;;
        */lists/lock*|*/archives/lock*) ;;
        *) return 100 ;;
        esac
        [ "$(date +%s)" -lt "$end" ] || return 100
        sleep 2
    done
    [ -z "$said" ] || printf '%s\\n' "$said" >&2
}
"""
)
"""Shell: apt-get, which waits for others. An earlier run that was killed may still be at it, or the
host's own updates; for the locks of lists and of what was fetched DPkg::Lock::Timeout waits not."""
UPDATE = "apt update || { sleep 2; apt update; } || { sleep 20; apt update; }"
"""A mirror that is just being synced is whole again soon."""
INSTALLED = (
    "dpkg-query -Wf '${db:Status-Status} ${Package}\\n' | sed -n 's/^installed //p' | sort -u"
)


@operation()
def packages(packages: tuple[str, ...]) -> Commands:
    """Install the Debian packages that are missing, without their recommendations."""
    missing = host.get_fact(facts.MissingPackages, packages=packages)
    if missing:
        yield script(
            "export DEBIAN_FRONTEND=noninteractive",
            APT + "dpkg --configure -a",
            UPDATE,
            # What this run adds is noted for the uninstall, with what it needs.
            f"mkdir -p {BEFORE}; cd {BEFORE}; [ -e installing ] || {INSTALLED} > installing",
            f"apt install --no-install-recommends {shlex.join(missing)}",
            f"{INSTALLED} | comm -13 installing - >> installed; rm installing",
        )


@operation()
def note_before() -> Commands:
    """Note what is on the host, for the uninstall; `late`: it was deployed before that was done."""
    if not host.get_fact(facts.Noted):
        yield script(
            f"(umask 022; mkdir -p {STATE}); umask 077; mkdir -p {BEFORE}; cd {BEFORE}",
            f"[ ! -e {ETC} ] || touch late",
            f"[ ! -e {DAEMON_JSON} ] || cp -p {DAEMON_JSON} daemon.json",
            f"[ ! -d {DAEMON_JSON.parent} ] || touch etc-docker",
            "[ ! -d /etc/cni ] || touch etc-cni; [ ! -d ~root/.docker/buildx ] || touch buildx",
            "! getent group docker >/dev/null || touch docker-group",
            "value=$(sysctl -n net.ipv4.ip_forward 2>/dev/null) || value=0",
            'echo "net.ipv4.ip_forward = $value" > sysctl',
            "nft list tables > tables 2>/dev/null || true",
            "iptables -w -S FORWARD 2>/dev/null | sed -n 's/^-P FORWARD //p' > forward || true",
            "[ -s forward ] || echo ACCEPT > forward",
            # Last: with it, the note is whole.
            f"{INSTALLED} > packages.new; mv packages.new packages",
        )


@operation()
def held_engine() -> Commands:
    """Hold the engine's packages: an update of theirs restarts Docker under the sessions."""
    unheld = host.get_fact(facts.Unheld)
    if unheld:
        names = shlex.join(unheld)
        yield script(
            f"apt-mark hold {names} >/dev/null",
            f"printf '%s\\n' {names} >> {BEFORE}/held",
        )


@operation(is_idempotent=False)
def package_lists() -> Commands:
    """Fetch the lists of Debian's archive."""
    yield script(APT + UPDATE)


@operation()
def updates() -> Commands:
    """Install Debian's updates, and the engine's, which deployments hold; nothing asks."""
    if host.get_fact(facts.Updates):
        yield script(
            "export DEBIAN_FRONTEND=noninteractive APT_LISTCHANGES_FRONTEND=none",
            "export UCF_FORCE_CONFFOLD=1 NEEDRESTART_SUSPEND=1",
            APT + "dpkg --force-confold --configure -a",
            f"held=$(cat {BEFORE}/held 2>/dev/null || true)",
            'hold() { [ -z "$held" ] || apt-mark "$1" $held >/dev/null; }',
            "trap 'hold hold' EXIT; hold unhold",
            "apt -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
            " full-upgrade",
        )
