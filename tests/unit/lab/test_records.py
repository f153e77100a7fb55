"""Names, files and owners of labs; nothing here needs Docker."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab import demo, engine, image, labs
from tests.lab import host as host_module
from tests.lab.errors import LabError
from tests.lab.host import Host, Ssh, folder, ssh_config

BAD_NAMES = [
    "",
    "lab",
    "test-",
    "test-A",
    "test-a/b",
    "../x",
    "demo2",
    "test-a-",
    "test-" + "a" * 33,
]


@pytest.fixture
def lab_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(host_module, "LABS", tmp_path)
    where = tmp_path / "demo"
    where.mkdir()
    (where / "host_key.pub").write_text("ssh-ed25519 AAAA lab demo\n")
    ssh = Ssh("127.0.0.1", 2222, "root", str(where / "key"), str(where / "known_hosts"))
    return Host("demo", 13, ssh, "127.0.0.1", 8443, "jupyterhub-lab-demo-1", ("/ca.crt",))


@pytest.mark.parametrize("name", BAD_NAMES)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(LabError, match="use demo, vm, or test-"):
        folder(name)


def test_host_json_is_read_as_it_was_written(lab_host: Host) -> None:
    lab_host.write()
    assert Host.read("demo") == lab_host


def test_host_json_has_what_the_inventory_reads(lab_host: Host) -> None:
    lab_host.write()
    written = json.loads((lab_host.folder / "host.json").read_text())
    assert set(written) == {
        "name", "debian", "ssh", "public_host", "public_port", "container", "extra_ca_certificates",
        "driver", "patience",
    }  # fmt: skip
    assert set(written["ssh"]) == {"host", "port", "user", "key", "known_hosts"}


def test_what_is_written_is_for_its_owner_only(lab_host: Host) -> None:
    lab_host.write()
    for name in ("host.json", "known_hosts", "ssh_config"):
        assert (lab_host.folder / name).stat().st_mode & 0o777 == 0o600


def test_known_hosts_holds_the_injected_key_under_the_published_port(lab_host: Host) -> None:
    lab_host.write()
    assert Path(lab_host.ssh.known_hosts).read_text() == "[127.0.0.1]:2222 ssh-ed25519 AAAA\n"


@pytest.mark.skipif(not shutil.which("ssh"), reason="no ssh here")
def test_ssh_trusts_nothing_but_the_labs_own_files(lab_host: Host) -> None:
    config = lab_host.folder / "ssh_config"
    config.write_text(ssh_config(lab_host.ssh))
    seen = subprocess.run(["ssh", "-G", "-F", config, "lab"], capture_output=True, check=True)
    settings = seen.stdout.decode().splitlines()
    assert "stricthostkeychecking true" in settings
    assert f"userknownhostsfile {lab_host.ssh.known_hosts}" in settings
    assert f"identityfile {lab_host.ssh.key}" in settings


def test_no_lab_is_one_line_that_says_how_to_make_one(lab_host: Host) -> None:
    with pytest.raises(LabError, match="no lab called demo; make one with: make demo"):
        Host.read("demo")


# --- who owns a lab -------------------------------------------------------------------------
def own(where: Path, owner: object) -> Path:
    (where / "owner.json").write_text(json.dumps(owner))
    return where


def test_a_lab_is_not_stale_while_its_owner_lives(tmp_path: Path) -> None:
    assert not labs._stale(own(tmp_path, labs._process(os.getpid())))


def test_a_lab_is_stale_when_its_owner_is_gone(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "60"])
    own(tmp_path, labs._process(child.pid))
    child.kill()
    child.wait()
    assert labs._stale(tmp_path)


def test_another_process_of_the_same_number_is_not_the_owner(tmp_path: Path) -> None:
    me = labs._process(os.getpid())
    assert me
    assert labs._stale(own(tmp_path, me | {"start": "1"}))
    assert labs._stale(own(tmp_path, me | {"boot": "another"}))


def test_a_lab_made_by_hand_stays(tmp_path: Path) -> None:
    assert not labs._stale(own(tmp_path, None))


def test_a_lab_without_a_folder_is_nobodys(tmp_path: Path) -> None:
    assert labs._stale(tmp_path / "gone")


# --- the engine -----------------------------------------------------------------------------
def test_a_pid_file_that_names_another_program_is_not_our_dockerd(tmp_path: Path) -> None:
    pid_file = tmp_path / "dockerd.pid"
    assert not engine._is_dockerd(pid_file)
    pid_file.write_text(str(os.getpid()))
    assert not engine._is_dockerd(pid_file)
    engine.stop_dockerd(tmp_path)  # does nothing, above all not to this process


def test_waiting_ends_when_the_condition_holds() -> None:
    answers = iter([False, True])
    assert engine.until(lambda: next(answers), 5)
    assert not engine.until(lambda: False, 0)


# --- the image ------------------------------------------------------------------------------
def test_the_tag_follows_the_recipe_and_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.tag(13)
    assert before.startswith("jupyterhub-lab:trixie-")
    assert image.tag(12).startswith("jupyterhub-lab:bookworm-")
    monkeypatch.setattr(image, "PACKAGES", ("another",))
    assert image.tag(13) != before


def test_lab_debian_is_12_or_13(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_DEBIAN", raising=False)
    assert image.wanted_debian() is None
    monkeypatch.setenv("LAB_DEBIAN", "12")
    assert image.wanted_debian() == 12
    monkeypatch.setenv("LAB_DEBIAN", "bookworm")
    with pytest.raises(LabError, match="LAB_DEBIAN: 'bookworm'; allowed: 12 or 13"):
        image.wanted_debian()


# --- the demo -------------------------------------------------------------------------------
def test_the_first_service_token_is_taken() -> None:
    assert demo.service_token("one:abc;two:def\n") == ("one", "abc")


def test_the_last_sessions_token_is_found_again(tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    assert demo.known_token(summary) is None
    summary.write_text(json.dumps({"session_url": "https://h/user/demo/lab?token=abc"}))
    assert demo.known_token(summary) == "abc"
    summary.write_text("{}")
    assert demo.known_token(summary) is None
