"""Status: how it stands with each host, on one screen, and how badly.

`python -m hubhost.status` has pyinfra run ops/status.py, which leaves what each host says of itself
as a file, and plans the deployment without carrying it out: what it would change is the drift.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

from hubhost.check import Checked
from hubhost.drain import Drain
from hubhost.paths import BACKUP_UNIT
from hubhost.release import History
from hubhost.settings import Settings
from hubhost.tls import WARN_BEFORE
from hubhost.verbs import pyinfra

REPORTS = "STATUS_REPORTS"
"""Environment variable: the folder where ops/status.py puts a file for each host."""

DAY = 86_400


class Severity(IntEnum):
    """Also the exit code."""

    OK, WARNING, ERROR = 0, 1, 2


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be, and the remedy."""

    severity: Severity
    subject: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.message}; {self.remedy}"


@dataclass(frozen=True)
class ServiceState:
    """A service's container as Docker tells of it; times are in seconds since 1970."""

    name: str
    state: str = "missing"
    health: str = ""
    restarts: int = 0
    started: int = 0
    image: str = ""
    version: str = ""

    @property
    def well(self) -> bool:
        return self.state == "running" and self.health in ("healthy", "starting")

    def line(self, clock: int) -> str:
        """For the screen; `clock` is the host's time."""
        if self.state != "running":
            return self.state
        return f"{self.health:<10} {self.version:<29} up {since(clock - self.started)}"


@dataclass(frozen=True)
class ImageUpdates:
    """Packages of an image that Debian has security updates of; None: nobody has looked yet.

    `looked` is when the daily look did, in seconds since 1970.
    """

    image: str
    looked: int = 0
    packages: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return f"{self.image} {'?' if self.packages is None else len(self.packages)}"


@dataclass(frozen=True)
class HostStatus:
    """What a host says of itself. Sizes in MiB, times in seconds since 1970."""

    clock: int
    services: tuple[ServiceState, ...]
    sessions: int
    memory_mb: int
    memory_free_mb: int
    disk_mb: int
    disk_free_mb: int
    certificate_end: int
    images_made: int
    firewall: str
    rules_loaded: bool
    reboot_required: bool
    versions: tuple[str, ...]
    updates: tuple[ImageUpdates, ...]
    release: str
    releases: tuple[dict[str, Any], ...]
    backups_since: int
    backup_made: int
    backup_bytes: int
    backup_failed: bool
    drain: Drain
    checked: Checked

    @classmethod
    def parse(cls, lines: Iterable[str]) -> HostStatus:
        """Of lines `key value…`, as the fact prints them; what a bare host lacks is 0."""
        values: dict[str, str] = {}
        services: dict[str, dict[str, Any]] = {}
        found_updates: dict[str, tuple[str, ...]] = {}
        notebook: list[str] = []
        versions: list[str] = []
        recorded: list[str] = []
        for line in lines:
            key, _, rest = line.partition(" ")
            if key == "service":
                name, state, health, restarts, started, image = rest.split(" ", 5)
                services.setdefault(name, {}).update(
                    state=state,
                    health=health,
                    restarts=int(restarts),
                    started=int(started),
                    image=image,
                )
            elif key == "version":
                name, _, version = rest.partition(" ")
                services.setdefault(name, {})["version"] = version
            elif key == "updates":
                reference, *packages = rest.split()
                found_updates[reference] = tuple(packages)
            elif key == "notebook_image":
                notebook.append(rest)
            elif key == "host_version":
                versions.append(rest)
            elif key == "release":
                recorded.append(rest)
            else:
                values[key] = rest
        history = History.parse(recorded)

        def number(key: str) -> int:
            return int(values.get(key) or 0)

        made, size, *_ = [*values.get("backup", "").split(" ", 2), "0", "0"]
        images = dict.fromkeys(
            [*(found.get("image", "-") for found in services.values()), *notebook]
        )
        return cls(
            clock=number("clock"),
            services=tuple(ServiceState(name, **found) for name, found in services.items()),
            sessions=number("sessions"),
            memory_mb=number("memory_mb"),
            memory_free_mb=number("memory_free_mb"),
            disk_mb=number("disk_mb"),
            disk_free_mb=number("disk_free_mb"),
            certificate_end=number("certificate_end"),
            images_made=number("images_made"),
            firewall=values.get("firewall", ""),
            rules_loaded="rules_loaded" in values,
            reboot_required="reboot_required" in values,
            versions=tuple(versions),
            updates=tuple(
                ImageUpdates(
                    image.removeprefix("integrable-jupyterhub-").partition(":")[0],
                    number("looked"),
                    found_updates.get(image),
                )
                for image in images
                if image != "-"
            ),
            backups_since=number("backups_since"),
            backup_made=int(made or 0),
            backup_bytes=int(size),
            backup_failed=values.get("backup_state") == "failed",
            release=history.current,
            releases=tuple(
                {"id": r.id, "made": r.made, "since": r.since, "version": r.version}
                | {"settings": r.settings, "images": dict(r.content.images)}
                for r in history.releases
            ),
            drain=Drain.parse(values.get("drain", "")),
            checked=Checked.parse(values.get("isolation", "")),
        )


@dataclass(frozen=True)
class Limits:
    """What the settings say, to compare with."""

    public_url: str
    images_epoch: int
    max_sessions: int
    memory_headroom_mb: int
    backup_hours: int

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(
            settings.public_url.rstrip("/") + settings.base_url.rstrip("/"),
            settings.images_epoch,
            settings.max_sessions,
            settings.memory_headroom_mb,
            settings.backup_every_hours if settings.backup_recipients else 0,
        )


# --- What is wrong -------------------------------------------------------------------------------
LITTLE_DISK_MB, NO_DISK_MB = 5_000, 1_000
IMAGE_DAYS = 30
CLOCK_SECONDS = 60
LOOK_DAYS = 3
"""The daily look has failed, or the host was off, when the last one is older."""


def findings(
    status: HostStatus, limits: Limits, drift: tuple[str, ...] | None, now: float
) -> Iterator[Finding]:
    """`drift`: names of operations that a deployment would change something by; None: unknown."""
    yield from _of_services(status)
    yield from _of_room(status, limits)
    yield from _of_time(status, now)
    yield from _of_updates(status)
    yield from _of_backups(status, limits)
    if status.reboot_required:
        message = "Debian wants a reboot, for a new kernel perhaps"
        yield Finding(Severity.WARNING, "host", message, "reboot when no session hurts: they end")
    if drift is None:
        remedy = "see what is told above, and deploy"
        yield Finding(Severity.ERROR, "drift", "can't be told", remedy)
    elif drift:
        yield Finding(
            Severity.WARNING, "drift", f"a deployment would: {', '.join(drift)}", "deploy"
        )


def _of_services(status: HostStatus) -> Iterator[Finding]:
    for service in status.services:
        if not service.well:
            message = f"is {service.health if service.state == 'running' else service.state}"
            yield Finding(Severity.ERROR, service.name, message, "deploy: it mends that")
        elif service.restarts:
            message = f"was restarted {service.restarts} times since it was made"
            remedy = f"look why: host# docker logs {service.name}"
            yield Finding(Severity.WARNING, service.name, message, remedy)
    if status.drain.drained:
        remedy = "when the maintenance is over: make undrain"
        yield Finding(Severity.WARNING, "drain", "new sessions get 503", remedy)
    for wrong in status.checked.wrong:
        remedy = "deploy, then look again: make check"
        yield Finding(Severity.ERROR, "isolation", wrong, remedy)
    if status.firewall != "active":
        message = f"its unit is {status.firewall or 'missing'}"
        yield Finding(Severity.ERROR, "firewall", message, "deploy: it loads the rules")
    elif not status.rules_loaded:
        message = "its rules are not those that are loaded"
        yield Finding(Severity.ERROR, "firewall", message, "deploy: it loads the rules")


def _of_room(status: HostStatus, limits: Limits) -> Iterator[Finding]:
    if status.sessions >= limits.max_sessions:
        message = f"{status.sessions} of {limits.max_sessions}, new ones get 429"
        remedy = "raise max_sessions, if memory allows"
        yield Finding(Severity.WARNING, "sessions", message, remedy)
    if status.memory_free_mb < limits.memory_headroom_mb:
        message = f"{status.memory_free_mb} MB free, new sessions get 429"
        remedy = "lower max_sessions, or add memory"
        yield Finding(Severity.WARNING, "memory", message, remedy)
    if status.disk_free_mb < LITTLE_DISK_MB:
        severity = Severity.ERROR if status.disk_free_mb < NO_DISK_MB else Severity.WARNING
        message = f"{status.disk_free_mb} MB free where Docker keeps its data"
        remedy = "make room: host# docker system df; docker builder prune"
        yield Finding(severity, "disk", message, remedy)


def _of_time(status: HostStatus, now: float) -> Iterator[Finding]:
    days = (status.certificate_end - status.clock) // DAY
    if days < WARN_BEFORE.days:
        severity = Severity.ERROR if days < 0 else Severity.WARNING
        message = f"ends in {days} days" if days >= 0 else "has ended"
        remedy = "put a new one into files/ssl/, and deploy; a self-signed one is made by a deploy"
        yield Finding(severity, "certificate", message, remedy)
    if abs(status.clock - now) > CLOCK_SECONDS:
        message = f"differs by {status.clock - now:+.0f} s from this machine's"
        remedy = "set it (host# timedatectl): tokens expire by it"
        yield Finding(Severity.WARNING, "clock", message, remedy)
    age = (status.clock - status.images_made) // DAY
    if age > IMAGE_DAYS:
        remedy = "let Debian's fixes in: make refresh-images, and deploy"
        yield Finding(Severity.WARNING, "images", f"are {age} days old", remedy)


def _of_updates(status: HostStatus) -> Iterator[Finding]:
    fixable = [updates for updates in status.updates if updates.packages]
    if fixable:
        named = "; ".join(f"{u.image}: {', '.join(u.packages or ())}" for u in fixable)
        remedy = "let them in: make refresh-images, and deploy"
        message = f"Debian has security updates that images lack ({named})"
        yield Finding(Severity.WARNING, "updates", message, remedy)
    looked = max((updates.looked for updates in status.updates), default=0)
    if looked and status.clock - looked > LOOK_DAYS * DAY:
        message = f"looked for {since(status.clock - looked)} ago"
        remedy = "look why: host# journalctl -u integrable-jupyterhub-daily"
        yield Finding(Severity.WARNING, "updates", message, remedy)


def _of_backups(status: HostStatus, limits: Limits) -> Iterator[Finding]:
    if not limits.backup_hours:  # nobody asked for any
        return
    if status.backup_failed:
        remedy = f"look why (host# journalctl -u {BACKUP_UNIT}), then: make backup"
        yield Finding(Severity.WARNING, "backup", "the last one failed", remedy)
        return
    # Where there is none yet: so long have there been keys to make one with.
    age = status.clock - (status.backup_made or status.backups_since)
    if age > 2 * limits.backup_hours * 3600:
        message = f"none for {since(age)}, instead of every {limits.backup_hours} h"
        remedy = f"look why (host# systemctl list-timers {BACKUP_UNIT}.timer), then: make backup"
        yield Finding(Severity.WARNING, "backup", message, remedy)


# --- The screen ----------------------------------------------------------------------------------
def since(seconds: float) -> str:
    """A time span for a person."""
    for unit, length in (("d", DAY), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def backups(status: HostStatus, limits: Limits) -> str:
    """The last one, for the screen."""
    if not limits.backup_hours:
        return "off"
    if not status.backup_made:
        return "none yet"
    size = max(1, round(status.backup_bytes / 1e6))
    return f"{since(status.clock - status.backup_made)} old, {size} MB"


def drained(status: HostStatus) -> str:
    """What becomes of the sessions."""
    if not status.drain.drained:
        return ""
    if status.drain.deadline is None:
        return ", drained: no new ones"
    left = status.drain.deadline - status.clock
    end = f"those end in {since(left)}" if left > 0 else "ended"
    return f", drained: no new ones, {end}"


def checked(status: HostStatus) -> str:
    """Of the last look at the isolation."""
    last = status.checked
    if not last.at:
        return "never checked"
    verdict = f"{len(last.wrong)} of {last.tried} doors wrong" if last.wrong else "as it should be"
    return f"{verdict}, checked {since(status.clock - last.at)} ago"


def screen(
    name: str, status: HostStatus, limits: Limits, drift: tuple[str, ...] | None, now: float
) -> str:
    """All of one host."""
    found = list(findings(status, limits, drift, now))
    moment = datetime.fromtimestamp(status.clock, UTC).strftime("%Y-%m-%d %H:%M UTC")
    left = status.certificate_end - status.clock
    rows = [
        *((s.name.removeprefix("jupyterhub_"), s.line(status.clock)) for s in status.services),
        ("sessions", f"{status.sessions} of {limits.max_sessions}{drained(status)}"),
        ("memory", f"{status.memory_free_mb} of {status.memory_mb} MB free"),
        ("disk", f"{status.disk_free_mb // 1000} of {status.disk_mb // 1000} GB free"),
        ("certificate", f"ends in {since(left)}" if left > 0 else "has ended"),
        (
            "images",
            f"epoch {limits.images_epoch}, {since(status.clock - status.images_made)} old",
        ),
        ("updates", _updates(status)),
        (
            "firewall",
            f"{status.firewall or 'missing'}, rules {'' if status.rules_loaded else 'not '}loaded",
        ),
        ("isolation", checked(status)),
        ("versions", ", ".join(status.versions)),
        ("backup", backups(status, limits)),
        ("release", _release(status)),
        ("drift", "unknown" if drift is None else ", ".join(drift) or "none"),
    ]
    verdict = [f"  {f.severity.name:<8} {f}" for f in sorted(found, key=lambda f: -f.severity)]
    return "\n".join(
        [
            f"{name}  {limits.public_url}  {moment}",
            *(f"  {key:<12} {value}".rstrip() for key, value in rows),
            "",
            *(verdict or ["  all is well"]),
        ]
    )


def _updates(status: HostStatus) -> str:
    looked = max((updates.looked for updates in status.updates), default=0)
    if not looked:
        return "unknown: nobody has looked yet"
    told = ", ".join(map(str, status.updates))
    later = "; ?: a later image" if "?" in told else ""
    return f"{told} (looked {since(status.clock - looked)} ago{later})"


def _release(status: HostStatus) -> str:
    running = next((r for r in status.releases if r["id"] == status.release), None)
    if running is None:
        return "none recorded"
    others = len(status.releases) - 1
    return (
        f"{running['id']} of {running['version']}, for {since(status.clock - running['since'])};"
        f" {others} more to go back to"
    )


# --- All hosts -----------------------------------------------------------------------------------
def drift_of(plan: Mapping[str, Any], host: str) -> tuple[str, ...]:
    """Names of the operations that would change the host, in pyinfra's `--dry --json`."""
    return tuple(
        op["name"].removeprefix("deploy.py | ")
        for op in plan["plan"]
        if host in op["hosts_with_change"]
    )


def gather(folder: Path, script: str = "ops/status.py") -> tuple[dict[str, Any] | None, str, int]:
    """Run a script that plans the deployment; the plan, if any, what was said, the exit code."""
    done = subprocess.run(
        pyinfra(script, "--dry", "--json"),
        env={**os.environ, REPORTS: str(folder), "PYINFRA_PROGRESS": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    return (json.loads(done.stdout) if done.stdout else None), done.stderr, done.returncode


def read(path: Path) -> tuple[float, dict[str, Any]]:
    """A host's report, and when it was written: the plan that comes after it takes a while."""
    return path.stat().st_mtime, json.loads(path.read_text())


def main(arguments: list[str]) -> int:
    """Print the status of all hosts, as JSON with --json; the exit code is the worst severity."""
    with tempfile.TemporaryDirectory() as folder:
        plan, said, code = gather(Path(folder))
        reports = {path.stem: read(path) for path in Path(folder).iterdir()}
    if code or not reports:
        print(said, file=sys.stderr)
    worst = Severity.ERROR if code or not reports else Severity.OK
    told = {}
    for name, (now, report) in sorted(reports.items()):
        limits, status = Limits(**report["limits"]), HostStatus.parse(report["lines"])
        drift = drift_of(plan, name) if plan else None
        found = list(findings(status, limits, drift, now))
        worst = max([worst, *(finding.severity for finding in found)])
        told[name] = {
            "status": asdict(status),
            "drift": drift,
            "findings": [
                asdict(finding) | {"severity": finding.severity.name} for finding in found
            ],
        }
        if "--json" not in arguments:
            print(screen(name, status, limits, drift, now), end="\n\n")
    if "--json" in arguments:
        print(json.dumps(told, indent=2))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
