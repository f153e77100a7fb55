"""The default driver: a lab as a system container, with systemd, sshd and its own Docker inside.

A driver makes, starts and removes a machine that answers SSH, and says on which local ports; keys,
names and records are the business of labs.py, so vm.py can take this module's place.
"""

import hashlib
import io
import re
import tarfile
from ipaddress import IPv4Network
from pathlib import Path

from tests.lab import engine, image
from tests.lab.errors import LabError
from tests.lab.host import ROOT
from tests.lab.image import LABEL
from tests.lab.machine import Machine

NETWORK = "jupyterhub-lab"

# Fixed, outside 172.16/12 (the hub's own subnets lie there). The second and third are for a lab
# inside a lab, where the first is the way out.
SUBNETS = tuple(IPv4Network(f"192.168.{third}.0/24") for third in (231, 232, 233))

SYSTEMD_START_S = 120
SSH_START_S = 60
CAP_SYS_RESOURCE = 24


def prepare() -> None:
    """What has to be there on this machine: an engine."""
    engine.ensure()


def identify(name: str) -> str:
    """Unique on the engine, though each clone of the repository may have its own demo."""
    return f"jupyterhub-lab-{name}-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]}"


def machines() -> list[Machine]:
    """All lab containers on this engine, of every clone of this repository."""
    if not engine.answers():
        return []
    fields = [
        "{{.Names}}",
        *(f'{{{{.Label "{LABEL}.{key}"}}}}' for key in ("name", "root", "debian", "identity")),
    ]
    lines = engine.docker(
        "ps",
        "--all",
        "--filter",
        f"label={LABEL}.name",
        "--format",
        "\t".join([*fields, "{{.State}}"]),
    ).splitlines()
    return [
        Machine("container", container, name, root, int(debian), identity, state == "running")
        for container, name, root, debian, identity, state in (line.split("\t") for line in lines)
    ]  # fmt: skip


def create(machine: Machine, files: dict[str, bytes]) -> None:
    """Make the container (not started) with *files* in it: path → content, root's, 0600."""
    tag = image.ensure(machine.debian)
    network()
    labels = [
        argument
        for key in ("name", "root", "debian", "identity")
        for argument in ("--label", f"{LABEL}.{key}={getattr(machine, key)}")
    ]
    volume = f"{machine.id}-docker"
    engine.docker("volume", "create", *labels, volume)
    engine.docker(
        "create", "--name", machine.id, "--hostname", machine.name, *labels,
        "--network", NETWORK,
        *machine_flags(
            bounding=Path("/proc/self/status").read_text(),
            apparmor=_apparmor(),
            cgroup_v2=_cgroup_v2(),
        ),
        "--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec",
        "--volume", f"{volume}:/var/lib/docker",  # overlay2 does not work on an overlay
        "--publish", "127.0.0.1::22", "--publish", "127.0.0.1::8000",
        "--stop-signal", "SIGRTMIN+3",  # systemd's "power off"
        tag, *init_arguments(cgroup_v2=_cgroup_v2()),
    )  # fmt: skip
    engine.docker("cp", "-", f"{machine.id}:/", stdin=_tar(files))


def machine_flags(*, bounding: str, apparmor: bool, cgroup_v2: bool) -> list[str]:
    """What lets a container act as a machine, without --privileged.

    *bounding* is the text of /proc/self/status: --privileged, and --cap-add=ALL too, fail where
    CAP_SYS_RESOURCE is missing, so it is dropped there and only there.
    """
    flags = ["--cap-add=ALL"]
    found = re.search(r"^CapBnd:\s*([0-9a-f]+)$", bounding, re.MULTILINE)
    if found and not int(found[1], 16) >> CAP_SYS_RESOURCE & 1:
        flags.append("--cap-drop=SYS_RESOURCE")
    flags += ["--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined"]
    if apparmor:
        flags += ["--security-opt", "apparmor=unconfined"]
    if cgroup_v2:
        flags.append("--cgroupns=private")
    return [*flags, "--device-cgroup-rule", "a *:* rwm"]


def init_arguments(*, cgroup_v2: bool) -> list[str]:
    """What PID 1 is told; systemd reads its command line as it would the kernel's."""
    return [] if cgroup_v2 else ["SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"]


def start(container: str) -> tuple[int, int]:
    """Start it if need be, wait for systemd, and return its local ports for 22 and 8000."""
    engine.docker("start", container)
    state = ""

    def is_up() -> bool:
        nonlocal state
        state = engine.docker("exec", container, "systemctl", "is-system-running", check=False)
        return state in ("running", "degraded")

    if not engine.until(is_up, SYSTEMD_START_S):
        raise LabError(
            f"systemd in {container} is {state or 'silent'}; see: docker logs {container}"
        )
    return _port(container, 22), _port(container, 8000)


def restart(container: str) -> tuple[int, int]:
    """Reboot the machine; Docker chooses new ports for it."""
    engine.docker("stop", "--time", "60", container)
    return start(container)


def remove(container: str) -> None:
    """Remove the container and its volume, whatever of them there is."""
    if not engine.answers():
        return
    engine.docker("rm", "--force", "--volumes", container, check=False)
    engine.docker("volume", "rm", "--force", f"{container}-docker", check=False)


def release() -> None:
    """Remove the lab network unless a lab still uses it, and a Docker of ours that nobody needs."""
    if engine.answers() and not machines():
        engine.docker("network", "rm", NETWORK, check=False)
    if engine.answers():
        engine.release()


def patience(container: str) -> int:
    """How many times longer things may take there."""
    return 1


def network() -> None:
    """Make the lab network if it is not there; its MTU is that of the way out."""
    if engine.docker("network", "ls", "--quiet", "--filter", f"name=^{NETWORK}$"):
        return
    routes = Path("/proc/net/route").read_text()
    engine.docker(
        "network", "create", "--label", LABEL, "--subnet", str(free_subnet(routes)),
        "--opt", f"com.docker.network.driver.mtu={_mtu(routes)}", NETWORK,
    )  # fmt: skip


def free_subnet(routes: str) -> IPv4Network:
    """The first of SUBNETS that no route in *routes* (/proc/net/route) overlaps."""
    taken = [IPv4Network((_address(line[1]), _address(line[7]))) for line in _routes(routes)]
    for subnet in SUBNETS:
        if not any(subnet.overlaps(other) for other in taken if other.prefixlen):
            return subnet
    raise LabError(
        f"the lab network needs one of {', '.join(map(str, SUBNETS))}; all are in use here"
    )


def default_interface(routes: str) -> str | None:
    """The network interface of the default route in *routes* (/proc/net/route)."""
    return next((line[0] for line in _routes(routes) if line[1] == line[7] == "00000000"), None)


def _mtu(routes: str) -> int:
    interface = default_interface(routes)
    return int(Path(f"/sys/class/net/{interface}/mtu").read_text()) if interface else 1500


def _routes(routes: str) -> list[list[str]]:
    return [line.split() for line in routes.splitlines()[1:] if line.strip()]


def _address(hexadecimal: str) -> str:
    """The kernel prints addresses as little-endian numbers: 00E7A8C0 is 192.168.231.0."""
    return ".".join(map(str, bytes.fromhex(hexadecimal)[::-1]))


def _port(container: str, inside: int) -> int:
    return int(engine.docker("port", container, f"{inside}/tcp").splitlines()[0].rpartition(":")[2])


def _cgroup_v2() -> bool:
    return Path("/sys/fs/cgroup/cgroup.controllers").exists()


def _apparmor() -> bool:
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    return enabled.exists() and enabled.read_text().strip() == "Y"


def _tar(files: dict[str, bytes]) -> bytes:
    """A tar of *files*; folders that are missing in the image come along, 0700."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(content), 0o600
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
