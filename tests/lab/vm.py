"""The second driver: a lab as a virtual machine, with a kernel of its own that really boots.

QEMU and a disk made of Debian's packages; no loop device, no mount, and root only to make the disk.
By KVM where that boots this very kernel, else emulated, about nine times slower. The network is
QEMU's own (slirp): out by this machine's ways, in by two ports on 127.0.0.1.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path

from tests.lab import engine, image
from tests.lab.errors import LabError
from tests.lab.host import LABS, folder, ssh_command
from tests.lab.machine import Machine

QEMU = "qemu-system-x86_64"
BASES = LABS / "vm-images"
DISK_SIZE = "24G"  # sparse
MEMORY_MB = 4096
CPUS = min(4, os.cpu_count() or 1)
EMULATED = 10
"""How many times longer things may take in an emulated machine."""

SSH_START_S = 600  # emulated, on a busy machine
KVM_START_S = 15
QEMU_START_S = 60
STOP_S = 20

PACKAGES = (*image.PACKAGES, "linux-image-cloud-amd64", "initramfs-tools", "udev", "ifupdown")

# As Debian's installer would: a fixed address, which with QEMU's network is always the same. What
# tests call the internet has no way out of here, from the first second of boot on; the outside
# world that they put up (tests/lab/outside) has better routes than these.
INTERFACES = """\
auto lo
iface lo inet loopback
auto eth0
iface eth0 inet static
    address 10.0.2.15/24
    gateway 10.0.2.2
    up ip route add unreachable 198.51.100.0/24 metric 10000
    up ip route add unreachable 169.254.0.0/16 metric 10000
"""
HOOKS = (
    f"printf %s '{INTERFACES}' >\"$1/etc/network/interfaces\"",
    'echo "nameserver 10.0.2.3" >"$1/etc/resolv.conf"',
    # As linux-sysctl-defaults does, which Debian's kernels recommend: anybody may ping.
    'mkdir -p "$1/etc/sysctl.d"',
    'echo "net.ipv4.ping_group_range = 0 2147483647" >"$1/etc/sysctl.d/50-ping.conf"',
    'rm -f "$1"/etc/ssh/ssh_host_*',
    ': >"$1/etc/machine-id"',
    'mkdir -m 700 -p "$1/root/.ssh"',
)
# Made as root in a folder of its own, which must be neither noexec nor nodev; $@ is the recipe.
MAKE = f"""
root=$(mktemp -d /var/tmp/lab-vm.XXXXXX)
trap 'rm -rf "$root"' EXIT
"$@" "$root"
chmod 755 "$root"
cp "$root"/boot/vmlinuz-* kernel
cp "$root"/boot/initrd.img-* initrd
truncate -s {DISK_SIZE} disk
mkfs.ext4 -q -F -d "$root" disk
chown --reference=. kernel initrd disk
"""

# The kernel tells its console; a machine without names of interfaces by slot has an eth0.
CONSOLE = "console=ttyS0 panic=-1"
SYSTEM = "root=/dev/vda rw net.ifnames=0"


def prepare() -> None:
    """What has to be there on this machine: QEMU."""
    engine.need(QEMU, "qemu-system-x86")
    engine.need("debugfs", "e2fsprogs")


def identify(name: str) -> str:
    """The folder of this clone's machine of that name."""
    return str(folder(name) / "vm")


def machines() -> list[Machine]:
    """The virtual machines of this clone, and those of others that run."""
    running = _running()
    return [_machine(where, where in running) for where in {*LABS.glob("*/vm"), *running}]


def _machine(where: Path, running: bool) -> Machine:
    try:
        known = json.loads((where / "machine.json").read_text())
    except (OSError, ValueError):  # half made, or its folder is gone
        known = {"debian": 0, "identity": ""}
    return Machine(
        "vm", str(where), where.parent.name, str(where.parents[2]), known["debian"],
        known["identity"], running,
    )  # fmt: skip


def create(machine: Machine, files: dict[str, bytes]) -> None:
    """Make the machine (not started) with *files* on its disk: path → content, root's, 0600."""
    base = base_image(machine.debian)
    where = Path(machine.id)
    where.mkdir(mode=0o700)
    for name in ("kernel", "initrd", "disk"):
        subprocess.run(
            ["cp", "--sparse=always", "--reflink=auto", base / name, where / name], check=True
        )
    _write(where / "disk", files)
    (where / "machine.json").write_text(json.dumps(asdict(machine)))


def start(where: str) -> tuple[int, int]:
    """Start it if need be, and return its local ports for 22 and 8000."""
    if Path(where) not in _running():
        accelerate = kvm(where)
        how = "by KVM" if accelerate else "emulated, for KVM boots nothing here: slow"
        engine.say(f"booting {Path(where).parent.name}, {how}")
        pid, log = Path(where) / "pid", Path(where) / "qemu.log"
        pid.unlink(missing_ok=True)
        with log.open("a") as said:  # it also says there who ended it
            # A session of its own, so that neither Ctrl-C nor the end of make reaches it.
            process = subprocess.Popen(
                command(Path(where), kvm=accelerate, ports=(_free_port(), _free_port())),
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip
        engine.until(lambda: pid.exists() or process.poll() is not None, QEMU_START_S)
        if not pid.exists():
            told = log.read_text().strip().splitlines() or ["no message"]
            raise LabError(f"QEMU does not start: {told[-1]}; its log: {log}")
    forwards = re.findall(r"hostfwd=tcp:127\.0\.0\.1:(\d+)-", " ".join(_arguments(where)))
    return int(forwards[0]), int(forwards[1])


def restart(where: str) -> tuple[int, int]:
    """Reboot it as its administrator would; the kernel that answers is another."""
    config = Path(where).parent / "ssh_config"
    before = _boot(config)
    if not before:
        raise LabError(f"{where} does not answer SSH; its console: {where}/console.log")
    _ssh(config, "systemctl", "reboot")
    if not engine.until(lambda: _boot(config) not in ("", before), SSH_START_S):
        raise LabError(f"{where} does not come back; its console: {where}/console.log")
    return start(where)


def remove(where: str) -> None:
    """Switch it off and remove its folder, whatever of them there is."""
    if pid := _running().get(Path(where)):
        for sent in (signal.SIGTERM, signal.SIGKILL):
            subprocess.run([*_as_owner(pid), "kill", f"-{sent}", str(pid)], check=False)
            if engine.until(lambda: Path(where) not in _running(), STOP_S):
                break
    shutil.rmtree(where, ignore_errors=True)


def release() -> None:
    """Nothing is shared with others."""


def patience(where: str) -> int:
    """How many times longer things may take there."""
    return 1 if "kvm" in _arguments(where) else EMULATED


def command(where: Path, *, kvm: bool, ports: tuple[int, int]) -> list[str]:
    """QEMU for the machine in *where*."""
    forwards = (
        f"hostfwd=tcp:127.0.0.1:{port}-:{to}" for port, to in zip(ports, (22, 8000), strict=True)
    )
    return [
        *_qemu(where, kvm=kvm), "-m", str(MEMORY_MB), "-smp", str(CPUS),
        "-drive", f"file={_escaped(where / 'disk')},format=raw,if=virtio,cache=unsafe",
        "-netdev", ",".join(["user,id=net,ipv6=off", *forwards]),
        "-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci",
        "-serial", f"file:{where / 'console.log'}",
        "-append", f"{CONSOLE} {SYSTEM} systemd.hostname={where.parent.name}",
        "-pidfile", str(where / "pid"),
    ]  # fmt: skip


@cache
def kvm(where: str) -> bool:
    """Does KVM boot this machine's kernel, up to a program of its first file system?

    /dev/kvm may be there, and even make a machine, and boot nothing.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    # When /bin/true, being its process 1, is done, the kernel has nothing to do and says so.
    call = [
        *_qemu(Path(where), kvm=True), "-m", "512", "-no-reboot", "-serial", "stdio",
        "-append", f"{CONSOLE} rdinit=/bin/true",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            call, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=KVM_START_S
        )
    except subprocess.TimeoutExpired:
        return False
    return b"Attempted to kill init! exitcode=0x00000000" in done.stdout


def _qemu(where: Path, *, kvm: bool) -> list[str]:
    accelerator = ("kvm", "host") if kvm else ("tcg,thread=multi", "max")
    return [
        QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35",
        "-accel", accelerator[0], "-cpu", accelerator[1],
        "-kernel", str(where / "kernel"), "-initrd", str(where / "initrd"),
    ]  # fmt: skip


# --- The disk -----------------------------------------------------------------------------------
def recipe(debian: int) -> list[str]:
    """mmdebstrap's call, but for the folder."""
    return [
        "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}",
        *(f"--customize-hook={hook}" for hook in HOOKS), image.SUITES[debian],
    ]  # fmt: skip


def base_image(debian: int) -> Path:
    """The folder with disk, kernel and initrd of Debian *debian*, made if it is missing."""
    suite = image.SUITES[debian]
    digest = hashlib.sha256("\n".join([*recipe(debian), MAKE]).encode()).hexdigest()[:12]
    made = BASES / f"{suite}-{digest}"
    if made.exists():
        return made
    for program, package in (("mmdebstrap", "mmdebstrap"), ("mkfs.ext4", "e2fsprogs")):
        engine.need(program, package)
    engine.say(f"making the disk, Debian {debian} ({suite}); takes a minute or two")
    forget_bases(debian)
    new = BASES / f"{suite}.new"
    new.mkdir(parents=True)
    engine.authenticate()
    # A process group of its own: mmdebstrap, when it fails, ends its whole group, make included.
    done = subprocess.run(
        [
            *engine.sudo(), "env", f"PATH={engine.SYSTEM_PATH}", "TMPDIR=/var/tmp",
            "sh", "-euc", MAKE, "sh", *recipe(debian),
        ],
        cwd=new, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False, process_group=0,
    )  # fmt: skip
    if done.returncode:
        raise LabError("making the disk failed; see the lines above")
    return new.rename(made)


def forget_bases(*debians: int) -> None:
    """The next machine is made with Debian's current packages."""
    for debian in debians or image.SUITES:
        for old in BASES.glob(f"{image.SUITES[debian]}*"):
            shutil.rmtree(old)


def _write(disk: Path, files: dict[str, bytes]) -> None:
    """Put *files* onto a file system that is not mounted."""
    with tempfile.TemporaryDirectory() as scratch:
        lines = []
        for number, (path, content) in enumerate(files.items()):
            source = Path(scratch) / str(number)
            source.write_bytes(content)
            lines += [f"write {source} {path}", f"set_inode_field {path} mode 0100600"]
            lines += [f"set_inode_field {path} {owner} 0" for owner in ("uid", "gid")]
        subprocess.run(
            [engine.need("debugfs", "e2fsprogs"), "-w", "-f", "-", disk],
            input="\n".join(lines).encode(), capture_output=True, check=True,
        )  # fmt: skip


# --- What runs ------------------------------------------------------------------------------------
def _running() -> dict[Path, int]:
    """The machines that run, of every clone, by their folders: QEMU's own arguments tell."""
    found = {}
    for pid, arguments in _processes():
        if arguments[0].endswith(QEMU) and "-pidfile" in arguments:
            where = Path(arguments[arguments.index("-pidfile") + 1]).parent
            if where.parent.parent.name == LABS.name:
                found[where] = pid
    return found


def _processes() -> Iterator[tuple[int, list[str]]]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            yield int(process.name), (process / "cmdline").read_text().split("\0")
        except (OSError, UnicodeDecodeError):
            continue


def _arguments(where: str) -> list[str]:
    pid = _running().get(Path(where))
    if not pid:
        raise LabError(f"{where} does not run; its console: {where}/console.log")
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def _as_owner(pid: int) -> list[str]:
    return [] if Path(f"/proc/{pid}").stat().st_uid == os.geteuid() else engine.sudo()


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def _ssh(config: Path, *what: str) -> str:
    call = ssh_command(config, what, "-o", "ConnectTimeout=5")
    try:
        done = subprocess.run(
            call, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.decode().strip()


def _boot(config: Path) -> str:
    """Tells one boot of the kernel from another; nothing where nobody answers."""
    return _ssh(config, "cat", "/proc/sys/kernel/random/boot_id")


def _escaped(path: Path) -> str:
    """QEMU's own way to write a comma in a value."""
    return str(path).replace(",", ",,")
