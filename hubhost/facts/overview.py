"""Facts that look at a host as a whole: preflight's, status' and doctor's."""

from __future__ import annotations

import base64
from shlex import quote

from pyinfra.api.facts import FactBase
from typing_extensions import override

from hubhost.facts.base import Lines, quoted
from hubhost.facts.debian import REBOOT_DUE
from hubhost.facts.docker import DOCKER_ROOT, ENGINE_PACKAGE
from hubhost.facts.isolation import GUARD_STATE
from hubhost.facts.releases import RECORDS
from hubhost.facts.services import SESSIONS
from hubhost.isolation import JUMPS
from hubhost.paths import (
    BACKUP_RECIPIENTS,
    BACKUP_SCRIPT,
    BACKUP_UNIT,
    DAEMON_JSON,
    DAILY_STATE,
    DRAIN_STATE,
    FIREWALL_UNIT,
    GUARD_DIGEST,
    ISOLATION_STATE,
    TLS,
)
from hubhost.preflight import HostReport
from hubhost.service import DATABASE_NAME, HUB_NAME, PROXY_NAME, ROLE_LABEL, SERVICE_NAMES
from hubhost.services import FILTER_CONFIG


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


FIRST_RULE = "-A {} -j {}".format(*JUMPS[1])
NOTEBOOK_IMAGE = (
    """sed -n '/"images"/,/]/s/^ *"\\([^"]*[:/][^"]*\\)".*/\\1/p'"""
    f" {FILTER_CONFIG} 2>/dev/null"
)
"""Shell: the image of sessions, as the Docker filter is told."""


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
for name in {quoted(SERVICE_NAMES)}; do
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
