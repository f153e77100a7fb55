"""Operations: each reads one fact and yields the least that makes the host as it should be."""

from __future__ import annotations

import base64
import json
import shlex
import time
from collections.abc import Generator, Mapping
from ipaddress import IPv4Network
from logging import CRITICAL, ERROR, INFO, getLogger
from typing import Any

from pyinfra import logger
from pyinfra.api.command import FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from hubhost import check, connection, facts, logs
from hubhost.drain import END_SECONDS, begin
from hubhost.engine import daemon_configuration, engine_packages
from hubhost.hostfile import SERVICES_GROUP, HostFile, HostFolder, outdated
from hubhost.images import (
    BUILD_SLICE,
    NAME_LABEL,
    AnyImage,
    BaseImage,
    Image,
    ImageSet,
    PresentImage,
    build_files,
    ca_certificates,
    first_of,
    notebook_reference,
    to_prune,
)
from hubhost.isolation import JUMPS, JUMPS6, Policy, chains, chains6, listing
from hubhost.network import Network, rebuild
from hubhost.paths import (
    ARCHIVE,
    BACKUP_UNIT,
    BEFORE,
    DAEMON_JSON,
    DRAIN_STATE,
    ETC,
    FIREWALL_UNIT,
    FORGET,
    ISOLATION_STATE,
    MIGRATION,
    RELEASE_PROGRAM,
    RELEASES,
    RESTORE_WORK,
    SECRETS,
    STATE,
    TLS,
)
from hubhost.release import Content, History, Release, project_version, settings_digest
from hubhost.rotation import Rotation
from hubhost.rotation import discard as rotation_script
from hubhost.secrets import Secret, secrets_script
from hubhost.service import (
    DATABASE_NAME,
    FILTER_NAME,
    HUB_NAME,
    PROXY_NAME,
    ROLE_LABEL,
    SERVICE_NAMES,
    Action,
    Service,
    plan,
)
from hubhost.services import (
    FILTER_PROBE,
    FORMER_VOLUME,
    HUB_CODE,
    HUB_PURGE,
    HUB_USER,
    in_order,
)
from hubhost.settings import Settings

Commands = Generator[StringCommand | FunctionCommand]
Origins = Mapping[str, tuple[str, ...]]
"""Hosts that each missing image may come from: hubhost.images.origins. None: this one builds it."""

HERE: Origins = {}

RULES_DO_NOT_LOAD = (
    "firewall: the rules do not load and those of before still stand; why is told above,"
    " by iptables-restore or nft"
)

# An earlier run that was killed may still be at it on the host: wait for it, don't work against it.
APT = "apt-get -qy -o DPkg::Lock::Timeout=600"
APT_UPDATE = f"{APT} update || {{ sleep 2; {APT} update; }}"
FORMER_CLUSTER_DAYS = 7
INSTALLED = (
    "dpkg-query -Wf '${db:Status-Status} ${Package}\\n' | sed -n 's/^installed //p' | sort -u"
)
LOCKED = "exec 9>/run/lock/integrable-jupyterhub-{}; flock 9\n"


BUILD_SLICE_UP = (
    f"systemctl set-property --runtime {BUILD_SLICE} CPUQuota=$((50 * $(nproc)))%"
    f" CPUWeight=20 IOWeight=20 && systemctl start {BUILD_SLICE}"
    " || echo builds take all cores\n"
)


NOT_BUILT = (
    ' echo "image {image}: not built: $({why}); no service was replaced; mend it and deploy again"'
    " >&2; exit 1; }}"
)


def script(*lines: str, stdin: str | list[str] | None = None) -> StringCommand:
    """A shell script that stops at its first error."""
    arguments: dict[str, Any] = {"_stdin": stdin} if stdin is not None else {}
    return StringCommand("\n".join(["set -eu", *lines]), **arguments)


LOCKING = "Take the host's lock"


@operation()
def exclusive() -> Commands:
    """Have the host for this run alone, until its connection ends; first of all that changes it.

    Nothing on the host changes by it, and a plan (`--dry`) does not take the lock.
    """
    if state.is_executing and (refusal := connection.take_lock(state, host)):
        yield script(f"echo {shlex.quote(refusal)} >&2; exit 1")


@operation()
def packages(packages: tuple[str, ...]) -> Commands:
    """Install the Debian packages that are missing, without their recommendations."""
    missing = host.get_fact(facts.MissingPackages, packages=packages)
    if missing:
        yield script(
            "export DEBIAN_FRONTEND=noninteractive",
            LOCKED.format("apt") + "dpkg --configure -a",
            APT_UPDATE,
            # What this run adds is noted for the uninstall, with what it needs.
            f"mkdir -p {BEFORE}; cd {BEFORE}; [ -e installing ] || {INSTALLED} > installing",
            f"{APT} install --no-install-recommends {shlex.join(missing)}",
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


@operation()
def engine(tools: tuple[str, ...]) -> Commands:
    """Install Debian's engine, unless another is there, and `tools`."""
    package, version = host.get_fact(facts.Engine)
    yield from packages._inner((*engine_packages(package, version), *tools))


@operation()
def engine_configuration(subnet: IPv4Network) -> Commands:
    """Merge what this project needs into daemon.json."""
    current = host.get_fact(facts.Content, path=str(DAEMON_JSON))
    wanted = HostFile(DAEMON_JSON, daemon_configuration(current, subnet))
    if wanted.content != current:
        yield write(wanted)


def write(file: HostFile) -> StringCommand:
    """Write a file in one step, readable by nobody else before its time.

    The content goes through standard input: it is in no argument, no log and no --diff.
    """
    path, new = shlex.quote(str(file.path)), shlex.quote(f"{file.path}.new")
    return script(
        f"(umask 022; mkdir -p {shlex.quote(str(file.path.parent))})",
        f"umask 077; base64 -d > {new}",
        f"chown 0:{file.group} {new}; chmod {file.mode:o} {new}; mv {new} {path}",
        stdin=base64.encodebytes(file.content.encode()).decode(),
    )


@operation()
def file_tree(files: tuple[HostFile, ...]) -> Commands:
    """Write the files that differ."""
    present = host.get_fact(facts.Files, paths=tuple(str(file.path) for file in files))
    yield from map(write, outdated(files, present))


@operation()
def folders(folders: tuple[HostFolder, ...]) -> Commands:
    """Make the folders that are missing, or are not as they should be."""
    present = host.get_fact(facts.Folders, paths=tuple(str(folder.path) for folder in folders))
    for folder in folders:
        if folder not in present:
            yield script(
                f"install -d -m {folder.mode:o} -o {folder.owner} -g {folder.group} {folder.path}"
            )


@operation()
def unit(unit: str) -> Commands:
    """Have a unit of systemd's enabled, active, and as it is written."""
    if host.get_fact(facts.Unit, unit=unit) != ["enabled", "active", "no"]:
        yield script("systemctl daemon-reload", f"systemctl enable {unit}")
        yield script(f"systemctl restart {unit}")


@operation()
def no_unit(unit: str, files: tuple[str, ...]) -> Commands:
    """Have no such unit, nor the files that it is made of."""
    if host.get_fact(facts.Files, paths=files):
        yield script(
            f"systemctl disable --quiet --now {unit} 2>/dev/null || true",
            f"rm -f {shlex.join(files)}",
            "systemctl daemon-reload",
        )


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
        f"docker container stop --time {hub.stop_timeout} {hub.name} >/dev/null",
        f"docker ps -aq --filter label={ROLE_LABEL}=session | xargs -r docker rm -f >/dev/null",
        f"docker exec -i {DATABASE_NAME} load < database.dump || {{ {start}; exit 1; }}",
        f"find {ARCHIVE} -mindepth 1 -delete; mkdir -p archive; chown -R {owner} archive",
        f"find archive -mindepth 1 -maxdepth 1 -exec mv -t {ARCHIVE} {{}} +",
        start,
        *_wait(
            f"docker exec {hub.name} {shlex.join(hub.health)} >/dev/null 2>&1",
            hub.name,
            hub.start_timeout,
            f"does not take up the database of the backup; `docker logs {hub.name}` has all",
        ),
        f"rm -rf {RESTORE_WORK}",
    )


@operation()
def forget(user: str) -> Commands:
    """Erase what there is of a user; the name goes through standard input: sudo logs commands."""
    if host.get_fact(facts.Kept, _stdin=user) != 0:
        yield script(
            f"docker exec -i {HUB_NAME} {HUB_PURGE}",
            f"{FORGET / 'forget'} erase",
            stdin=user,
        )


@operation()
def show_logs(request: logs.Request, prefix: str) -> Commands:
    """Print lines of the services' logs; changes nothing."""
    yield script(*request.command(prefix))


@operation()
def take_over(deadline: int) -> Commands:
    """Stop the compose project, keep what is worth it, and free its names and network."""
    if host.get_fact(facts.Migration).state != "done":
        yield script(f"DEADLINE={deadline} sh {MIGRATION / 'take-over'}")


@operation()
def bring_back() -> Commands:
    """Start the compose project again that was there before, and remove what took its place."""
    yield script(f"sh {MIGRATION / 'undo'}")


@operation()
def drain(minutes: int | None) -> Commands:
    """Have no session start, and end those that run in so many minutes (None: leave them alone).

    The same again changes nothing: the deadline stays.
    """
    state = host.get_fact(facts.Drain)
    if state is None or not state.drained or state.minutes != minutes:
        yield script(*begin(minutes))


@operation()
def undrain() -> Commands:
    """Let sessions start again."""
    state = host.get_fact(facts.Drain)
    if state and state.drained:
        yield StringCommand(f"rm -f {DRAIN_STATE}")


def _due() -> bool:
    """Whether the host has updates to install, or to reboot for: else nobody need be bothered."""
    return bool(host.get_fact(facts.Updates) or host.get_fact(facts.RebootDue))


@operation()
def drain_to_patch(minutes: int) -> Commands:
    """Drain, where there is something to patch; a deadline of before stays."""
    state = host.get_fact(facts.Drain)
    if _due() and (state is None or state.deadline is None):
        yield script(*begin(minutes))


@operation()
def sessions_ended() -> Commands:
    """Wait for the deadline, and until the hub has ended what ran, where there is to patch."""
    state = host.get_fact(facts.Drain)
    if _due() and state and state.deadline is not None and host.get_fact(facts.Sessions):
        yield script(
            f'until [ -z "$({facts.SESSIONS})" ]; do',
            f'  if [ "$(date +%s)" -ge {state.deadline + END_SECONDS} ]; then',
            f"    echo 'sessions: the hub did not end them; look why: docker logs {HUB_NAME}' >&2",
            "    exit 1",
            "  fi; sleep 2",
            "done",
        )


@operation(is_idempotent=False)
def package_lists() -> Commands:
    """Fetch the lists of Debian's archive."""
    yield script(LOCKED.format("apt") + APT_UPDATE)


@operation()
def updates() -> Commands:
    """Install Debian's updates, and the engine's, which deployments hold; nothing asks."""
    if host.get_fact(facts.Updates):
        yield script(
            "export DEBIAN_FRONTEND=noninteractive APT_LISTCHANGES_FRONTEND=none",
            "export UCF_FORCE_CONFFOLD=1 NEEDRESTART_SUSPEND=1",
            LOCKED.format("apt") + "dpkg --force-confold --configure -a",
            f"held=$(cat {BEFORE}/held 2>/dev/null || true)",
            'hold() { [ -z "$held" ] || apt-mark "$1" $held >/dev/null; }',
            "trap 'hold hold' EXIT; hold unhold",
            f"{APT} -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
            " full-upgrade",
        )


# Docker leaves containers to systemd (live-restore), which waits 90 s for those that don't hear
# SIGTERM. `docker stop` is no way: what it stops does not come back at boot. (What does not run has
# the pid 0, by which `kill` means this very script.)
GO_DOWN = f"""
pids=$(docker container inspect -f '{{{{.State.Pid}}}}' {" ".join(SERVICE_NAMES)} | grep -vx 0)
systemctl stop docker.socket docker
kill -TERM $pids
for _ in 1 2 3 4 5 6 7 8 9 10; do
  left=; for pid in $pids; do ! kill -0 $pid || left=yes; done; [ -n "$left" ] || break; sleep 1
done
kill -KILL $pids
systemctl reboot
"""


@operation()
def reboot(seconds: int = 900) -> Commands:
    """Reboot where that is due, and wait so long for the host to answer again."""
    if not host.get_fact(facts.RebootDue):
        return
    yield FunctionCommand(_reboot, (seconds,), {})


def _reboot(state: Any, host: Any, seconds: int) -> bool:
    """pyinfra's own looks at the uptime, which in a system container is its machine's."""
    before = host.get_fact(facts.Boot)
    # Detached, so that the answer comes before the connection ends.
    whom = connection.as_whom(host.current_op_global_arguments)
    host.run_shell_command(f"({GO_DOWN}) </dev/null >/dev/null 2>&1 &", **whom)
    connection.release_lock(host)  # which the next step that asks for it takes again
    # A port that is forwarded to a host that is off answers, and ends: no news to anybody.
    getLogger("paramiko").setLevel(CRITICAL)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(2)
        try:
            host.disconnect()
            host.connect(show_errors=False)
            if host.connected and host.get_fact(facts.Boot) not in ("", before):
                return True
        except Exception as error:  # noqa: BLE001  (half gone, or half there: next time)
            logger.debug("not back yet: %s", error)
    logger.error(
        "%sit does not answer %d s after its reboot; look at its console",
        host.print_prefix,
        seconds,
    )
    return False


@operation()
def serving(services: tuple[Service, ...]) -> Commands:
    """Wait until all services serve, after a boot."""
    if host.get_fact(facts.NotServing, services=services):
        for service in services:
            yield script(
                *_wait(
                    f"docker exec {service.name} {shlex.join(service.health)} >/dev/null 2>&1",
                    service.name,
                    2 * service.start_timeout,
                    f"does not serve, its last lines are above; `docker logs {service.name}` on the"
                    " host has all",
                )
            )


@operation()
def uninstall(removal: str, daemon_json: str) -> Commands:
    """Remove what this project made, by hubhost.uninstall's script, and what it is to write."""
    if [line for line in host.get_fact(facts.Ours, script=removal) if not line.startswith("stays")]:
        yield StringCommand(f"mode=remove\n{removal}", _stdin=daemon_json)


PROBE = f"docker exec -i {FILTER_NAME} {FILTER_PROBE}"
LOCK_CHECK = f"flock /run/lock/integrable-jupyterhub-check {PROBE}"


@operation(is_idempotent=False)
def isolation_check(settings: Settings, also: tuple[tuple[str, int], ...] = ()) -> Commands:
    """Try, from a container made as sessions are, what a session reaches; a leak is an error."""
    yield FunctionCommand(_check, (settings, also), {})


def _check(state: Any, host: Any, settings: Settings, also: tuple[tuple[str, int], ...]) -> bool:
    """Whether all is as the policy wants it; says so, door by door."""
    whom = connection.as_whom(host.current_op_global_arguments)

    def ask(command: str, stdin: str = "") -> list[str] | None:
        done, output = host.run_shell_command(command, _stdin=stdin, **whom)
        if not done:
            logger.error("%s%s", host.print_prefix, output.stderr or f"failed: {command[:60]}")
        return output.stdout_lines if done else None

    doors = check.doors(settings, host.get_fact(facts.Listens), also)
    seen = ask(LOCK_CHECK, check.wire(doors))
    hubs = json.dumps([door.target for door in doors if door.control == "hub"])
    by_hub = ask(f"docker exec -i {HUB_NAME} {HUB_CODE} {shlex.quote(check.KNOCK)}", hubs)
    by_host = ask(check.knock([door for door in doors if door.control == "host"]) or "true")
    clock = ask("date +%s")
    if seen is None or by_hub is None or by_host is None or clock is None:
        return False
    verdicts = check.verdicts(doors, json.loads(seen[-1]), {"hub": by_hub, "host": by_host})
    for verdict in verdicts:
        logger.log(ERROR if verdict.problem else INFO, "%s%s", host.print_prefix, verdict)
    found = check.Checked.of(int(clock[0]), verdicts)
    kept = ask(
        f"cat > {ISOLATION_STATE}.new; mv {ISOLATION_STATE}.new {ISOLATION_STATE}", found.json
    )
    return kept is not None and not found.wrong


@operation()
def fresh_engine() -> Commands:
    """Restart the engine if its configuration is newer than it is; containers keep running."""
    if host.get_fact(facts.EngineIsStale):
        # live-restore is one of the keys that a reload takes up: so the restart ends no container.
        yield script("systemctl reload docker", "systemctl restart docker")


@operation()
def docker_network(network: Network) -> Commands:
    """Make the network, or make it anew when it is wrong and only ours are attached."""
    state = host.get_fact(facts.DockerNetwork, network=network.name)
    wrong = network.differences(state) if state else []
    if state is None or wrong:
        if state:
            yield script(*rebuild(state, wrong))
        yield StringCommand("docker network create", shlex.join(network.create_options()))


@operation()
def firewall(policy: Policy) -> Commands:
    """Load our chains and their jumps if anything of them is missing, changed or out of place."""
    ours = chains(policy) | chains6(policy)
    state = host.get_fact(facts.FirewallState, chains=tuple(ours))
    wanted = {
        "rule": listing(ours),
        "first": [f"-A {chain} -j {target}" for chain, target in (*JUMPS, *JUMPS6)],
        "guard": ["loaded"],
        "frames": ["1"],
    }
    unit = FIREWALL_UNIT.removesuffix(".service")
    why = f"journalctl -q -o cat -n 5 -u {unit} >&2; echo '{RULES_DO_NOT_LOAD}' >&2; exit 1"
    if state.get("unit") != ["enabled", "active"] or "yes" in state.get("reload", ()):
        yield script(
            "systemctl daemon-reload",
            f"systemctl enable {unit}",
            f"systemctl reload-or-restart {unit} || {{ {why}; }}",  # or start it
        )
    elif any(state.get(key) != value for key, value in wanted.items()):
        yield script(f"systemctl reload {unit} || {{ {why}; }}")


@operation()
def base_image(image: BaseImage, settings: Settings, origins: Origins = HERE) -> Commands:
    """Make the base image from Debian's archive."""
    if not _to_build(image, origins):
        return
    made = shlex.join(image.mmdebstrap(settings.debian_mirror, settings.debian_security_mirror))
    labels = f"--change 'LABEL {NAME_LABEL}={image.name}'"
    yield script(
        LOCKED.format("image-base"),
        f"docker image inspect {image.reference} >/dev/null 2>&1 && exit 0",
        # mmdebstrap needs a folder that is neither noexec nor nodev, which a hardened /tmp is.
        f"export TMPDIR={STATE / 'build'}; rm -rf $TMPDIR; mkdir -p $TMPDIR",
        "trap 'rm -rf $TMPDIR' EXIT",
        "cat /etc/ssl/certs/ca-certificates.crt - > $TMPDIR/ca.pem 2>/dev/null || true",
        BUILD_SLICE_UP + f"systemd-run --quiet --scope --slice {BUILD_SLICE}"
        f" mmdebstrap --aptopt='Acquire::https::CAInfo \"'$TMPDIR'/ca.pem\"' {made}"
        " > $TMPDIR/base.tar 2> $TMPDIR/log || { tail -n 30 $TMPDIR/log >&2;"
        + NOT_BUILT.format(image="base", why="grep '^[EW]: ' $TMPDIR/log | head -n 1"),
        f"docker import {labels} --change 'CMD [\"bash\"]' $TMPDIR/base.tar {image.reference}",
        stdin=ca_certificates(settings) or "\n",
    )


@operation()
def start_builds(
    images: tuple[Image, ...], settings: Settings, origins: Origins = HERE
) -> Commands:
    """Start the builds of all images that are missing: most of a build is waiting for a mirror.

    Each image's own operation then waits for it, or builds it anew and tells what went wrong.
    """
    for image in images:
        if _to_build(image, origins):
            context = f"{STATE}/{image.name}.tar"
            yield script(
                f"mkdir -p {STATE}; umask 077; base64 -d > {context}",
                f"exec 8< {context}; rm {context}",
                f"setsid sh -c {shlex.quote(_build(image))} <&8 > /dev/null 2>&1 &",
                stdin=_context(image, settings),
            )


@operation()
def built_image(image: Image, settings: Settings, origins: Origins = HERE) -> Commands:
    """Build an image from its folder, or wait for a build of it that runs."""
    if _to_build(image, origins):
        # What the step that failed said last, without BuildKit's "#12 3.456 " before it.
        why = "sed -n 's/^#[0-9]* [0-9][0-9.]* //p' $log | grep . | tail -n 1 | cut -c 1-300"
        yield script(
            "log=$(mktemp); trap 'rm -f \"$log\"' EXIT",
            # Where it is built by now, its context is read all the same: the one who sends it
            # would take the end of that for the end of the connection.
            f"base64 -d | {{ sh -c {shlex.quote(_build(image))}; code=$?; cat > /dev/null;"
            " exit $code; } > $log 2>&1"
            " || { tail -n 40 $log >&2;" + NOT_BUILT.format(image=image.name, why=why),
            stdin=_context(image, settings),
        )


@operation()
def received_images(images: tuple[AnyImage, ...], origins: Origins) -> Generator[PyinfraCommand]:
    """Have the images that another host of the run has, or has built."""
    if not origins:
        return
    references = tuple(image.reference for image in images)
    missing = host.get_fact(facts.MissingImages, references=references)
    sources: dict[str, list[str]] = {}
    for reference in missing:
        if source := _elsewhere(reference, origins):
            sources.setdefault(source, []).append(reference)
    for source, wanted in sources.items():
        if source in _failed():
            told = f"images: {source} was to build them for this host, and failed; see there"
            yield script(f"echo {shlex.quote(f'{told}, and deploy again')} >&2; exit 1")
        else:
            send = "\n".join(["set -eu", *saved_images(wanted)])
            yield FunctionCommand(connection.relay, (source, send, LOAD), {})


def saved_images(references: list[str]) -> tuple[str, ...]:
    """Shell: the images to standard output. Docker makes them a folder beside its own, first."""
    images = shlex.join(references)
    # All are built on the smallest.
    size = "{ sum += $1; if (!least || $1 < least) least = $1 }"
    total = "END { print int((sum - (NR - 1) * least) / 1e6) }"
    return (
        facts.DOCKER_ROOT,
        f"need=$(docker image inspect -f '{{{{.Size}}}}' {images} | awk '{size} {total}')",
        "free=$(df -Pm \"$docker_root\" | awk 'NR == 2 { print $4 }')",
        '[ "$free" -gt "$need" ] || {',
        '  echo "disk: to hand on images takes $need MB, $free are free; make room" >&2; exit 1',
        "}",
        f"docker save {images} | zstd -1 -T0",
    )


LOAD = "zstd -dc | docker load --quiet"
"""Docker 20.10 does not read zstd by itself."""


_chosen: dict[tuple[str, tuple[str, ...]], str | None] = {}


def _elsewhere(reference: str, origins: Origins) -> str | None:
    """The other host that an image is to come from; None: it is built here.

    Who failed before it came to that is passed over. Once chosen, it is the same for all hosts.
    """
    candidates = origins.get(reference, ())
    if not candidates:
        return None
    chosen = first_of(candidates, _failed())
    if host.state.is_executing:
        chosen = _chosen.setdefault((reference, candidates), chosen)
    return None if chosen == host.name else chosen


def _failed() -> set[str]:
    return {one.name for one in host.state.failed_hosts}


def _to_build(image: AnyImage, origins: Origins) -> bool:
    return _missing(image.reference) and _elsewhere(image.reference, origins) is None


def _missing(reference: str) -> bool:
    return bool(host.get_fact(facts.MissingImages, references=(reference,)))


def _context(image: Image, settings: Settings) -> str:
    return base64.encodebytes(image.context(build_files(settings))).decode()


def _build(image: Image) -> str:
    """Shell: build the image unless it is there, from the context on standard input."""
    latest = f"{image.reference.rpartition(':')[0]}:latest"
    target = f" --target {image.target}" if image.target else ""
    return (
        LOCKED.format(f"image-{image.name}")
        + f"docker image inspect {image.reference} >/dev/null 2>&1 && exit 0\n"
        + BUILD_SLICE_UP
        + "DOCKER_BUILDKIT=1 docker build --progress plain --force-rm"
        f" --cgroup-parent {BUILD_SLICE}"
        f" --build-arg BASE={shlex.quote(image.base)} --label {NAME_LABEL}={image.name}"
        f"{target} --tag {image.reference} --tag {latest} -"
    )


@operation()
def pulled_image(reference: str) -> Commands:
    """Have an image that others made: from the host, or else from its registry."""
    if _missing(reference):
        quoted = shlex.quote(reference)
        yield script(
            f"docker pull {quoted} || {{ echo notebook_image: {quoted} is neither on the host nor"
            " can it be pulled, build or load it on the host, or mend the name >&2; exit 1; }"
        )


@operation()
def prune_images(settings: Settings) -> Commands:
    """Delete images of ours that no release recorded needs, and what builds cached a week ago."""
    history: History = host.get_fact(facts.Releases, others_image=settings.notebook_image)
    kept = {image.reference for image in ImageSet.of(settings).all}
    for release in history.releases:
        kept |= release.content.images.keys()
    present: list[PresentImage] = host.get_fact(facts.OurImages)
    if pruned := to_prune(present, kept):
        yield StringCommand("docker image rm", shlex.join(pruned))
        yield StringCommand("docker builder prune --force --filter until=168h")


@operation()
def keep_release(settings: Settings) -> Commands:
    """Record what runs as a release, unless it is recorded; remove containers of before."""
    history: History = host.get_fact(facts.Releases, others_image=settings.notebook_image)
    services = in_order(settings)
    images = {
        *(image.reference for image in ImageSet.of(settings).all),
        notebook_reference(settings),
    }
    content = Content(
        {reference: history.images.get(reference, "") for reference in sorted(images)},
        history.files,
        {s.name: " ".join([s.specification, *s.mounted_files]) for s in services},
        Network.of(settings).digest,
    )
    surplus = history.surplus(settings.releases_kept, content.id)
    if content.id != history.current or history.previous:
        release = Release(
            content.id, content, version=project_version(), settings=settings_digest(settings)
        )
        new = RELEASES / ".new"
        yield script(f"rm -rf {new}; install -d -m 700 {RELEASES}")
        yield write(HostFile(new / "about", release.about()))
        for service in services:
            yield write(HostFile(new / "services" / service.name, service.definition()))
        yield script(f"{RELEASE_PROGRAM} keep {content.id}", stdin="\n".join([*history.files, ""]))
    if surplus:
        yield StringCommand("rm -rf", *(str(RELEASES / release.id) for release in surplus))


@operation()
def rollback(release: Release) -> Commands:
    """Have what ran as a release run again."""
    history: History = host.get_fact(facts.Releases)
    if release.id != history.current or history.previous:
        yield script(f"{RELEASE_PROGRAM} back {release.id}")


@operation()
def secrets(wanted: tuple[Secret, ...], services: tuple[str, ...]) -> Commands:
    """Make the secrets that are missing, on the host itself, and a token for each service."""
    state = host.get_fact(facts.Secrets)
    expected = {".": "700 0 0"} | {s.name: f"{s.mode:o} 0 {s.group}" for s in wanted}
    expected["services"] = " ".join(services)
    if any(state.get(name) != value for name, value in expected.items()):
        yield script(secrets_script(SECRETS, wanted, services))


@operation()
def discard(rotation: Rotation) -> Commands:
    """Delete a secret; `secrets`, or `self_signed_certificate`, will make another."""
    yield script(*rotation_script(rotation))


@operation()
def self_signed_certificate(directory: str, names: tuple[str, ...], keep: bool = False) -> Commands:
    """Make a certificate for `names` (``DNS:…``, ``IP:…``), or a new one before it expires.

    `keep`: whatever is there, if it fits its key.
    """
    state = host.get_fact(facts.Certificate, directory=directory)
    if keep and state and state[0] in ("valid", "ending", "expiring"):
        return
    shown = ", ".join(name.replace("IP:", "IP Address:") for name in names)
    if state == ["valid", shown, f"640 0 {SERVICES_GROUP}"]:
        return
    common_name = names[0].partition(":")[2]
    yield script(
        f"install -d -m 755 {directory}; cd {directory}; umask 077",
        "openssl req -x509 -newkey rsa:3072 -sha256 -days 825 -nodes -keyout tls.key.new"
        f" -out tls.crt.new -subj '/CN={common_name}' -addext subjectAltName={','.join(names)}"
        " -addext basicConstraints=critical,CA:TRUE 2>/dev/null",
        f"chown 0:{SERVICES_GROUP} tls.key.new; chmod 640 tls.key.new; chmod 644 tls.crt.new",
        "mv tls.key.new tls.key; mv tls.crt.new tls.crt",
    )


@operation()
def served_certificate(directory: str, address: str) -> Commands:
    """Have the running proxy (host:port) take up the certificate in `directory`; nobody notices."""
    if not host.get_fact(facts.ServedCertificate, directory=directory, address=address):
        yield script(
            f"docker kill --signal HUP {PROXY_NAME} >/dev/null",
            *_wait(
                facts.serves(directory, address),
                PROXY_NAME,
                20,
                f"serves another certificate than the one in {directory}, its last lines are above;"
                f" `docker restart {PROXY_NAME}`",
            ),
        )


@operation()
def forgotten_cluster() -> Commands:
    """Delete the cluster of the PostgreSQL that was there before another major, after a week."""
    age = host.get_fact(facts.VolumeAge, volume=FORMER_VOLUME)
    if age is not None and age >= FORMER_CLUSTER_DAYS:
        yield StringCommand(f"docker volume rm {FORMER_VOLUME}")


@operation()
def container(service: Service) -> Commands:
    """Have the service's container run as specified, and wait until it serves."""
    state = host.get_fact(facts.Container, service=service)
    action = plan(service, state)
    if action is Action.NOTHING:
        host.noop(f"{service.name} {action.value}")
        return
    # The program looks once more, under a lock, at what is to be done.
    yield script(f"{RELEASE_PROGRAM} run", stdin=service.definition())


def _wait(condition: str, container: str, seconds: int, told: str) -> tuple[str, ...]:
    """Shell: wait until `condition` holds; else the container's last lines, what is `told`, exit.

    All but `container` and `told` are commands.
    """
    return (
        f"end=$(( $(date +%s) + {seconds} ))",
        f"until {condition}; do",
        '  if [ "$(date +%s)" -ge $end ]; then',
        f"    docker logs --tail 20 {container} >&2 2>&1 || true",
        f"    echo '{container}: {told}' >&2; exit 1",
        "  fi; sleep 0.2",
        "done",
    )
