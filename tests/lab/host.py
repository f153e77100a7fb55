"""A lab host as everybody else sees it: an address, a key, and a way to run commands."""

import json
import os
import re
import shlex
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.lab.errors import LabError

ROOT = Path(__file__).resolve().parents[2]
LABS = ROOT / ".lab"

PERSONS = ("demo", "vm")
"""The labs that `make demo` makes; no test takes them away."""

_NAME = re.compile(r"demo|vm|test-[a-z0-9](?:[a-z0-9-]{0,28}[a-z0-9])?")


def folder(name: str) -> Path:
    """Where everything about the lab *name* lies: keys, known_hosts, ssh_config, host.json."""
    if not _NAME.fullmatch(name):
        raise LabError(
            f"lab name {name!r}: use demo, vm, or test- and up to 30 of a-z, 0-9 and inner hyphens"
        )
    return LABS / name


@dataclass(frozen=True)
class Ssh:
    """How to reach the lab by SSH; *key* and *known_hosts* are absolute paths."""

    host: str
    port: int
    user: str
    key: str
    known_hosts: str


@dataclass(frozen=True)
class Host:
    """What `.lab/NAME/host.json` holds; `inventory.py` reads the same file."""

    name: str
    debian: int
    ssh: Ssh
    public_host: str
    public_port: int
    container: str
    """Its name with the driver: the container's, or the folder of the virtual machine."""
    extra_ca_certificates: tuple[str, ...]
    driver: str = "container"
    patience: int = 1
    """How many times longer things may take there: an emulated machine is slow."""

    @property
    def folder(self) -> Path:
        return folder(self.name)

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`, testinfra and whatever else speaks OpenSSH; the host is called `lab`."""
        return self.folder / "ssh_config"

    @property
    def public_url(self) -> str:
        return f"https://{self.public_host}:{self.public_port}"

    def run(
        self,
        *command: str,
        stdin: bytes | None = None,
        check: bool = True,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one command as root, arguments intact; LabError if it fails, unless check=False."""
        done = subprocess.run(
            ssh_command(self.ssh_config, command),
            input=b"" if stdin is None else stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            told = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise LabError(
                f"lab {self.name}: exit {done.returncode} from {shlex.join(command)}: {told}"
            )
        return done

    def sh(self, script: str, *, timeout: float | None = None) -> str:
        """Run a shell script as root and return what it printed, without the last newline."""
        return self.run("sh", "-c", script, timeout=timeout).stdout.decode().removesuffix("\n")

    def write(self) -> None:
        """Put down host.json, known_hosts' address and ssh_config, for everyone else to read."""
        host_key = (self.folder / "host_key.pub").read_text().split()
        put(
            Path(self.ssh.known_hosts),
            f"[{self.ssh.host}]:{self.ssh.port} {' '.join(host_key[:2])}\n",
        )
        put(self.ssh_config, ssh_config(self.ssh))
        put(self.folder / "host.json", json.dumps(asdict(self), indent=2) + "\n")

    @staticmethod
    def read(name: str) -> "Host":
        """The lab *name* as last made. Raises LabError if there is none."""
        path = folder(name) / "host.json"
        try:
            found = json.loads(path.read_text())
        except FileNotFoundError:
            raise LabError(f"no lab called {name}; make one with: {making(name)}") from None
        found["ssh"] = Ssh(**found["ssh"])
        found["extra_ca_certificates"] = tuple(found["extra_ca_certificates"])
        return Host(**found)


def making(name: str) -> str:
    """The command that makes the lab *name*, for error lines."""
    return f"make demo{lab_of(name)}" if name in PERSONS else f"python -m tests.lab up {name}"


def removing(name: str) -> str:
    """The command that removes the lab *name*, for error lines."""
    return (
        f"make demo-down{lab_of(name)}" if name in PERSONS else f"python -m tests.lab down {name}"
    )


def lab_of(name: str) -> str:
    """What a verb of make needs to know of the lab *name*."""
    return "" if name == "demo" else f" LAB={name}"


def ssh_config(ssh: Ssh) -> str:
    """An ssh_config that trusts only this lab's host key and offers only this lab's key."""
    return f"""\
Host lab
    HostName {ssh.host}
    Port {ssh.port}
    User {ssh.user}
    IdentityFile "{ssh.key}"
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile "{ssh.known_hosts}"
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    BatchMode yes
    LogLevel ERROR
"""


def ssh_command(config: Path, command: tuple[str, ...], *options: str) -> list[str]:
    """The ssh call for *command*: sshd hands one string to a shell, so each argument is quoted."""
    return ["ssh", "-F", str(config), *options, "lab", *([shlex.join(command)] if command else [])]


def copy_images(source: Host, target: Host, *images: str) -> None:
    """Hand Docker images from one lab to another: `docker save | docker load` through both SSHs."""
    save = ssh_command(source.ssh_config, ("docker", "save", *images))
    load = ssh_command(target.ssh_config, ("docker", "load", "--quiet"))
    with subprocess.Popen(
        save, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as saving:
        loading = subprocess.Popen(
            load, stdin=saving.stdout, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert saving.stdout
        assert saving.stderr
        saving.stdout.close()  # now a `docker load` that dies ends `docker save` too
        told_loading = loading.communicate()[1]
        told = saving.stderr.read() or told_loading
    if saving.returncode or loading.returncode:
        raise LabError(
            f"copying {' '.join(images)} from lab {source.name} to {target.name}: "
            f"{told.decode(errors='replace').strip()}"
        )


def put(path: Path, text: str) -> None:
    """Write *path* whole or not at all, readable by its owner only."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)
