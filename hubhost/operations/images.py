"""Operations on images: build them, have them from another host, prune them."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Generator, Mapping

from pyinfra.api.command import FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from hubhost import connection, facts
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
    to_prune,
)
from hubhost.operations.base import LOCKED, Commands, script
from hubhost.paths import STATE
from hubhost.release import History
from hubhost.settings import Settings

Origins = Mapping[str, tuple[str, ...]]
"""Hosts that each missing image may come from: hubhost.images.origins. None: this one builds it."""

HERE: Origins = {}


BUILD_SLICE_UP = (
    f"systemctl set-property --runtime {BUILD_SLICE} CPUQuota=$((50 * $(nproc)))%"
    f" CPUWeight=20 IOWeight=20 && systemctl start {BUILD_SLICE}"
    " || echo builds take all cores\n"
)


NOT_BUILT = (
    ' echo "image {image}: not built: $({why}); no service was replaced; mend it and deploy again"'
    " >&2; exit 1; }}"
)


@operation()
def base_image(image: BaseImage, settings: Settings, origins: Origins = HERE) -> Commands:
    """Make the base image from Debian's archive."""
    if not _to_build(image, origins):
        return
    made = shlex.join(image.mmdebstrap(settings.debian_mirror, settings.debian_security_mirror))
    labels = f"--change 'LABEL {NAME_LABEL}={image.name}'"
    yield script(
        LOCKED.format("image-base"),
        f"! docker image inspect {image.reference} >/dev/null 2>&1 ||",
        "  { cat >/dev/null; exit 0; }",
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
