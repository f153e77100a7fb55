"""Releases: what runs on a host, as recorded at the end of each good deployment, and the way back.

files/release/release.sh writes and reads the records on the host; it needs nothing of this machine.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from hubhost.errors import Problem, Problems
from hubhost.images import PREFIX
from hubhost.logs import KEEP_LOG
from hubhost.paths import CARRY, FIREWALL, FIREWALL_UNIT, RELEASES, UNITS
from hubhost.service import DATABASE_NAME, DIGEST_LABEL
from hubhost.settings import Settings
from hubhost.templates import render

ROOT = Path(__file__).parents[1]
NOW = "now"
"""In what the fact tells: what is on the host at this moment, whatever is recorded."""


@dataclass(frozen=True)
class Content:
    """What makes a release another one. Secrets and certificates are not part of it.

    `images`: id by reference; `files`: digest by path; `services`: by name, specification and
    mounted paths, with blanks between; `network`: digest of Docker's, which no rollback changes.
    """

    images: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, str] = field(default_factory=dict)
    network: str = ""

    @property
    def id(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]


RELEASE_WORDS = ("made", "since", "version", "settings", "network")
RELEASE_KINDS = ("images", "files", "services")


@dataclass(frozen=True)
class Release:
    """A record; times in seconds since 1970, `settings` a digest of those it was made with."""

    id: str
    content: Content
    made: int = 0
    since: int = 0
    version: str = ""
    settings: str = ""

    def __str__(self) -> str:
        made = datetime.fromtimestamp(self.made, UTC).strftime("%Y-%m-%d %H:%M UTC")
        return f"{self.id} of {made} ({self.version})"

    def about(self) -> str:
        """The file that tells of it on the host: lines `KEY NAME VALUE`."""
        c = self.content
        kinds = {"images": c.images, "files": c.files, "services": c.services}
        words = {"version": self.version, "settings": self.settings, "network": c.network}
        lines = [f"{key} {word}" for key, word in words.items()]
        lines += [f"{k} {name} {value}" for k, of in kinds.items() for name, value in of.items()]
        return "\n".join([*lines, ""])

    @property
    def needs(self) -> dict[str, str]:
        """Images without which it can't run; the base image is for builds only."""
        base = f"{PREFIX}base:"
        return {r: i for r, i in self.content.images.items() if not r.startswith(base)}


@dataclass(frozen=True)
class History:
    """All that a host has recorded, newest first, and what is there now.

    `previous`: services whose container of before stands aside; `files`: digest by path; `images`:
    id by reference; `image_ids`: also of those without a name.
    """

    releases: tuple[Release, ...] = ()
    current: str = ""
    previous: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    image_ids: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, lines: Iterable[str]) -> History:
        """Of lines `RELEASE KEY NAME VALUE`, as the fact prints them."""
        found: dict[str, dict[str, dict[str, str]]] = {}
        for line in lines:
            release, key, name, value = (line + "   ").split(" ", 3)
            found.setdefault(release, {}).setdefault(key, {})[name] = value.strip()
        now = found.pop(NOW, {})
        releases = []
        for release, told in found.items():
            word = {key: next(iter(told.get(key, {"": ""}))) for key in RELEASE_WORDS}
            images, files, services = (told.get(kind, {}) for kind in RELEASE_KINDS)
            content = Content(images, files, services, word["network"])
            made, since = int(word["made"] or 0), int(word["since"] or 0)
            releases.append(
                Release(release, content, made, since, word["version"], word["settings"])
            )
        return cls(
            tuple(sorted(releases, key=lambda release: (-release.made, release.id))),
            next(iter(now.get("current", {"": ""}))),
            tuple(now.get("previous", ())),
            now.get("files", {}),
            now.get("image", {}),
            frozenset(now.get("present", ())),
        )

    @property
    def running(self) -> Release | None:
        """The release that runs, as recorded."""
        return next((r for r in self.releases if r.id == self.current), None)

    @property
    def content(self) -> Content:
        """What the current release is made of, with the files as they are now."""
        recorded = self.running.content if self.running else Content()
        return replace(recorded, files=self.files)

    def surplus(self, kept: int, current: str) -> list[Release]:
        """What is recorded beyond the `kept` newest; never `current`."""
        others = [release for release in self.releases if release.id != current]
        return others[max(kept - 1, 0) :]

    def target(self, wanted: str) -> Release:
        """The release to go back to: the one that is `wanted`, or the one made before the current.

        Raises:
            Problems: nothing is recorded, it is unknown, it can't run any more.
        """
        known = ", ".join(release.id for release in self.releases)
        usage = "make rollback RELEASE=id, one of make status JSON=1"
        running = self.running
        if running is None:
            remedy = "a deployment that ends well records the first"
            raise Problems([Problem("RELEASE", "no release is recorded on this host", remedy)])
        if wanted:
            found = next((r for r in self.releases if r.id == wanted), None)
            if found is None:
                message = f"there is no {wanted!r}"
                raise Problems([Problem("RELEASE", message, f"name one of {known}")])
        else:
            found = next((r for r in self.releases if r.made < running.made), None)
            if found is None:
                message = f"none is recorded from before {running.id}, which runs"
                raise Problems([Problem("RELEASE", message, usage)])
        gone = sorted(r for r, image in found.needs.items() if image not in self.image_ids)
        if gone:
            message = f"{found.id} needs images that are gone: {', '.join(gone)}"
            remedy = "name another, or check out the version of then and deploy: it builds them"
            raise Problems([Problem("RELEASE", message, remedy)])
        if found.content.network != running.content.network:
            message = f"{found.id} had another Docker network"
            remedy = "put its settings back, and deploy; that ends running sessions"
            raise Problems([Problem("RELEASE", message, remedy)])
        return found


def differences(now: Content, then: Content) -> Iterator[str]:
    """What going back from `now` means, in words."""
    paths = sorted(now.files.keys() | then.files.keys())
    files = [path for path in paths if now.files.get(path) != then.files.get(path)]
    for name, service in then.services.items():
        if now.services.get(name) != service or set(files) & set(service.split()):
            yield f"{name} is replaced"
    for path in files:
        yield f"{path} is {'put back' if path in then.files else 'removed'}"
    for reference in sorted(then.images.keys() - now.images.keys()):
        if reference.startswith(f"{PREFIX}notebook:"):
            yield f"new sessions run {reference}"


def program(names: Iterable[str]) -> str:
    """The program for the host; `names` of the services, in the order in which they start."""
    return render(
        "release/release.sh",
        releases=RELEASES,
        names=names,
        database=DATABASE_NAME,
        carry=CARRY,
        keep_log=KEEP_LOG,
        digest_label=DIGEST_LABEL,
        firewall=FIREWALL,
        firewall_unit=FIREWALL_UNIT,
        units=UNITS,
        prefix=PREFIX,
    )


def settings_digest(settings: Settings) -> str:
    """Digest of all settings."""
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:8]


def project_version() -> str:
    """What git calls this checkout; without git, that there is none."""
    done = subprocess.run(
        ["git", "describe", "--tags", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"
