"""The labs of this clone: made, found again, restarted, removed. Driver-independent."""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import container, engine, example, image, vm
from tests.lab.errors import LabError
from tests.lab.host import (
    LABS,
    PERSONS,
    ROOT,
    Host,
    Ssh,
    folder,
    making,
    removing,
    ssh_command,
)
from tests.lab.machine import Machine

DRIVERS = {"container": container, "vm": vm}

DEFAULT_DEBIAN = 13

EXTRA_CA_FOLDER = Path("/usr/local/share/ca-certificates")


@contextmanager
def lab(
    name: str | None = None, *, debian: int | None = None, driver: str | None = None
) -> Iterator[Host]:
    """Keep a lab for the length of a `with` block.

    Without *name* (test-…) one is made up; *debian*: 12 or 13; *driver*: container or vm. The lab
    dies with this process: if that is killed, the next `up` removes what it left.
    """
    name = name or f"test-{secrets.token_hex(4)}"
    try:
        yield up(name, debian=debian, driver=driver, owner=os.getpid())
    finally:
        down(name)


def up(
    name: str,
    *,
    debian: int | None = None,
    driver: str | None = None,
    owner: int | None = None,
) -> Host:
    """Make the lab *name*, or take the one there is: started if stopped, replaced if half made.

    *debian*: 12 or 13; else LAB_DEBIAN, else that of the lab that is there, else 13.
    *driver*: container or vm; else that of the lab that is there, else vm for vm, else container.
    *owner*: the process without which the lab is stale.
    Raises LabError.
    """
    where = folder(name)
    wish = debian or image.wanted_debian()
    with _lock():
        engine.need("ssh", "openssh-client")
        kind = driver or _driver(where)
        DRIVERS[kind].prepare()
        _remove_stale()
        found = _find(name)
        if found and (not _whole(where) or found.identity != _identity(where)):
            engine.say(f"replacing {name}, which was left half made")
            found = None
        if found and found.driver != kind:
            raise LabError(
                f"lab {name} is a {found.driver}, wanted a {kind}; "
                f"remove it first: {removing(name)}"
            )
        if found and wish and found.debian != wish:
            raise LabError(
                f"lab {name} is Debian {found.debian}, wanted {wish}; "
                f"remove it first: {removing(name)}"
            )
        if found:
            machine = found
            _own(where, owner)
        else:
            machine = _create(name, kind, wish or DEFAULT_DEBIAN, owner)
        return _ready(machine, DRIVERS[kind].start(machine.id))


def restart(name: str) -> Host:
    """Reboot the lab. Its local ports may change: use the Host that comes back."""
    with _lock():
        machine = _find(name)
        if not machine:
            raise LabError(f"no lab called {name}; make one with: {making(name)}")
        return _ready(machine, DRIVERS[machine.driver].restart(machine.id))


def down(name: str) -> None:
    """Remove the lab: machine, disks, folder. At last a Docker of ours that nobody needs."""
    where = folder(name)
    example.stop(where)
    with _lock():
        if where.exists() and _driver(where) == "container" and engine.installed():
            engine.ensure()
        for driver in DRIVERS.values():
            driver.remove(driver.identify(name))
            driver.release()
        shutil.rmtree(where, ignore_errors=True)


def down_tests() -> None:
    """Remove every test lab of this clone, with or without a folder."""
    names = {path.name for path in LABS.glob("test-*")}
    names |= {m.name for m in machines() if m.root == str(ROOT) and m.name not in PERSONS}
    for name in sorted(names):
        engine.say(f"removing {name}")
        down(name)
    with _lock():
        for driver in DRIVERS.values():
            driver.release()


def machines() -> list[Machine]:
    """All labs on this machine."""
    return [machine for driver in DRIVERS.values() for machine in driver.machines()]


def _find(name: str) -> Machine | None:
    ids = {driver.identify(name) for driver in DRIVERS.values()}
    return next((machine for machine in machines() if machine.id in ids), None)


def _driver(where: Path) -> str:
    """That of the lab of this folder; of a lab that is not there, the one its name stands for."""
    return "vm" if (where / "vm").exists() or where.name == "vm" else "container"


def _create(name: str, kind: str, debian: int, owner: int | None) -> Machine:
    where, driver = folder(name), DRIVERS[kind]
    driver.remove(driver.identify(name))
    shutil.rmtree(where, ignore_errors=True)
    LABS.mkdir(exist_ok=True)
    where.mkdir(mode=0o700)
    _own(where, owner)
    for key in ("key", "host_key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {name}", "-f", where / key],
            stdin=subprocess.DEVNULL,
            check=True,
        )
    machine = Machine(
        kind, driver.identify(name), name, str(ROOT), debian, _identity(where), running=False
    )
    engine.say(f"making {name}: a Debian {debian} with systemd and SSH")
    driver.create(
        machine,
        {
            "/root/.ssh/authorized_keys": (where / "key.pub").read_bytes(),
            "/etc/ssh/ssh_host_ed25519_key": (where / "host_key").read_bytes(),
            "/etc/ssh/ssh_host_ed25519_key.pub": (where / "host_key.pub").read_bytes(),
        },
    )
    # Last, so that its absence tells that the making was cut short.
    (where / "made").touch()
    return machine


def _whole(where: Path) -> bool:
    return (where / "made").exists()


def _identity(where: Path) -> str:
    """Ties a machine to the keys in its folder: a fingerprint of the host key."""
    try:
        return hashlib.sha256((where / "host_key.pub").read_bytes()).hexdigest()[:16]
    except FileNotFoundError:
        return ""


def _ready(machine: Machine, ports: tuple[int, int]) -> Host:
    """Write down how to reach the machine, and wait until it answers."""
    where, driver = folder(machine.name), DRIVERS[machine.driver]
    host = Host(
        name=machine.name,
        debian=machine.debian,
        ssh=Ssh("127.0.0.1", ports[0], "root", str(where / "key"), str(where / "known_hosts")),
        public_host="127.0.0.1",
        public_port=ports[1],
        driver=machine.driver,
        container=machine.id,
        patience=driver.patience(machine.id),
        extra_ca_certificates=tuple(map(str, sorted(EXTRA_CA_FOLDER.glob("*.crt")))),
    )
    host.write()
    answer = ""

    def answers() -> bool:
        nonlocal answer
        call = ssh_command(host.ssh_config, ("true",), "-o", "ConnectTimeout=5")
        done = subprocess.run(call, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        answer = done.stderr.decode(errors="replace").strip()
        return done.returncode == 0

    if not engine.until(answers, driver.SSH_START_S):
        raise LabError(f"lab {machine.name} does not answer SSH: {answer}")
    engine.say(f"{machine.name} is up: Debian {machine.debian}, SSH on 127.0.0.1:{ports[0]}")
    return host


def _remove_stale() -> None:
    """Remove test labs whose owner or whose folder is gone, of this clone and of others."""
    for machine in machines():
        if machine.name not in PERSONS and _stale(Path(machine.root) / ".lab" / machine.name):
            engine.say(f"removing {machine.name}, left over from a run that ended")
            DRIVERS[machine.driver].remove(machine.id)
    for where in LABS.glob("test-*"):
        if _stale(where):
            shutil.rmtree(where, ignore_errors=True)


def _stale(where: Path) -> bool:
    """Was the lab of this folder made by a process that is no more? No folder: nobody's lab."""
    try:
        owner = json.loads((where / "owner.json").read_text())
    except PermissionError:
        return False  # another person's
    except (FileNotFoundError, ValueError):
        return True
    return owner is not None and owner != _process(owner["pid"])


def _own(where: Path, owner: int | None) -> None:
    (where / "owner.json").write_text(json.dumps(owner and _process(owner)))


def _process(pid: int) -> dict[str, int | str] | None:
    """A process, told apart from a later one of the same number by boot and start time."""
    try:
        # The name, in brackets, may hold anything; field 22, the start time, is the 20th after it.
        start = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None
    return {
        "pid": pid,
        "start": start,
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
    }


@contextmanager
def _lock() -> Iterator[None]:
    """One run at a time makes or removes things; several make parallel test runs safe."""
    LABS.mkdir(exist_ok=True)
    with (LABS / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
