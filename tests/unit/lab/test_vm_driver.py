"""QEMU's arguments, whether KVM serves, and which machines run; nothing here needs QEMU."""

import os
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.lab import engine, image, labs, vm
from tests.lab.errors import LabError
from tests.lab.outside import METADATA
from tests.lab.outside.world import SERVER

WHERE = Path("/clone/.lab/test-a/vm")
BOOTED = b"... Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000000\n"


def arguments(*, kvm: bool = False) -> list[str]:
    return vm.command(WHERE, kvm=kvm, ports=(2222, 8443))


def value(arguments: list[str], option: str) -> str:
    return arguments[arguments.index(option) + 1]


def test_only_this_machine_reaches_it_and_it_has_no_ipv6() -> None:
    assert value(arguments(), "-netdev").split(",")[1:] == [
        "id=net",
        "ipv6=off",
        "hostfwd=tcp:127.0.0.1:2222-:22",
        "hostfwd=tcp:127.0.0.1:8443-:8000",
    ]


def test_an_emulated_machine_uses_all_its_cpus_at_once() -> None:
    assert value(arguments(), "-accel") == "tcg,thread=multi"
    assert value(arguments(kvm=True), "-accel") == "kvm"


def test_the_tests_internet_is_cut_off_in_the_machine_itself() -> None:
    cut = [ip_network(line.split()[5]) for line in vm.INTERFACES.splitlines() if "reach" in line]
    for address in (SERVER, METADATA):
        assert any(ip_address(address) in network for network in cut)


# --- KVM ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("outcome", "serves"),
    [
        (BOOTED, True),
        (b"Linux version 6.12 ...\n", False),  # got stuck, and gave up
        (b"Attempted to kill init! exitcode=0x0000000b\n", False),  # no program runs
        (subprocess.TimeoutExpired("qemu", 15), False),
    ],
)
def test_kvm_serves_where_it_boots_the_kernel_up_to_a_program(
    monkeypatch: pytest.MonkeyPatch, outcome: bytes | Exception, serves: bool
) -> None:
    def run(call: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        assert value(call, "-accel") == "kvm"
        if isinstance(outcome, Exception):
            raise outcome
        return subprocess.CompletedProcess(call, 0, outcome)

    monkeypatch.setattr(os, "access", lambda *_: True)
    monkeypatch.setattr(subprocess, "run", run)
    vm.kvm.cache_clear()
    assert vm.kvm(str(WHERE)) is serves
    vm.kvm.cache_clear()


def test_without_dev_kvm_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(subprocess, "run", None)
    vm.kvm.cache_clear()
    assert vm.kvm(str(WHERE)) is False
    vm.kvm.cache_clear()


# --- What runs ------------------------------------------------------------------------------------
def test_machines_are_found_by_qemus_arguments_and_no_other_process_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processes = [
        (1, ["/sbin/init"]),
        (7, ["/usr/bin/less", *arguments()]),
        (8, arguments()),
        (9, [vm.QEMU, "-pidfile", "/run/somebodys.pid"]),
        (10, [vm.QEMU, "-pidfile", "/other/.lab/test-b/vm/pid"]),
    ]
    monkeypatch.setattr(vm, "_processes", lambda: iter(processes))
    assert vm._running() == {WHERE: 8, Path("/other/.lab/test-b/vm"): 10}


def test_a_machine_whose_folder_is_gone_is_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vm, "_processes", lambda: iter([(8, arguments())]))
    (machine,) = [m for m in vm.machines() if m.id == str(WHERE)]
    assert (machine.driver, machine.name, machine.root) == ("vm", "test-a", "/clone")
    assert machine.running
    assert labs._stale(Path(machine.root) / ".lab" / machine.name)


def test_its_patience_is_that_of_how_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for kvm, patience in ((False, vm.EMULATED), (True, 1)):
        monkeypatch.setattr(vm, "_arguments", lambda _, kvm=kvm: arguments(kvm=kvm))
        assert vm.patience(str(WHERE)) == patience


# --- The disk -------------------------------------------------------------------------------------
def test_the_disk_is_made_anew_when_its_recipe_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def run(call: list[str], *, cwd: Path, **_: Any) -> subprocess.CompletedProcess[bytes]:
        made.append(cwd.name)
        return subprocess.CompletedProcess(call, 0)

    monkeypatch.setattr(vm, "BASES", tmp_path)
    monkeypatch.setattr(engine, "need", lambda program, _: program)
    monkeypatch.setattr(subprocess, "run", run)
    first = vm.base_image(13)
    assert vm.base_image(13) == first
    monkeypatch.setattr(image, "SUITES", {12: "bookworm", 13: "trixie"})
    vm.base_image(12)
    monkeypatch.setattr(vm, "PACKAGES", ("another",))
    assert vm.base_image(13) != first
    assert made == ["trixie.new", "bookworm.new", "trixie.new"]
    assert not first.exists()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_disk_that_could_not_be_made_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vm, "BASES", tmp_path)
    monkeypatch.setattr(engine, "need", lambda program, _: program)
    failed: subprocess.CompletedProcess[bytes] = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    for _ in range(2):
        with pytest.raises(LabError, match="making the disk failed"):
            vm.base_image(13)


# --- Which driver ---------------------------------------------------------------------------------
def test_the_driver_is_that_of_the_lab_that_is_there_or_its_names(tmp_path: Path) -> None:
    (tmp_path / "test-a" / "vm").mkdir(parents=True)
    assert labs._driver(tmp_path / "test-a") == "vm"
    assert labs._driver(tmp_path / "vm") == "vm"
    assert labs._driver(tmp_path / "test-b") == "container"
