"""Uninstall: the parameter, daemon.json, and a script that is shell."""

from __future__ import annotations

import json
import subprocess

import pytest

from hubhost.backup import hub_name
from hubhost.engine import daemon_configuration, without_ours
from hubhost.errors import Problems
from hubhost.uninstall import keeps, of_daemon, script
from tests.unit.core.sample import settings

NET = settings().network_subnet


@pytest.mark.parametrize(("text", "kept"), [("", True), ("yes", True), ("no", False)])
def test_backups_are_kept_unless_one_says_no(text: str, kept: bool) -> None:
    assert keeps(text) is kept
    made = script(settings(), keep_backups=kept, daemon="same")
    assert f"backups={'keep' if kept else 'remove'}" in made


def test_backups_in_a_folder_of_somebodys_are_ours_by_their_name() -> None:
    made = script(settings(backup_folder="/mnt/b"), keep_backups=False, daemon="same")
    assert f"rm -f /mnt/b/{hub_name(settings())}_*.age" in made
    assert "/mnt/b" not in script(settings(), keep_backups=False, daemon="same")


def test_another_word_is_one_line() -> None:
    with pytest.raises(Problems, match="KEEP_BACKUPS: 'none' is neither yes nor no; make"):
        keeps("none")


@pytest.mark.parametrize("mode", ["list", "remove"])
def test_the_script_is_valid_shell(mode: str) -> None:
    text = script(settings(backup_folder="/mnt/b"), keep_backups=True, daemon="restore")
    subprocess.run(["sh", "-n", "-c", f"mode={mode}\n{text}"], check=True)


@pytest.mark.parametrize("before", ["", '{"debug": true}', '{"live-restore": false, "mtu": 1}\n'])
def test_what_only_deployments_wrote_is_as_before_to_the_byte(before: str) -> None:
    ours = daemon_configuration(before, NET)
    assert without_ours(ours, before, NET) == before
    assert of_daemon(ours, before, before) == ("restore" if before else "remove")


@pytest.mark.parametrize("before", ["", None])
def test_what_an_admin_added_stays(before: str | None) -> None:
    present = json.loads(daemon_configuration("", NET)) | {"dns": ["192.0.2.53"]}
    present["runtimes"] |= {"crun": {"path": "/usr/bin/crun"}}
    left = without_ours(json.dumps(present), before, NET)
    assert json.loads(left) == {
        "dns": ["192.0.2.53"],
        "runtimes": {"crun": {"path": "/usr/bin/crun"}},
    }
    assert of_daemon(json.dumps(present), before, left) == "replace"


def test_what_an_admin_had_comes_back_beside_what_was_added() -> None:
    before = '{"live-restore": false}'
    present = json.loads(daemon_configuration(before, NET)) | {"dns": ["192.0.2.53"]}
    left = json.loads(without_ours(json.dumps(present), before, NET))
    assert left == {"live-restore": False, "dns": ["192.0.2.53"]}


def test_where_nobody_knows_what_was_there_ours_goes() -> None:
    ours = daemon_configuration("", NET)
    assert without_ours(ours, None, NET) == ""
    assert of_daemon(ours, None, "") == "remove"
    assert without_ours("", None, NET) == ""
    assert of_daemon("", None, "") == "same"
