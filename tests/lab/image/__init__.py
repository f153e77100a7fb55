"""The lab image: the bare Debian an admin gets from a minimal installation with SSH."""

import hashlib
import os
import shlex
from pathlib import Path

from tests.lab import engine
from tests.lab.errors import LabError

SUITES = {12: "bookworm", 13: "trixie"}
REPOSITORY = "jupyterhub-lab"
LABEL = "jupyterhub-lab"

_INIT = Path(__file__).with_name("lab-init").read_text()

# Each lab gets its own SSH keys and machine id; shared ones would hide mistakes.
_HOOKS = (
    f'printf %s {shlex.quote(_INIT)} >"$1/usr/local/sbin/lab-init"',
    'chmod 755 "$1/usr/local/sbin/lab-init"',
    'rm -f "$1"/etc/ssh/ssh_host_*',
    ': >"$1/etc/machine-id"',
    # udev belongs to the machine, not to a container that sees the machine's devices.
    'ln -s /dev/null "$1/etc/systemd/system/systemd-udevd.service"',
    'ln -s /dev/null "$1/etc/systemd/system/systemd-udev-trigger.service"',
)
PACKAGES = (
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "iproute2",
    "ca-certificates",
    "kmod",
    "procps",
)


def _recipe(suite: str, output: str) -> list[str]:
    return [
        "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}",
        *(f"--customize-hook={hook}" for hook in _HOOKS), suite, output,
    ]  # fmt: skip


def tag(debian: int) -> str:
    """The image's name; its tag changes whenever the recipe does."""
    suite = SUITES[debian]
    text = "\n".join(_recipe(suite, "-"))
    return f"{REPOSITORY}:{suite}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def ensure(debian: int, *, refresh: bool = False) -> str:
    """The image for Debian *debian*, made if it is missing (or, with refresh, in any case)."""
    name = tag(debian)
    if not refresh and engine.docker("images", "--quiet", name):
        return name
    before = _of_suite(debian)
    engine.need("mmdebstrap", "mmdebstrap")
    engine.say(f"making the lab image, Debian {debian} ({SUITES[debian]}); takes half a minute")
    # mmdebstrap needs a folder on a file system that is neither noexec nor nodev; /tmp may be both.
    pack = ["env", "TMPDIR=/var/tmp", f"PATH={engine.SYSTEM_PATH}"]
    engine.import_image(
        [*pack, *_recipe(SUITES[debian], "-")],
        "--change", f"LABEL {LABEL}.debian={debian}",
        "--change", 'ENTRYPOINT ["/usr/local/sbin/lab-init"]',
        "-", name,
    )  # fmt: skip
    for old in before - _of_suite(debian, name):
        engine.docker("rmi", old, check=False)  # one still in use stays until its lab is gone
    return name


def _of_suite(debian: int, name: str = "") -> set[str]:
    """Ids of the images of ours for this Debian, or of that name only."""
    return set(
        engine.docker(
            "images", "--all", "--quiet", "--no-trunc",
            "--filter", f"label={LABEL}.debian={debian}", *([name] if name else []),
        ).split()
    )  # fmt: skip


def wanted_debian() -> int | None:
    """LAB_DEBIAN: 12 or 13; unset means no wish. Raises LabError for anything else."""
    text = os.environ.get("LAB_DEBIAN", "")
    if text and text not in map(str, SUITES):
        raise LabError(f"LAB_DEBIAN: {text!r}; allowed: 12 or 13")
    return int(text) if text else None
