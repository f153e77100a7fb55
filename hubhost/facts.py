"""Facts: what is on a host. Each is one round trip, changes nothing, and works on a bare host."""

from __future__ import annotations

import base64
import json
from pathlib import PurePosixPath
from shlex import quote
from typing import Any

from pyinfra.api.facts import FactBase
from typing_extensions import override

from hubhost.backup import Target
from hubhost.check import Listening
from hubhost.drain import Drain as DrainState
from hubhost.engine import HELD_PACKAGES
from hubhost.hostfile import FileState, HostFolder
from hubhost.images import NAME_LABEL, PREFIX, PresentImage
from hubhost.isolation import JUMPS, JUMPS6
from hubhost.migrate import Look
from hubhost.paths import (
    ARCHIVE,
    BACKUP_RECIPIENTS,
    BACKUP_SCRIPT,
    BACKUP_UNIT,
    BEFORE,
    DAEMON_JSON,
    DAILY_STATE,
    DRAIN,
    DRAIN_STATE,
    ETC,
    FIREWALL,
    FIREWALL_UNIT,
    FORGET,
    GUARD_DIGEST,
    ISOLATION_STATE,
    MIGRATION,
    NOT_RECORDED,
    RECORDED,
    RELEASES,
    SECRETS,
    TLS,
)
from hubhost.preflight import HostReport
from hubhost.release import History
from hubhost.service import (
    DATABASE_NAME,
    DIGEST_LABEL,
    HUB_NAME,
    PROXY_NAME,
    ROLE_LABEL,
    SERVICE_NAMES,
    ContainerState,
    Service,
)
from hubhost.services import FILTER_CONFIG, HUB_PURGE
from hubhost.templates import render
from hubhost.tls import WARN_BEFORE

WARN_SECONDS = int(WARN_BEFORE.total_seconds())

ENGINE_PACKAGE = """
for package in docker.io docker-ce; do
  [ "$(dpkg-query -Wf '${db:Status-Status}' $package 2>/dev/null)" = installed ] \\
    && echo "engine_package $package" && found=$package
done
# A package that is half installed owns its file too: that is no engine of somebody else's.
[ -n "${found:-}" ] || ! path=$(command -v dockerd) || dpkg-query -S "$path" >/dev/null 2>&1 \\
  || echo "engine_package other"
"""

DOCKER_ROOT = """
docker_root=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null)
[ -d "$docker_root" ] || docker_root=/var/lib
"""


SESSIONS = f"docker ps -q --filter label={ROLE_LABEL}=session"
"""Shell: the ids of sessions' containers."""
REBOOT_DUE = r"""
[ -e /run/reboot-required ] && echo "Debian wants it"
running=$(uname -r)
# Of the same flavour (-amd64, -rt-amd64 …): of two, one never runs.
newest=$(printf '%s\n' /boot/vmlinuz-* "/boot/vmlinuz-$running" | awk -v running="$running" '
  function flavour(of) { sub(/^[^-]*(-[0-9][^-]*)?/, "", of); return of }
  { sub(".*/vmlinuz-", "") } flavour($0) == flavour(running)' | sort -V | tail -n 1)
[ "$newest" = "$running" ] || [ ! -e "/boot/vmlinuz-$newest" ] \
  || echo "$newest is installed, $running runs"
# A fixed kernel often has the name of the one before; its version tells.
version=$(dpkg-query -Wf '${Version}' "linux-image-$running" 2>/dev/null)
[ -z "$version" ] || uname -v | grep -qF "$version" || echo "linux-image-$running is $version now"
true
"""
"""Shell: why a reboot is due, a line each."""


def _quoted(words: tuple[str, ...]) -> str:
    return " ".join(map(quote, words))


class Lines(FactBase[list[str]]):
    """What its command prints, a line each."""

    default = list

    @override
    def process(self, output: list[str]) -> list[str]:
        return output


class Host(FactBase[HostReport]):
    """All that preflight wants to know.

    `images`: references that need not be built when they are there; `mirrors`: (setting, host,
    port), tried only when something is missing; `network`: ours, whose bridge is no obstacle;
    `others_image`: one that nobody builds here.
    """

    default = HostReport

    @override
    def command(
        self,
        images: tuple[str, ...],
        mirrors: tuple[tuple[str, str, int], ...],
        network: str,
        others_image: str | None = None,
    ) -> str:
        tries = "".join(
            f"timeout 10 bash -c ': > /dev/tcp/{host}/{port}' 2>/dev/null"
            f" || echo unreachable {setting}\n"
            for setting, host, port in mirrors
        )
        ports = (
            "{{range .HostConfig.PortBindings}}{{range .}}"
            '{{println "our_port" .HostPort}}{{end}}{{end}}'
        )
        return f"""
. /etc/os-release
echo "os_id $ID"; echo "os_version ${{VERSION_ID:-}}"; echo "architecture $(uname -m)"
echo "user_id $(id -u)"; echo "clock $(date +%s)"
echo "memory_mb $(( $(sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo) / 1024 ))"
[ -d /run/systemd/system ] && echo systemd yes
for unit in systemd-timesyncd chrony chronyd ntpsec ntp openntpd; do
  [ "$(systemctl is-active $unit 2>/dev/null)" = active ] && echo time_service active && break
done
{DOCKER_ROOT}
echo "disk_mb $(df -Pm "$docker_root" | awk 'NR == 2 {{ print $4 }}')"
echo "state_options $(findmnt -nro OPTIONS --target /var/lib)"
ss -Hltnp 2>/dev/null | awk '{{ print "listen", $4, $6 }}'
ip -4 -o route show 2>/dev/null | sed 's/^/route /'
sed -e 's/^/daemon_json /' -e '$a\\' {quote(str(DAEMON_JSON))} 2>/dev/null
[ -e /snap/bin/docker ] && echo engine_kind snap
[ "$(dpkg-query -Wf '${{db:Status-Status}}' podman-docker 2>/dev/null)" = installed ] \\
  && echo engine_kind podman
{ENGINE_PACKAGE}
missing={quote(" ".join(images))}
if command -v dockerd >/dev/null && docker version >/dev/null 2>&1; then
  docker info --format 'engine {{{{.ServerVersion}}}}
swarm {{{{.Swarm.LocalNodeState}}}}
live_restore {{{{.LiveRestoreEnabled}}}}
{{{{range .SecurityOptions}}}}{{{{println "security" .}}}}{{{{end}}}}' \\
    | sed 's/^security .*rootless.*/engine_kind rootless/; /^security/d; /^$/d'
  tr '\\0' ' ' < "/proc/$(cat /run/docker.pid 2>/dev/null || echo self)/cmdline" 2>/dev/null \\
    | grep -q 'tcp://' && echo engine_kind tcp
  docker info --format '{{{{json .}}}}' | grep -q '"FirewallBackend":{{"Driver":"nftables' \\
    && echo engine_kind nftables
  docker buildx version >/dev/null 2>&1 && echo buildx yes
  docker ps --format '{{{{.Names}}}} {{{{.Label "{ROLE_LABEL}"}}}}' \\
    | awk 'NF == 1 {{ print "foreign", $1 }}'
  docker ps -a --format '{{{{.Names}}}} {{{{.Label "{ROLE_LABEL}"}}}}' \\
    | awk 'NF == 1 {{ print "taken_name", $1 }}'
  docker ps -aq --filter label={ROLE_LABEL}=service | xargs -r docker inspect -f {quote(ports)}
  docker network inspect {quote(network)} 2>/dev/null --format 'our_bridge br-{{{{slice .Id 0 12}}}}
our_bridge {{{{index .Options "com.docker.network.bridge.name"}}}}'
  for image in {quote(others_image or "")}; do
    [ -z "$image" ] || docker image inspect "$image" >/dev/null 2>&1 \\
      || DOCKER_CLI_EXPERIMENTAL=enabled docker manifest inspect "$image" >/dev/null 2>&1 \\
      || echo "unknown_image $image"
  done
  wanted=$missing missing=
  for image in $wanted; do
    docker image inspect "$image" >/dev/null 2>&1 || missing="$missing $image"
  done
fi
if [ -n "$missing" ]; then printf 'missing %s\n' $missing
{tries}fi
true
"""

    @override
    def process(self, output: list[str]) -> HostReport:
        return HostReport.parse(output)


class Files(FactBase[dict[str, FileState]]):
    """Content digest, mode and owner of each path that exists."""

    default = dict

    @override
    def command(self, paths: tuple[str, ...]) -> str:
        return f"""
for path in {_quoted(paths)}; do
  [ -f "$path" ] && echo "$(stat -c '%a %u %g' "$path") $(sha256sum < "$path" | cut -c1-64) $path"
done
true
"""

    @override
    def process(self, output: list[str]) -> dict[str, FileState]:
        found = {}
        for line in output:
            mode, owner, group, digest, path = line.split(" ", 4)
            found[path] = FileState(digest, int(mode, 8), int(owner), int(group))
        return found


class Folders(FactBase[list[HostFolder]]):
    """Those of some folders that exist, with mode and owner."""

    default = list

    @override
    def command(self, paths: tuple[str, ...]) -> str:
        return f"stat -c '%F %a %u %g %n' {_quoted(paths)} 2>/dev/null; true"

    @override
    def process(self, output: list[str]) -> list[HostFolder]:
        found = []
        for line in output:
            kind, mode, owner, group, path = line.split(" ", 4)
            if kind == "directory":
                found.append(HostFolder(PurePosixPath(path), int(mode, 8), int(owner), int(group)))
        return found


class Unit(Lines):
    """Whether a unit of systemd's is enabled and active, and is to be read again."""

    @override
    def command(self, unit: str) -> str:
        return (
            f"systemctl is-enabled {unit} 2>/dev/null; systemctl is-active {unit} 2>/dev/null;"
            f" systemctl show -P NeedDaemonReload {unit} 2>/dev/null; true"
        )


class Kept(FactBase[int | None]):
    """How much of a user there is on the host: rows, archives, and lines of logs.

    None: the hub does not answer. The name is read from standard input: sudo logs commands.
    """

    default = int

    @override
    def command(self) -> str:
        script = FORGET / "forget"
        return (
            f"[ -x {script} ] || {{ echo 0; exit 0; }}\n"  # a bare host
            f"docker exec -i -e DRY=1 {HUB_NAME} {HUB_PURGE} 2>/dev/null"
            f" | {script} look 2>/dev/null || echo unknown"
        )

    @override
    def process(self, output: list[str]) -> int | None:
        return None if "unknown" in output else sum(map(int, output))


class NewestBackup(FactBase[list[str]]):
    """When it was made (seconds since 1970), bytes, the host's signer, path. Empty: none yet."""

    default = list

    @override
    def command(self) -> str:
        return f"[ -x {BACKUP_SCRIPT} ] && {BACKUP_SCRIPT} newest; true"

    @override
    def process(self, output: list[str]) -> list[str]:
        return output[0].split(" ", 3) if output else []


class BackupFolder(FactBase[bool]):
    """Whether a folder is there, on a disk that can be written."""

    default = bool

    @override
    def command(self, path: str) -> str:
        return f"[ -d {quote(path)} ] && [ -w {quote(path)} ] && echo yes; true"

    @override
    def process(self, output: list[str]) -> bool:
        return "yes" in output


class RestoreTarget(FactBase[Target]):
    """What a restore has to know of the host beforehand."""

    default = Target

    @override
    def command(self) -> str:
        return f"""
for key in /etc/ssh/ssh_host_*_key.pub; do
  ssh-keygen -lf "$key" 2>/dev/null | awk '{{ print "signer", $2 }}'
done
echo "sessions $({SESSIONS} 2>/dev/null | wc -l)"
df -Pm /var/lib | awk 'NR == 2 {{ print "free_mb", $4 }}'
true
"""

    @override
    def process(self, output: list[str]) -> Target:
        return Target.parse(output)


class Drain(FactBase[DrainState | None]):
    """Whether the hub is drained; None: there is none, or it knows nothing of drains."""

    @override
    def command(self) -> str:
        return f"[ -d {DRAIN} ] && echo && cat {DRAIN_STATE} 2>/dev/null; true"

    @override
    def process(self, output: list[str]) -> DrainState | None:
        return DrainState.parse("\n".join(output)) if output else None


class Listens(FactBase[Listening]):
    """What listens on the host, by TCP, and the host's IPv4 addresses, but for loopback's."""

    default = Listening

    @override
    def command(self) -> str:
        return r"""
ss -Hltnp 2>/dev/null | awk '{ split($6, program, "\""); print "listen", $4, program[2] }'
ip -4 -o address show 2>/dev/null | awk '$4 !~ /^127\./ { sub("/.*", "", $4); print "address", $4 }'
true
"""

    @override
    def process(self, output: list[str]) -> Listening:
        return Listening.parse(output)


class Content(FactBase[str]):
    """The text of a file, empty where there is none."""

    default = str

    @override
    def command(self, path: str) -> str:
        return f"cat {quote(path)} 2>/dev/null; true"

    @override
    def process(self, output: list[str]) -> str:
        return "\n".join([*output, ""])


class Engine(FactBase[tuple[str, str]]):
    """The package that Docker comes from (empty: there is none), and the Debian version."""

    @override
    def command(self) -> str:
        return f"""
{ENGINE_PACKAGE}
. /etc/os-release; echo "version ${{VERSION_ID:-}}"
"""

    @override
    def process(self, output: list[str]) -> tuple[str, str]:
        found = dict(line.split(" ", 1) for line in output)
        return found.get("engine_package", ""), found["version"]


class MissingPackages(Lines):
    """Which of some Debian packages are not installed."""

    @override
    def command(self, packages: tuple[str, ...]) -> str:
        return f"""
for package in {_quoted(packages)}; do
  [ "$(dpkg-query -Wf '${{db:Status-Status}}' "$package" 2>/dev/null)" = installed ] \\
    || echo "$package"
done
true
"""


class Noted(FactBase[bool]):
    """Whether it is noted what was on the host before the first deployment."""

    default = bool

    @override
    def command(self) -> str:
        return f"[ -e {BEFORE}/packages ] && echo yes; true"

    @override
    def process(self, output: list[str]) -> bool:
        return "yes" in output


class DaemonBefore(FactBase[str | None]):
    """daemon.json as it was before the first deployment; empty: there was none; None: unknown."""

    @override
    def command(self) -> str:
        return f"""
[ -e {BEFORE}/packages ] && [ ! -e {BEFORE}/late ] || exit 0
echo known; cat {BEFORE}/daemon.json 2>/dev/null
true
"""

    @override
    def process(self, output: list[str]) -> str | None:
        return "\n".join([*output[1:], ""]) if output[1:] else "" if output else None


class Ours(Lines):
    """What an uninstall would remove, a line each, and what it would leave ("stays: …").

    `script` is files/uninstall/uninstall.sh, rendered.
    """

    @override
    def command(self, script: str) -> str:
        return f"mode=list\n{script}"


class Lost(FactBase[str]):
    """What would be lost with the hub, for a person."""

    default = str

    @override
    def command(self) -> str:
        users = 'psql -U "$POSTGRES_USER" -d "$POSTGRES_DB" -Atc "select count(*) from users"'
        return f"""
[ -d {ETC} ] || exit 0
sessions=$({SESSIONS} 2>/dev/null | wc -l)
users=$(docker exec {DATABASE_NAME} sh -c {quote(users)} 2>/dev/null) || users=unknown
archives=$(ls -d {ARCHIVE}/*/about.json 2>/dev/null | wc -l)
echo "$sessions running sessions, $users users, $archives archives"
"""

    @override
    def process(self, output: list[str]) -> str:
        return output[0] if output else ""


class Unheld(Lines):
    """The engine's packages that are installed and not held."""

    @override
    def command(self) -> str:
        return f"""
held=$(apt-mark showhold 2>/dev/null)
for package in {" ".join(HELD_PACKAGES)}; do
  [ "$(dpkg-query -Wf '${{db:Status-Status}}' $package 2>/dev/null)" = installed ] || continue
  printf '%s\n' "$held" | grep -qx $package || echo $package
done
true
"""


class Updates(Lines):
    """Packages of the host that `make patch` would update, by the lists of the archive it has.

    Those that an update before has left half done are among them.
    """

    @override
    def command(self) -> str:
        # (-qq would mean -y, with which apt says no word of what is held.)
        return f"""
{{
  apt-get -qs full-upgrade
  held=$(cat {BEFORE}/held 2>/dev/null)
  [ -z "$held" ] || apt-get -qs --ignore-hold --only-upgrade install $held
}} 2>/dev/null | sed -nE 's/^(Inst|Conf) ([^ ]*).*/\\2/p' | sort -u
"""


class RebootDue(Lines):
    """Why the host should reboot, a line each."""

    @override
    def command(self) -> str:
        return REBOOT_DUE


class Boot(FactBase[str]):
    """Another after each boot; PID 1's start tells of that of a system container."""

    default = str

    @override
    def command(self) -> str:
        return "cat /proc/sys/kernel/random/boot_id; awk '{ print $22 }' /proc/1/stat"

    @override
    def process(self, output: list[str]) -> str:
        return " ".join(output)


class Sessions(FactBase[int]):
    """How many sessions there are."""

    default = int

    @override
    def requires_command(self) -> str:
        return "docker"

    @override
    def command(self) -> str:
        return f"{SESSIONS}; true"

    @override
    def process(self, output: list[str]) -> int:
        return len(output)


class NotServing(Lines):
    """Names of those services that do not serve now."""

    @override
    def command(self, services: tuple[Service, ...]) -> str:
        return "".join(
            f"docker exec {service.name} {_quoted(service.health)} >/dev/null 2>&1"
            f" || echo {service.name}\n"
            for service in services
        )


class EngineIsStale(FactBase[bool]):
    """Whether daemon.json is newer than the running engine, so that a restart is due.

    Or AppArmor's parser is, and the engine does not know of it: it looks once, when it starts.
    """

    default = bool

    @override
    def requires_command(self) -> str:
        return "dockerd"

    @override
    def command(self) -> str:
        return f"""
started=$(date -d "$(systemctl show -P ActiveEnterTimestamp docker)" +%s 2>/dev/null || echo 0)
[ "$(stat -c %Y {quote(str(DAEMON_JSON))} 2>/dev/null || echo 0)" -gt "$started" ] && echo stale
[ -e /sys/kernel/security/apparmor ] \
  && [ "$(stat -c %Z /sbin/apparmor_parser 2>/dev/null || echo 0)" -gt "$started" ] \
  && ! docker info --format '{{{{.SecurityOptions}}}}' | grep -q apparmor && echo stale
true
"""

    @override
    def process(self, output: list[str]) -> bool:
        return "stale" in output


class DockerNetwork(FactBase[dict[str, Any] | None]):
    """A Docker network as `docker network inspect` tells it, with the roles of what is attached.

    Where there is none of that name, the one that we made by another: it is to be replaced.
    """

    @override
    def requires_command(self, network: str) -> str:
        return "docker"

    @override
    def command(self, network: str) -> str:
        return f"""
name={quote(network)}
docker network inspect "$name" >/dev/null 2>&1 \\
  || name=$(docker network ls --filter label={ROLE_LABEL}=network --format '{{{{.Name}}}}' \\
    | head -n 1)
[ -n "$name" ] || exit 0
docker network inspect "$name" --format '{{{{json .}}}}'
docker ps -a --filter network="$name" --format '{{{{.Names}}}} {{{{.Label "{ROLE_LABEL}"}}}}'
"""

    @override
    def process(self, output: list[str]) -> dict[str, Any] | None:
        if not output or not output[0].startswith("{"):
            return None
        attached = dict(line.partition(" ")[::2] for line in output[1:])
        return {**json.loads(output[0]), "attached": attached}


GUARD_STATE = (
    f"{{ nft -s list table inet jhub; nft -s list table bridge jhub; cat {FIREWALL}/*.nft; }}"
    " 2>/dev/null | sha256sum"
)
"""Shell: digest of the guard as it is loaded and as it is written."""


class FirewallState(FactBase[dict[str, list[str]]]):
    """Our chains as `iptables -S` prints them, and the first rule of each that jumps to ours.

    Chains that begin with JHUB are IPv4's, but for JHUB-DENY6; "guard" tells whether nft's tables
    are as they were loaded, "frames" whether iptables sees those from one container to another.
    """

    default = dict

    @override
    def requires_command(self, chains: tuple[str, ...]) -> str:
        return "iptables"

    @override
    def command(self, chains: tuple[str, ...]) -> str:
        first = "".join(
            f"{program} -w -S {chain} 2>/dev/null | sed -n '2s/^/first /p'\n"
            for program, jumps in (("iptables", JUMPS), ("ip6tables", JUMPS6))
            for chain, _ in jumps
        )
        return f"""
for chain in {_quoted(chains)}; do
  case $chain in *6) program=ip6tables ;; *) program=iptables ;; esac
  $program -w -S "$chain" 2>/dev/null | sed 's/^/rule /'
done
[ "$({GUARD_STATE})" = "$(cat {GUARD_DIGEST} 2>/dev/null)" ] && echo "guard loaded"
echo "frames $(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null)"
{first}echo "unit $(systemctl is-enabled {FIREWALL_UNIT} 2>/dev/null)"
echo "unit $(systemctl is-active {FIREWALL_UNIT} 2>/dev/null)"
for unit in {FIREWALL_UNIT} docker; do
  echo "reload $(systemctl show -P NeedDaemonReload $unit 2>/dev/null)"
done
true
"""

    @override
    def process(self, output: list[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in output:
            key, _, value = line.partition(" ")
            found.setdefault(key, []).append(value)
        return found


class MissingImages(Lines):
    """Which of some images are not on the host; all of them where there is no engine."""

    @override
    def command(self, references: tuple[str, ...]) -> str:
        return f"""
for image in {_quoted(references)}; do
  docker image inspect "$image" >/dev/null 2>&1 || echo "$image"
done
true
"""


class OurImages(FactBase[list[PresentImage]]):
    """All tagged images that this project built, and whether a container uses them.

    An image that somebody built on ours has our labels too, but a name of its own.
    """

    default = list

    @override
    def requires_command(self) -> str:
        return "docker"

    @override
    def command(self) -> str:
        return f"""
docker ps -a --format 'used {{{{.Image}}}}'
docker image ls --filter label={NAME_LABEL} --format 'image {{{{.Repository}}}}:{{{{.Tag}}}}'
"""

    @override
    def process(self, output: list[str]) -> list[PresentImage]:

        def of_ours(reference: str) -> bool:
            return reference.startswith(PREFIX) and not reference.endswith(":latest")

        lines = [line.split(" ", 1) for line in output]
        used = {reference for kind, reference in lines if kind == "used"}
        return [
            PresentImage(reference, reference in used)
            for kind, reference in lines
            if kind == "image" and of_ours(reference)
        ]


class Secrets(FactBase[dict[str, str]]):
    """Names of the secrets on the host, each with "MODE OWNER GROUP" — and, for the service
    tokens, the services' names. Never a secret's content."""

    default = dict

    @override
    def command(self) -> str:
        return f"""
cd {quote(str(SECRETS))} 2>/dev/null || exit 0
echo ". $(stat -c '%a %u %g' .)"
for file in *; do
  [ -s "$file" ] && echo "$file $(stat -c '%a %u %g' "$file")"
done
[ -s service_tokens ] \\
  && echo "services $(tr ';' '\\n' < service_tokens | cut -d: -f1 | tr '\\n' ' ')"
true
"""

    @override
    def process(self, output: list[str]) -> dict[str, str]:
        return {name: value.strip() for name, _, value in (line.partition(" ") for line in output)}


class Certificate(Lines):
    """The host's certificate: a word, where it fits its key; its names; the key's mode and owner.

    The word is "valid" for 30 more days or longer, "ending" from 21 days on, then "expiring".
    """

    @override
    def requires_command(self, directory: str) -> str:
        return "openssl"

    @override
    def command(self, directory: str) -> str:
        return f"""
cd {quote(directory)} 2>/dev/null || exit 0
key=$(openssl pkey -in tls.key -pubout 2>/dev/null)
[ -n "$key" ] && [ "$(openssl x509 -in tls.crt -noout -pubkey 2>/dev/null)" = "$key" ] \\
  && {{ openssl x509 -in tls.crt -noout -checkend 2592000 >/dev/null && echo valid \\
    || {{ openssl x509 -in tls.crt -noout -checkend {WARN_SECONDS} >/dev/null && echo ending; }} \\
    || echo expiring; }}
openssl x509 -in tls.crt -noout -ext subjectAltName 2>/dev/null | sed -n '2s/^ *//p'
stat -c '%a %u %g' tls.key 2>/dev/null
true
"""


class ServedCertificate(FactBase[bool]):
    """Whether the proxy (address:port) serves the certificate that lies in `directory`."""

    default = bool

    @override
    def requires_command(self, directory: str, address: str) -> str:
        return "openssl"

    @override
    def command(self, directory: str, address: str) -> str:
        return f"{serves(directory, address)} && echo yes; true"

    @override
    def process(self, output: list[str]) -> bool:
        return "yes" in output


def serves(directory: str, address: str) -> str:
    """Shell: succeeds where `address` (host:port) serves the certificate in `directory`."""
    served = f"timeout 10 openssl s_client -connect {address} </dev/null 2>/dev/null"
    return (
        f'[ "$({served} | openssl x509 2>/dev/null)" = '
        f'"$(openssl x509 -in {quote(directory)}/tls.crt 2>/dev/null)" ]'
    )


class Container(FactBase[ContainerState]):
    """The state of a service's container, of its image, and of the files mounted into it."""

    default = ContainerState

    @override
    def requires_command(self, service: Service) -> str:
        return "docker"

    @override
    def command(self, service: Service) -> str:
        inspect = (
            f'{{"digest": {{{{json (index .Config.Labels "{DIGEST_LABEL}")}}}}, '
            '"running": {{.State.Running}}, '
            '"health": {{if .State.Health}}{{json .State.Health.Status}}{{else}}""{{end}}}'
        )
        return f"""
docker container inspect -f {quote(inspect)} {quote(service.name)} 2>/dev/null
docker image inspect -f '{{"image_id": {{{{json .Id}}}}}}' {quote(service.image)} 2>/dev/null
echo "{{\\"files_digest\\": \\"$(cat -- {_quoted(service.mounted_files)} /dev/null 2>/dev/null \\
  | sha256sum | cut -c1-64)\\"}}"
"""

    @override
    def process(self, output: list[str]) -> ContainerState:
        found: dict[str, Any] = {}
        for line in output:
            if line.strip():  # `docker inspect` prints an empty line for what it does not find
                found.update(json.loads(line))
        if found.get("digest", "") is None:  # a container by that name that is not ours
            found["digest"] = ""
        return ContainerState(**found)


class Migration(FactBase[Look]):
    """A compose project of the reference configuration's, and how far it is moved over."""

    @override
    @staticmethod
    def default() -> Look:
        return Look.parse(())

    @override
    def command(self) -> str:
        return render(
            "migrate/look",
            migration=MIGRATION,
            hub=HUB_NAME,
            proxy=PROXY_NAME,
            role_label=ROLE_LABEL,
        )

    @override
    def process(self, output: list[str]) -> Look:
        return Look.parse(output)


class ServiceTokens(FactBase[dict[str, str]]):
    """The tokens of some services, to be told to a person: the only fact that reads a secret."""

    default = dict

    @override
    def command(self, services: tuple[str, ...]) -> str:
        wanted = "|".join(services).replace(".", "[.]")
        tokens = SECRETS / "service_tokens"
        return f"tr ';' '\\n' < {tokens} 2>/dev/null | grep -E '^({wanted}):'; true"

    @override
    def process(self, output: list[str]) -> dict[str, str]:
        return dict(line.split(":", 1) for line in output)


class VolumeAge(FactBase[int | None]):
    """How old a Docker volume is, in days; None: there is none of that name."""

    @override
    def requires_command(self, volume: str) -> str:
        return "docker"

    @override
    def command(self, volume: str) -> str:
        return f"""
made=$(docker volume inspect -f '{{{{.CreatedAt}}}}' {quote(volume)} 2>/dev/null)
[ -z "$made" ] || echo $(( ($(date +%s) - $(date -d "$made" +%s)) / 86400 ))
"""

    @override
    def process(self, output: list[str]) -> int | None:
        return int(output[0]) if output else None


FIRST_RULE = "-A {} -j {}".format(*JUMPS[1])
NOTEBOOK_IMAGE = (
    """sed -n '/"images"/,/]/s/^ *"\\([^"]*[:/][^"]*\\)".*/\\1/p'"""
    f" {FILTER_CONFIG} 2>/dev/null"
)
"""Shell: the image of sessions, as the Docker filter is told."""
RECORDS = f"""
for path in {RELEASES}/*/about; do
  record=${{path%/about}}; id=${{record##*/}}
  [ -f "$record/since" ] && [ ! -L "$record" ] || continue
  sed "s/^/$id /" "$path"
  echo "$id made $(cat "$record/made")"; echo "$id since $(cat "$record/since")"
done
[ ! -L {RELEASES}/current ] || echo "now current $(readlink {RELEASES}/current)"
"""
"""Shell: what is recorded of releases, as History.parse reads it."""


class Releases(FactBase[History]):
    """What is recorded of good releases, and what there is now of what makes one.

    `others_image`: one of sessions that is not ours; images of no name of ours are not listed.
    """

    default = History

    @override
    def command(self, others_image: str | None = None) -> str:
        others = tuple(f"! -path '{path}'" for path in NOT_RECORDED)
        names = "now image {{.Repository}}:{{.Tag}} {{.ID}}"
        other = f"now image {others_image} {{{{.Id}}}}"
        return f"""
{RECORDS}find {" ".join(map(str, RECORDED))} -type f {" ".join(others)} 2>/dev/null \
  | xargs -r sha256sum | awk '{{ print "now files", $2, $1 }}'
docker ps -a --filter label={ROLE_LABEL}=service --format '{{{{.Names}}}}' 2>/dev/null \
  | sed -n 's/-previous$//; t found; d; :found; s/^/now previous /; p'
docker image ls --no-trunc --format {quote(names)} 2>/dev/null \
  | awk '{{ print; print "now present", $4 }}'
[ -z {quote(others_image or "")} ] \
  || docker image inspect -f {quote(other)} {quote(others_image or "")} 2>/dev/null
true
"""

    @override
    def process(self, output: list[str]) -> History:
        return History.parse(output)


class Status(Lines):
    """What HostStatus.parse reads: services, sessions, room, certificate, firewall, updates."""

    @override
    def command(self) -> str:
        inspect = (
            "service {{slice .Name 1}} {{.State.Status}}"
            " {{if .State.Health}}{{.State.Health.Status}}{{else}}-{{end}}"
            " {{.RestartCount}} {{.State.StartedAt}} {{.Config.Image}}"
        )
        versions = {
            HUB_NAME: "basename $(ls -d /opt/hub/lib/*/site-packages/jupyterhub-*.dist-info)"
            " .dist-info | tr - ' '",
            PROXY_NAME: "sed -n 's/^ *.version.: .\\([0-9.]*\\).*/configurable-http-proxy \\1/p'"
            " /opt/proxy/node_modules/configurable-http-proxy/package.json",
            DATABASE_NAME: "psql --version | sed 's/.*(\\(.*\\)) \\([0-9.]*\\).*/\\1 \\2/'",
        }
        told = "".join(
            f'echo "version {name} $(docker exec {name} sh -c {quote(version)} 2>/dev/null)"\n'
            for name, version in versions.items()
        )
        return f"""
echo "clock $(date +%s)"
for name in {_quoted(SERVICE_NAMES)}; do
  docker container inspect -f {quote(inspect)} "$name" 2>/dev/null | grep . \\
    || echo "service $name missing - 0 - -"
done | while read -r word name state health restarts started image; do
  echo "$word $name $state $health $restarts $(date -d "$started" +%s 2>/dev/null || echo 0) $image"
done
{told}echo "sessions $({SESSIONS} 2>/dev/null | wc -l)"
awk '$1 == "MemTotal:" {{ print "memory_mb", int($2 / 1024) }}
  $1 == "MemAvailable:" {{ print "memory_free_mb", int($2 / 1024) }}' /proc/meminfo
{DOCKER_ROOT}
df -Pm "$docker_root" | awk 'NR == 2 {{ print "disk_mb", $2; print "disk_free_mb", $4 }}'
end=$(openssl x509 -in {TLS / "tls.crt"} -noout -enddate 2>/dev/null | cut -d= -f2)
echo "certificate_end $([ -z "$end" ] || date -d "$end" +%s)"
made=$(docker container inspect -f '{{{{.Image}}}}' {HUB_NAME} 2>/dev/null \\
  | xargs -r docker image inspect -f '{{{{.Created}}}}' 2>/dev/null)
echo "images_made $([ -z "$made" ] || date -d "$made" +%s)"
echo "firewall $(systemctl is-active {FIREWALL_UNIT} 2>/dev/null)"
[ "$({GUARD_STATE})" = "$(cat {GUARD_DIGEST} 2>/dev/null)" ] \
  && [ "$(iptables -w -S DOCKER-USER 2>/dev/null | sed -n 2p)" = "{FIRST_RULE}" ] \
  && echo "rules_loaded yes"
. /etc/os-release
echo "host_version Debian $(cat /etc/debian_version 2>/dev/null || echo "$VERSION_ID")"
echo "host_version kernel $(uname -r)"
docker version --format 'host_version Docker {{{{.Server.Version}}}}' 2>/dev/null
{NOTEBOOK_IMAGE} | sed 's/^/notebook_image /'
cat {DAILY_STATE / "security"} 2>/dev/null
echo "backup $([ -x {BACKUP_SCRIPT} ] && {BACKUP_SCRIPT} newest)"
echo "backups_since $(stat -c %Y {BACKUP_RECIPIENTS} 2>/dev/null)"
echo "backup_state $(systemctl is-failed {BACKUP_UNIT} 2>/dev/null)"
{{ {RECORDS} }} | sed 's/^/release /'
[ -e {DRAIN_STATE} ] && echo "drain $(cat {DRAIN_STATE})"
[ -e {ISOLATION_STATE} ] && echo "isolation $(cat {ISOLATION_STATE})"
[ -z "$({{ {REBOOT_DUE} }})" ] || echo reboot_required yes
true
"""


class Evidence(Lines):
    """What hubhost.doctor.Evidence.parse reads; the script is that module's."""

    @override
    def command(self, script: str) -> str:
        return script


class Collected(FactBase[bytes]):
    """Logs and configuration of a host as a tar.gz, secrets blotted out."""

    default = bytes

    @override
    def command(self, script: str) -> str:
        return script

    @override
    def process(self, output: list[str]) -> bytes:
        return base64.b64decode("".join(output))
