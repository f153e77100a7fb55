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
from hubhost.settings import Settings
from hubhost.tls import WARN_BEFORE

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
    reboot_required: bool
    drain: Drain
    checked: Checked

    @classmethod
    def parse(cls, lines: Iterable[str]) -> HostStatus:
        """Of lines `key value…`, as the fact prints them; what a bare host lacks is 0."""
        values: dict[str, str] = {}
        services: dict[str, dict[str, Any]] = {}
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
            else:
                values[key] = rest

        def number(key: str) -> int:
            return int(values.get(key) or 0)

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
            reboot_required="reboot_required" in values,
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

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(
            settings.public_url.rstrip("/") + settings.base_url.rstrip("/"),
            settings.images_epoch,
            settings.max_sessions,
            settings.memory_headroom_mb,
        )


# --- What is wrong -------------------------------------------------------------------------------
LITTLE_DISK_MB, NO_DISK_MB = 5_000, 1_000
IMAGE_DAYS = 30
CLOCK_SECONDS = 60


def findings(
    status: HostStatus, limits: Limits, drift: tuple[str, ...] | None, now: float
) -> Iterator[Finding]:
    """`drift`: names of operations that a deployment would change something by; None: unknown."""
    yield from _of_services(status)
    yield from _of_room(status, limits)
    yield from _of_time(status, now)
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


# --- The screen ----------------------------------------------------------------------------------
def since(seconds: float) -> str:
    """A time span for a person."""
    for unit, length in (("d", DAY), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


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
        ("firewall", status.firewall or "missing"),
        ("isolation", checked(status)),
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


# --- All hosts -----------------------------------------------------------------------------------
def drift_of(plan: Mapping[str, Any], host: str) -> tuple[str, ...]:
    """Names of the operations that would change the host, in pyinfra's `--dry --json`."""
    return tuple(
        op["name"].removeprefix("deploy.py | ")
        for op in plan["plan"]
        if host in op["hosts_with_change"]
    )


def gather(folder: Path) -> tuple[dict[str, Any] | None, str, int]:
    """Run ops/status.py; the plan, if there is one, what was said, the exit code."""
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("pyinfra")), "--dry", "--json"),
            *("inventory.py", "ops/status.py"),
        ],
        env={**os.environ, REPORTS: str(folder), "PYINFRA_PROGRESS": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    return (json.loads(done.stdout) if done.stdout else None), done.stderr, done.returncode


def main(arguments: list[str]) -> int:
    """Print the status of all hosts, as JSON with --json; the exit code is the worst severity."""
    now = datetime.now(UTC).timestamp()
    with tempfile.TemporaryDirectory() as folder:
        plan, said, code = gather(Path(folder))
        reports = {path.stem: json.loads(path.read_text()) for path in Path(folder).iterdir()}
    if code or not reports:
        print(said, file=sys.stderr)
    worst = Severity.ERROR if code or not reports else Severity.OK
    told = {}
    for name, report in sorted(reports.items()):
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
