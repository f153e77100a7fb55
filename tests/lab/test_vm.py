"""The virtual machine itself; `make test-vm` tries it first, before it deploys to one."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.lab import Host, LabError, lab, labs, restart, up, vm
from tests.lab.host import ROOT

# Emulated, it takes a core for some minutes, and the other tests become slow beside it.
pytestmark = pytest.mark.skipif(
    "TEST_VM" not in os.environ, reason="a virtual machine is `make test-vm`'s business"
)
NAME = "test-of-a-vm"
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with lab(NAME, driver="vm") as made:
        yield made


def test_it_is_a_bare_debian_with_a_kernel_of_its_own(host: Host) -> None:
    assert host.sh("ps -o comm= -p 1") == "systemd"
    assert host.sh(". /etc/os-release; echo $VERSION_ID") == str(host.debian)
    assert host.sh("hostname") == NAME
    assert host.sh("uname -r") != platform.release()
    for program in ("docker", "python3", "iptables"):
        assert host.run("sh", "-c", f"command -v {program}", check=False).returncode


def test_the_kernel_has_what_docker_needs(host: Host) -> None:
    host.sh("modprobe -a overlay nf_tables bridge br_netfilter veth xt_conntrack nft_compat")


def test_what_tests_call_the_internet_has_no_way_out(host: Host) -> None:
    assert "via 10.0.2.2" in host.sh("ip route get 1.1.1.1")  # the positive control: others do
    for address in ("198.51.100.7", "169.254.169.254"):
        assert host.run("ip", "route", "get", address, check=False).returncode
    assert host.sh("ip -6 route show default") == ""


def test_only_this_machine_reaches_it(host: Host) -> None:
    forwards = [a for a in vm._arguments(host.container) if "hostfwd" in a]
    assert forwards
    assert forwards[0].count("hostfwd=tcp:127.0.0.1:") == forwards[0].count("hostfwd=")


def test_a_second_up_changes_nothing(host: Host) -> None:
    assert up(NAME, owner=os.getpid()) == host


def test_a_container_is_not_made_instead(host: Host) -> None:
    with pytest.raises(LabError, match=f"lab {NAME} is a vm, wanted a container"):
        up(NAME, driver="container", owner=os.getpid())


def test_a_reboot_boots_another_kernel_and_keeps_the_disk(host: Host) -> None:
    before = host.sh(f"touch /root/kept; {BOOT_ID}")
    assert restart(NAME) == host
    assert host.sh(BOOT_ID) != before
    assert host.sh("ls /root/kept") == "/root/kept"


def test_one_that_was_switched_off_is_started_by_up(host: Host) -> None:
    pid = vm._running()[host.folder / "vm"]
    os.kill(pid, 9)
    assert up(NAME, owner=os.getpid()).sh("ls /root/kept") == "/root/kept"


# Last: another machine, so the one above need not run any more.
def test_one_left_by_a_killed_run_is_removed_by_the_next() -> None:
    left = "test-left-vm"
    code = (
        "import os, tests.lab.labs as l, tests.lab.vm as v; v.SSH_START_S = 0\n"
        f"try: l.up({left!r}, driver='vm', owner=os.getpid())\n"
        "finally: os.abort()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert ROOT / ".lab" / left / "vm" in vm._running()
    with labs._lock():
        labs._remove_stale()
    assert ROOT / ".lab" / left / "vm" not in vm._running()
    assert not (ROOT / ".lab" / left).exists()
