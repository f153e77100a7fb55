"""This machine's Docker engine: found, or installed and started; stopped again if it was ours."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.host import LABS

APT_INSTALL = Path(__file__).with_name("apt-install")
SYSTEM_PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"

DOCKERD_FOLDER = LABS / "engine"
DOCKERD_START_S = 60
DOCKERD_STOP_S = 60


def say(text: str) -> None:
    """Progress, for the person waiting."""
    print(f"lab: {text}", flush=True)


def sudo() -> list[str]:
    """What to put before a command that needs root: nothing, or sudo."""
    if os.geteuid() == 0:
        return []
    if not shutil.which("sudo"):
        raise LabError("needs root: run as root, or install sudo")
    return ["sudo"]


def authenticate() -> None:
    """Lets sudo ask while it may: not from a background process."""
    if sudo():
        subprocess.run(["sudo", "-v"], check=False)


def apt_install(*packages: str) -> None:
    """Install the missing Debian packages; it prints its own progress and its own error."""
    if subprocess.run([APT_INSTALL, *packages], check=False).returncode:
        raise LabError(f"missing: {', '.join(packages)} (the reason is above)")


def need(program: str, package: str) -> str:
    """The path of *program*, after installing the Debian *package* if it is missing."""
    found = shutil.which(program, path=SYSTEM_PATH)
    if not found:
        apt_install(package)
        found = shutil.which(program, path=SYSTEM_PATH)
    if not found:
        raise LabError(f"{program}: not found, though the package {package} is installed")
    return found


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask *condition* again and again until it holds (True) or *seconds* are over (False)."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def docker(*arguments: str, stdin: bytes | None = None, check: bool = True) -> str:
    """Run the docker client and return what it printed. LabError with its last line if it fails."""
    done = subprocess.run(
        [*_client(), *arguments],
        input=b"" if stdin is None else stdin,
        capture_output=True,
        check=False,
    )
    if check and done.returncode:
        told = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise LabError(f"docker {arguments[0]} failed: {told[-1]}")
    return done.stdout.decode(errors="replace").strip()


def import_image(pack: list[str], *import_arguments: str) -> None:
    """`sudo PACK | docker import IMPORT_ARGUMENTS`: the tar a program prints becomes an image."""
    authenticate()
    # A process group of its own: mmdebstrap, when it fails, ends its whole group, make included.
    packing = subprocess.Popen(
        [*sudo(), *pack], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, process_group=0
    )
    try:
        importing = subprocess.Popen(
            [*_client(), "import", *import_arguments],
            stdin=packing.stdout,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert packing.stdout
        packing.stdout.close()
        told = importing.communicate()[1].decode(errors="replace").strip()
        packing.wait()
    finally:
        if packing.poll() is None:
            packing.terminate()
    if packing.returncode or importing.returncode:
        raise LabError(f"making the lab image failed: {told or 'see the lines above'}")


@cache
def _client() -> list[str]:
    """The docker client, by sudo where this user may not talk to the engine."""
    client = shutil.which("docker")
    if not client:
        raise LabError("no docker client; install it with: apt-get install docker.io")
    return [client] if _answers([client]) or os.geteuid() == 0 else [*sudo(), client]


def _answers(client: list[str]) -> bool:
    return not subprocess.run(
        [*client, "version", "--format", "{{.Server.Version}}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    ).returncode


def installed() -> bool:
    return bool(shutil.which("docker") and _dockerd())


def answers() -> bool:
    """Is there an engine that this user may talk to, if need be by sudo?"""
    return bool(shutil.which("docker")) and _answers(_client())


def ensure() -> None:
    """An engine that answers: the one that is there, or Debian's, installed and started."""
    if not answers() and not installed():
        apt_install("docker.io")
        if not shutil.which("docker"):  # Debian 13 has the client in a package of its own
            apt_install("docker-cli")
        _client.cache_clear()
        if not _systemd():
            # An engine started by the package's init script makes way for ours, which we can stop.
            subprocess.run(
                [*sudo(), "sh", "-c", "service docker stop"], capture_output=True, check=False
            )
    if answers():
        return
    if _systemd():
        say("starting Docker")
        subprocess.run([*sudo(), "systemctl", "start", "docker"], check=False)
        if not until(answers, DOCKERD_START_S):
            raise LabError("Docker does not start; see: journalctl -u docker")
    else:
        start_dockerd(DOCKERD_FOLDER, answers)


def _systemd() -> bool:
    return Path("/run/systemd/system").exists()


def _dockerd() -> str | None:
    return shutil.which("dockerd", path=SYSTEM_PATH)


def start_dockerd(folder: Path, is_up: Callable[[], bool], *options: str) -> None:
    """Start dockerd by hand, to outlive this process; its pid file and log lie in *folder*."""
    dockerd = _dockerd()
    if not dockerd:
        raise LabError("no dockerd on this machine; install it with: apt-get install docker.io")
    folder.mkdir(parents=True, exist_ok=True)
    pid_file, log = folder / "dockerd.pid", folder / "dockerd.log"
    if _is_dockerd(pid_file):  # started by a run that was killed before it answered
        say("waiting for Docker")
    else:
        say(f"starting Docker by hand (no systemd here); its log: {log}")
        pid_file.unlink(missing_ok=True)
        # A session of its own, so that neither Ctrl-C nor the end of make reaches it.
        subprocess.run(
            [
                *sudo(), "sh", "-c", 'log=$1; shift; setsid "$@" >>"$log" 2>&1 </dev/null &', "sh",
                str(log), dockerd, "--pidfile", str(pid_file), *options,
            ],
            env={**os.environ, "PATH": SYSTEM_PATH},
            check=True,
        )  # fmt: skip
    if not until(is_up, DOCKERD_START_S):
        raise LabError(f"dockerd does not answer; its log: {log}")


def stop_dockerd(folder: Path) -> None:
    """Stop the dockerd that start_dockerd started in *folder*; any other is left alone."""
    pid_file = folder / "dockerd.pid"
    if not _is_dockerd(pid_file):
        return
    pid = pid_file.read_text().strip()
    say("stopping the Docker that we started")
    subprocess.run([*sudo(), "kill", pid], check=False)
    if not until(lambda: not _is_dockerd(pid_file), DOCKERD_STOP_S):
        raise LabError(f"dockerd (pid {pid}) does not stop; its log: {folder / 'dockerd.log'}")


def _is_dockerd(pid_file: Path) -> bool:
    """Is the process in *pid_file* really the dockerd that was given this pid file?"""
    try:
        pid = int(pid_file.read_text())
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return False
    return arguments[0].endswith(b"dockerd") and str(pid_file).encode() in arguments


def release() -> None:
    """Stop our dockerd once no container of anybody needs it."""
    if _is_dockerd(DOCKERD_FOLDER / "dockerd.pid") and not docker("ps", "--quiet", check=False):
        stop_dockerd(DOCKERD_FOLDER)
