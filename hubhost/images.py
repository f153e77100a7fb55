"""The images built on the host: what belongs to each, its tag, and its build context."""

from __future__ import annotations

import hashlib
import io
import json
import shlex
import tarfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from hubhost.settings import Settings

IMAGES = Path(__file__).parents[1] / "images"
RECIPE = IMAGES / "base" / "recipe.json"
PREFIX = "integrable-jupyterhub-"
NAME_LABEL = "integrable-jupyterhub.image"
BUILT = ("database", "proxy", "filter", "hub", "notebook")
"""Images built from a Dockerfile, in this order, all on the base image."""
# What builds run in leaves half of the cores to sessions. BuildKit puts its steps there by
# --cgroup-parent alone (it ignores --cpuset-cpus). No dash: in a slice's name that makes a tree.
BUILD_SLICE = "jupyterhubbuilds.slice"
LEFTOVERS = {"__pycache__", "node_modules"}


class AnyImage(Protocol):
    """What base and built images have in common."""

    @property
    def name(self) -> str: ...
    @property
    def reference(self) -> str: ...


@dataclass(frozen=True)
class BaseImage:
    """Debian, made by mmdebstrap from the archive: needs no registry.

    The fields are mmdebstrap's options of the same names; images/base/recipe.json has them.
    """

    suite: str
    variant: str
    include: tuple[str, ...]
    dpkgopts: tuple[str, ...]
    aptopts: tuple[str, ...]
    epoch: int
    name: str = "base"

    @classmethod
    def of(cls, recipe: Path, epoch: int) -> BaseImage:
        values = json.loads(recipe.read_text())
        return cls(
            suite=values["suite"],
            variant=values["variant"],
            include=tuple(values["include"]),
            dpkgopts=tuple(values["dpkgopts"]),
            aptopts=tuple(values["aptopts"]),
            epoch=epoch,
        )

    @property
    def reference(self) -> str:
        return _reference(self.name, json.dumps(asdict(self), sort_keys=True).encode())

    def mmdebstrap(self, mirror: str, security_mirror: str) -> list[str]:
        """Arguments for mmdebstrap; the tar goes to standard output.

        The image's own sources.list names Debian's own archive, whatever mirror it was made from.
        """
        debian = debian_sources(
            self.suite,
            "http://deb.debian.org/debian",
            "http://deb.debian.org/debian-security",
        )
        write = f"printf '%s\\n' {shlex.join(debian)} > \"$1\"/etc/apt/sources.list"
        return [
            f"--variant={self.variant}",
            f"--include={','.join(self.include)}",
            *(f"--dpkgopt={option}" for option in self.dpkgopts),
            *(f"--aptopt={option}" for option in self.aptopts),
            f"--customize-hook={write}",
            self.suite,
            "-",
            *debian_sources(self.suite, mirror, security_mirror),
        ]


@dataclass(frozen=True)
class Image:
    """An image built from a folder with a Dockerfile, on another image."""

    name: str
    folder: Path
    base: str
    epoch: int
    target: str | None = None
    """The stage that is built; None: the last."""

    @property
    def files(self) -> dict[str, bytes]:
        """What the build sees, by path in the folder; a text for people rebuilds no image."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            relative = path.relative_to(self.folder)
            leftover = any(part.startswith(".") or part in LEFTOVERS for part in relative.parts)
            if path.is_file() and not leftover and path.suffix not in {".md", ".in", ".pyc"}:
                found[relative.as_posix()] = path.read_bytes()
        return found

    @property
    def reference(self) -> str:
        """Name and tag: the tag is a hash of the context, the target, the base and the epoch."""
        parts = [self.base.encode(), str(self.epoch).encode()]
        parts += [self.target.encode()] if self.target else []
        for path, content in self.files.items():
            executable = self.folder.joinpath(path).stat().st_mode & 0o100
            parts += [path.encode(), str(executable).encode(), content]
        return _reference(self.name, b"\0".join(hashlib.sha256(p).digest() for p in parts))

    def context(self, build_files: Mapping[str, bytes]) -> bytes:
        """The build context as a tar, the same for the same files, `build_files` under .build/."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            extra = {f".build/{path}": content for path, content in build_files.items()}
            for path, content in {**self.files, **extra}.items():
                info = tarfile.TarInfo(path)
                info.size = len(content)
                source = self.folder / path
                info.mode = 0o755 if source.exists() and source.stat().st_mode & 0o100 else 0o644
                tar.addfile(info, io.BytesIO(content))
        return out.getvalue()


def _reference(name: str, content: bytes) -> str:
    return f"{PREFIX}{name}:{hashlib.sha256(content).hexdigest()[:12]}"


@dataclass(frozen=True)
class ImageSet:
    """All images built for an installation.

    `base` is None where a registry's image is the base; there is no notebook image where the admin
    names another.
    """

    base: BaseImage | None
    built: tuple[Image, ...]

    @classmethod
    def of(cls, settings: Settings) -> ImageSet:
        epoch = settings.images_epoch
        base = None
        if settings.base_image is None:
            base = BaseImage.of(RECIPE, epoch)
        reference = settings.base_image or (base.reference if base else "")
        names = [name for name in BUILT if name != "notebook" or settings.notebook_image is None]
        targets = {"notebook": settings.notebook_profile}
        built = (Image(name, IMAGES / name, reference, epoch, targets.get(name)) for name in names)
        return cls(base, tuple(built))

    @property
    def all(self) -> tuple[AnyImage, ...]:
        return (self.base, *self.built) if self.base else self.built

    def reference(self, name: str) -> str:
        """The reference of an image by its name, such as "hub"."""
        return next(image.reference for image in self.all if image.name == name)


def notebook_reference(settings: Settings) -> str:
    """The image that sessions run: the admin's own or ours."""
    return settings.notebook_image or ImageSet.of(settings).reference("notebook")


def debian_sources(suite: str, mirror: str, security_mirror: str) -> list[str]:
    """Lines of a sources.list."""
    return [
        f"deb {mirror} {suite} main",
        f"deb {mirror} {suite}-updates main",
        f"deb {security_mirror} {suite}-security main",
    ]


def ca_certificates(settings: Settings) -> str:
    """The extra CA certificates as one PEM text, empty where there are none."""
    return "".join(path.read_text().strip() + "\n" for path in settings.extra_ca_certificates)


def build_files(settings: Settings) -> dict[str, bytes]:
    """What a build step sources (`. /run/build/env`): mirrors, and the network's CA certificates.

    They are mounted while a step runs, lie outside the hashed context, and write to a tmpfs only:
    so neither a mirror nor a certificate reaches a layer or changes a tag.
    """
    certificates = ca_certificates(settings)
    env = [
        "set -eu",
        # What is mounted belongs to the key of the build's cache: a new epoch fetches anew.
        f": images_epoch {settings.images_epoch}",
        "export DEBIAN_FRONTEND=noninteractive APT_CONFIG=/run/build/apt.conf",
        "export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore",
        f"export PIP_INDEX_URL='{settings.pypi_index}'",
        f"export NPM_CONFIG_REGISTRY='{settings.npm_registry}'",
        "export NPM_CONFIG_CACHE=/tmp/npm NPM_CONFIG_UPDATE_NOTIFIER=false",
    ]
    apt = ['Dir::Etc::SourceList "/run/build/sources.list";', 'Dir::Etc::SourceParts "-";']
    if certificates:
        env += [
            "cat /etc/ssl/certs/ca-certificates.crt /run/build/ca.pem > /tmp/ca-bundle.pem",
            "export PIP_CERT=/tmp/ca-bundle.pem NODE_EXTRA_CA_CERTS=/tmp/ca-bundle.pem",
        ]
        apt.append('Acquire::https::CAInfo "/tmp/ca-bundle.pem";')
    suite = BaseImage.of(RECIPE, settings.images_epoch).suite
    sources = debian_sources(suite, settings.debian_mirror, settings.debian_security_mirror)
    texts = {"env": env, "apt.conf": apt, "sources.list": sources, "ca.pem": [certificates]}
    return {name: "\n".join([*lines, ""]).encode() for name, lines in texts.items()}


def mirrors(settings: Settings) -> tuple[tuple[str, str, int], ...]:
    """(setting, host, port) of all that is fetched from while images are built."""
    settings_of_mirrors = ("debian_mirror", "debian_security_mirror", "pypi_index", "npm_registry")
    found = []
    for setting in settings_of_mirrors:
        url = urlsplit(getattr(settings, setting))
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        found.append((setting, url.hostname or "", port))
    return tuple(found)


@dataclass(frozen=True)
class Shelf:
    """Which images a host of the run wants, and which of those it lacks."""

    host: str
    architecture: str
    wanted: frozenset[str]
    missing: frozenset[str]


def origins(host: str, shelves: Iterable[Shelf]) -> dict[str, tuple[str, ...]]:
    """Where `host` may have each image from that it lacks, the best first; it may be itself.

    From who has it, else from who builds it: the first that lacks it, in the inventory's order.
    All hosts that lack an image get the same answer, so it is built once.
    """
    shelves = tuple(shelves)
    found = {}
    mine = next((shelf for shelf in shelves if shelf.host == host), None)
    for reference in mine.missing if mine else ():
        others = [
            shelf
            for shelf in shelves
            if mine and reference in shelf.wanted and shelf.architecture == mine.architecture
        ]
        others.sort(key=lambda shelf: reference in shelf.missing)
        found[reference] = tuple(shelf.host for shelf in others)
    return found


def first_of(candidates: Iterable[str], failed: Collection[str]) -> str | None:
    """The first of some hosts that the run has not lost."""
    return next((name for name in candidates if name not in failed), None)


@dataclass(frozen=True)
class PresentImage:
    """An image of ours on the host; `used` by any container."""

    reference: str
    used: bool


def to_prune(present: Iterable[PresentImage], kept: Iterable[str]) -> list[str]:
    """What to delete: images that are not `kept`, and that no container uses."""
    wanted = set(kept)
    return sorted(i.reference for i in present if i.reference not in wanted and not i.used)
