"""`make doctor`: the causes of what is wrong with a host, and a file that can be sent to somebody.

`python -m hubhost.doctor` has pyinfra run ops/doctor.py, as `make status` does. The script in
files/doctor runs on the host in any state, and blots secrets out before anything leaves it.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from hubhost.engine import daemon_configuration
from hubhost.images import mirrors
from hubhost.isolation import JUMPS, JUMPS6, PROXY_PORT
from hubhost.paths import DAILY_STATE, ETC, LOGS_SCRIPT, SECRETS, STATE, TLS
from hubhost.service import DATABASE_NAME, HUB_NAME, PROXY_NAME, ROLE_LABEL
from hubhost.settings import Settings
from hubhost.status import (
    Finding,
    HostStatus,
    Limits,
    Severity,
    drift_of,
    findings,
    gather,
    read,
    screen,
)
from hubhost.templates import FILES, render
from hubhost.tls import covers

ENGINE = "docker"


def script(settings: Settings, mode: str) -> str:
    """Shell for the host: "evidence" prints lines for Evidence.parse, "collect" a tar.gz."""
    jumps = [
        *(("iptables", chain) for chain in dict.fromkeys(chain for chain, _ in JUMPS)),
        *(("ip6tables", chain) for chain in dict.fromkeys(chain for chain, _ in JUMPS6)),
    ]
    body = render(
        "doctor/doctor",
        address=f"{settings.proxy_ip}:{PROXY_PORT}",
        daily=DAILY_STATE,
        etc=ETC,
        jumps=jumps,
        logs_script=LOGS_SCRIPT,
        mirrors=mirrors(settings),
        network=shlex.quote(settings.network_name),
        port=settings.public_port,
        role_label=ROLE_LABEL,
        state=STATE,
        tls=TLS,
    )
    redact = shlex.quote((FILES / "doctor" / "redact").read_text())
    return f"mode={mode}\nredact() {{ perl -e {redact} {SECRETS}/* {TLS}/tls.key; }}\n{body}"


@dataclass(frozen=True)
class Evidence:
    """What a host tells of itself beyond its status: values by key, in order."""

    values: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Evidence:
        values: dict[str, list[str]] = {}
        for line in lines:
            key, _, value = line.partition(" ")
            values.setdefault(key, []).append(value)
        return cls({key: tuple(found) for key, found in values.items()})

    def all(self, key: str) -> tuple[str, ...]:
        return self.values.get(key, ())

    def of(self, key: str, name: str) -> tuple[str, ...]:
        """The values of a key that begin with a name, without it."""
        return tuple(v.partition(" ")[2] for v in self.all(key) if v.partition(" ")[0] == name)


@dataclass(frozen=True)
class Diagnosis:
    """A finding, and what is known of its cause, a line each."""

    finding: Finding
    causes: tuple[str, ...] = ()

    def __str__(self) -> str:
        f = self.finding
        lines = [f"  {f.severity.name:<8} {f.subject}: {f.message}"]
        lines += [f"           {'why' if n == 0 else '':<7} {c}" for n, c in enumerate(self.causes)]
        return "\n".join([*lines, f"           {'remedy':<7} {f.remedy}"])


def diagnose(
    status: HostStatus,
    limits: Limits,
    drift: tuple[str, ...] | None,
    evidence: Evidence,
    settings: Settings,
    now: float,
) -> list[Diagnosis]:
    """All that is wrong, the worst first; what `make status` finds, with causes, and more."""
    explained = [
        _explained(finding, evidence, settings) for finding in findings(status, limits, drift, now)
    ]
    firewall = any(diagnosis.finding.subject == "firewall" for diagnosis in explained)
    found = [
        *_of_engine(evidence, settings),
        *explained,
        *map(Diagnosis, _of_host(evidence, settings, firewall)),
    ]
    return sorted(found, key=lambda diagnosis: -diagnosis.finding.severity)


# --- Causes of what the status finds -------------------------------------------------------------
_MEMORY = {
    HUB_NAME: "hub_memory_mb",
    DATABASE_NAME: "database_memory_mb",
    PROXY_NAME: "proxy_memory_mb",
}


def _explained(finding: Finding, evidence: Evidence, settings: Settings) -> Diagnosis:
    if finding.subject.startswith("jupyterhub_"):
        return _of_service(finding, evidence, settings)
    causes: tuple[str, ...] = ()
    if finding.subject == "disk":
        causes = (
            *(f"Docker's {text}" for text in map(_docker_df, evidence.all("docker_df"))),
            *(
                f"{size} MB: {path}"
                for size, _, path in (use.partition(" ") for use in evidence.all("disk_use")[:5])
            ),
        )
    elif finding.subject == "memory":
        causes = evidence.all("oom")
    elif finding.subject == "firewall":
        causes = tuple(_foreign_rules(evidence))
    elif finding.subject == "clock" and evidence.all("clock_synchronized") == ("no",):
        causes = (_not_synchronized(evidence),)
    return Diagnosis(finding, causes)


def _docker_df(line: str) -> str:
    """Of "Build Cache 1GB 500MB (50%)"."""
    match = re.fullmatch(r"(.*?) (\d\S*) (.*)", line)
    return f"{match[1].lower()}: {match[2]}, of which {match[3]} can go" if match else line


def _of_service(finding: Finding, evidence: Evidence, settings: Settings) -> Diagnosis:
    name = finding.subject
    if not evidence.all("docker"):
        return Diagnosis(finding, ("Docker does not answer: what it runs can't be told",))
    finding, causes = _of_end(finding, evidence, settings)
    holders = [holder for holder in evidence.all("port_holder") if holder != "docker-proxy"]
    if name == PROXY_NAME and holders:
        causes.append(f"port {settings.public_port} is taken by {holders[0]}")
        remedy = f"stop {holders[0]}, or set another public_port; and deploy"
        finding = replace(finding, remedy=remedy)
    causes += [f"it said: {line}" for line in evidence.of("said", name)]
    return Diagnosis(finding, tuple(causes))


def _of_end(finding: Finding, evidence: Evidence, settings: Settings) -> tuple[Finding, list[str]]:
    """How a service's process ended, as Docker tells; perhaps with a better remedy."""
    name = finding.subject
    causes: list[str] = []
    for told in evidence.of("container", name):
        killed, code, error = [*told.split(" ", 2), ""][:3]
        if killed == "true":
            setting = _MEMORY.get(name)
            causes.append("the kernel killed it: it wanted more memory than it may have")
            if setting:
                raised = f"raise {setting} above {getattr(settings, setting)}, and deploy"
                finding = replace(finding, remedy=raised)
        elif error.strip():
            causes.append(error.strip())
        elif code in ("0", "137", "143") and "exited" in finding.message:
            causes.append(f"somebody or something stopped it (exit code {code})")
        elif "exited" in finding.message:
            causes.append(f"it ended by itself with exit code {code}")
    return finding, causes


def _foreign_rules(evidence: Evidence) -> Iterator[str]:
    """Rules of others that stand before ours."""
    for program, jumps in (("iptables", JUMPS), ("ip6tables", JUMPS6)):
        for chain, target in jumps:
            ours = f"-A {chain} -j {target}"
            rules = [
                r.partition(" ")[2]
                for r in evidence.of("rule", program)
                if r.partition(" ")[0] == chain
            ]
            if ours not in rules:
                yield f"{program}: {chain} does not lead to {target}"
            else:
                for rule in rules[: rules.index(ours)]:
                    yield f"{program}: a rule of somebody else's stands before ours: {rule}"


# --- What only the doctor looks for --------------------------------------------------------------
def _of_engine(evidence: Evidence, settings: Settings) -> Iterator[Diagnosis]:
    if not evidence.all("docker"):
        remedy = "start it: host# systemctl start docker; if it does not, the lines say why"
        finding = Finding(Severity.ERROR, ENGINE, "does not answer", remedy)
        yield Diagnosis(finding, evidence.all("docker_said"))
    text = " ".join(evidence.all("daemon_json"))
    try:
        present = json.loads(text or "{}")
        wanted = json.loads(daemon_configuration(text, settings.network_subnet))
    except ValueError as error:
        remedy = "mend /etc/docker/daemon.json, and deploy: Docker does not start with it"
        yield Diagnosis(Finding(Severity.ERROR, "daemon.json", f"can't be read ({error})", remedy))
        return
    changed = [key for key in wanted if present.get(key) != wanted[key]]
    if changed:
        message = f"{', '.join(changed)} not as needed: somebody changed it"
        yield Diagnosis(
            Finding(Severity.WARNING, "daemon.json", message, "deploy: it merges what is missing")
        )


def _of_host(evidence: Evidence, settings: Settings, firewall: bool) -> Iterator[Finding]:
    """`firewall`: what is wrong with it is told already."""
    yield from _of_certificate(evidence, settings)
    for rule in _foreign_rules(evidence) if evidence.all("rule") and not firewall else ():
        yield Finding(Severity.ERROR, "firewall", rule, "deploy: it puts ours first")
    if evidence.all("clock_synchronized") == ("no",):
        remedy = "install one: host# apt install systemd-timesyncd"
        yield Finding(Severity.WARNING, "clock", _not_synchronized(evidence), remedy)
    yield from _of_containers(evidence, settings)
    for key, severity, subject, message, remedy in _TOLD:
        for value in evidence.all(key):
            first, _, rest = value.partition(" ")
            yield Finding(
                severity,
                subject.format(first),
                message.format(rest or first),
                remedy.format(rest or first),
            )


_TOLD = (
    (
        *("unresolved", Severity.WARNING, "{}", "{} does not resolve on the host"),
        "mend the host's DNS (/etc/resolv.conf), or name another mirror",
    ),
    (
        *("unreachable", Severity.WARNING, "{}", "{} is not reached from the host"),
        "open the way, or name a mirror that is reached: images can't be built anew",
    ),
    (
        *("inodes", Severity.ERROR, "disk", "{} of the inodes are used: no more files"),
        "delete small files: host# docker system prune",
    ),
    (
        *("half_installed", Severity.ERROR, "packages", "{} is half installed"),
        "host# dpkg --configure -a",
    ),
    (
        *("held_package", Severity.WARNING, "packages", "{} is held: Debian's fixes pass it by"),
        "host# apt-mark unhold {}",
    ),
    (
        *("failed_unit", Severity.WARNING, "units", "{} has failed"),
        "look why: host# journalctl -u {}",
    ),
    (
        *(
            "frames_unseen",
            Severity.ERROR,
            "firewall",
            "iptables does not see frames of the bridge",
        ),
        "deploy: it sets bridge-nf-call-iptables",
    ),
)
"""(key, severity, subject, message, remedy) where the line itself says all: "setting value"."""


def _of_containers(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    """Those of others that are in the way of ours."""
    for name in evidence.all("foreign_name"):
        message = f"{name} has a name of ours, but was not made by a deploy"
        remedy = f"remove it (host# docker rm --force {name}), and deploy"
        yield Finding(Severity.ERROR, "containers", message, remedy)
    backends = {str(address) for address in settings.backends}
    for told in evidence.all("attached"):
        name, _, address = told.partition(" ")
        if address not in backends:
            message = f"{name} ({address}) is on the hub's network, and no backend"
            remedy = "name its address in backends, or take it off the network"
            yield Finding(Severity.WARNING, "containers", message, remedy)


def _of_certificate(evidence: Evidence, settings: Settings) -> Iterator[Finding]:
    names = tuple(n for line in evidence.all("certificate_names") for n in line.split(", "))
    if names and not covers(names, settings.public_host):
        message = f"is for {', '.join(names)}, not for {settings.public_host} of public_url"
        remedy = "get one for that name, and deploy; a self-signed one is made by a deploy"
        yield Finding(Severity.ERROR, "certificate", message, remedy)
    if evidence.all("certificate_key"):
        message = f"and key in {TLS} don't fit each other"
        yield Finding(Severity.ERROR, "certificate", message, "put both there anew, and deploy")
    if evidence.all("certificate_served"):
        message = "the proxy serves another than the host has"
        yield Finding(Severity.WARNING, "certificate", message, "deploy: the proxy takes it up")


def _not_synchronized(evidence: Evidence) -> str:
    services = ", ".join(evidence.all("time_service"))
    if services:
        return f"is not synchronized: {services} runs, but reaches no server"
    return "is not synchronized: no time service runs"


# --- The file, and the screen --------------------------------------------------------------------
CREDENTIALS_IN_URL = re.compile(r"(://)[^/@\s\"']+@")


def bundle(collected: bytes, texts: dict[str, str]) -> bytes:
    """What the host collected, and `texts` by name, as one tar.gz."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(collected)) as source,
        tarfile.open(fileobj=out, mode="w:gz") as target,
    ):
        for member in source:
            target.addfile(member, source.extractfile(member) if member.isreg() else None)
        for name, text in texts.items():
            content = CREDENTIALS_IN_URL.sub(r"\1[secret]@", text).encode()
            info = tarfile.TarInfo(f"doctor/{name}")
            info.size, info.mtime, info.mode = (
                len(content),
                int(datetime.now(UTC).timestamp()),
                0o600,
            )
            target.addfile(info, io.BytesIO(content))
    return out.getvalue()


def write(name: str, content: bytes, now: float) -> Path:
    """Put the file into the current folder, for nobody else to read."""
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    path = Path(f"doctor-{re.sub(r'[^A-Za-z0-9._-]', '_', name)}-{moment}.tar.gz")
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return path


def main() -> int:
    """Print what is wrong with each host and why, and leave a file; exit code as `make status`."""
    worst = Severity.OK
    with tempfile.TemporaryDirectory() as folder:
        plan, said, code = gather(Path(folder), "ops/doctor.py")
        reports = sorted(Path(folder).glob("*.json"))
        for path in reports:
            now, report = read(path)
            name, settings = path.stem, Settings(**report["settings"])
            status, limits = HostStatus.parse(report["lines"]), Limits.of(settings)
            drift = drift_of(plan, name) if plan else None
            found = diagnose(
                status, limits, drift, Evidence.parse(report["evidence"]), settings, now
            )
            worst = max([worst, *(d.finding.severity for d in found)])
            told = "\n".join(map(str, found)) or "  all is well"
            print(f"{name}  {limits.public_url}\n\n{told}\n")
            texts = {
                "findings": f"{told}\n",
                "status": screen(name, status, limits, drift, now) + "\n",
                "evidence": "\n".join(report["evidence"]) + "\n",
                "settings.json": json.dumps(report["settings"], indent=2) + "\n",
                "deploy": said,
            }
            if (collected := path.with_suffix(".tar.gz")).exists():
                file = write(name, bundle(collected.read_bytes(), texts), now)
                print(
                    f"  Logs and configuration, secrets blotted out: {file}\n"
                    "  Users and addresses are named there: look into it before you send it.\n"
                )
    if code or not reports:
        print(said, file=sys.stderr)
        return Severity.ERROR
    return worst


if __name__ == "__main__":
    sys.exit(main())
