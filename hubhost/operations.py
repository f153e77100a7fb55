"""Operations: each reads one fact and yields the least that makes the host as it should be."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Generator, Mapping
from ipaddress import IPv4Network
from typing import Any

from pyinfra.api.command import FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from hubhost import connection, facts, logs
from hubhost.engine import daemon_configuration, engine_packages
from hubhost.hostfile import SERVICES_GROUP, HostFile, HostFolder, outdated
from hubhost.images import (
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
    DAEMON_JSON,
    FIREWALL_UNIT,
    FORGET,
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
    HUB_NAME,
    PROXY_NAME,
    ROLE_LABEL,
    Action,
    Service,
    plan,
)
from hubhost.services import FORMER_VOLUME, HUB_PURGE, HUB_USER, in_order
from hubhost.settings import Settings

Commands = Generator[StringCommand]
Origins = Mapping[str, tuple[str, ...]]
"""Hosts that each missing image may come from: hubhost.images.origins. None: this one builds it."""

HERE: Origins = {}

RULES_DO_NOT_LOAD = (
    "firewall: the rules do not load and those of before still stand; why is told above,"
    " by iptables-restore or nft"
)

# An earlier run that was killed may still be at it on the host: wait for it, don't work against it.
APT = "apt-get -qy -o DPkg::Lock::Timeout=600"
FORMER_CLUSTER_DAYS = 7
LOCKED = "exec 9>/run/lock/integrable-jupyterhub-{}; flock 9\n"


# What builds run in leaves half of the cores to sessions. BuildKit puts its steps there by
# --cgroup-parent alone (it ignores --cpuset-cpus). No dash: in a slice's name that makes a tree.
BUILD_SLICE = "jupyterhubbuilds.slice"
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
            f"{APT} update || {{ sleep 2; {APT} update; }}",
            f"{APT} install --no-install-recommends {shlex.join(missing)}",
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
        f"systemctl start {BACKUP_UNIT} 2>/dev/null || {{ {told} >&2; exit 1; }}",
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
