"""files/release/release.sh with a Docker that only remembers: kills converge, failures return."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from hubhost.paths import CARRY
from hubhost.release import Content, Release, program
from tests.unit.edge.stubs import Programs

SEED = 20261126
KILLS = int(os.environ.get("KILLS", "4"))
DB, HUB = "jupyterhub_db", "jupyterhub_hub"

# Containers are folders with files: label, image, running. An image whose name has "bad" never
# serves; one with "broken" can't be created. The command number KILL kills who gave it.
DOCKER = r"""
cd {root}/containers
echo "$*" >> ../calls
n=$(wc -l < ../calls)
[ "$n" != "$(cat ../kill 2>/dev/null)" ] || {{ kill -9 $PPID; exit 1; }}
for last; do :; done
case "$1 $2" in
"container inspect")
    [ -d "$last" ] || exit 1
    case "$4" in
    *digest*) cat "$last/label" ;;
    *Running*) echo "$(cat "$last/running") $(cat "$last/health" 2>/dev/null || echo healthy)" ;;
    *RestartCount*) echo 0 ;;
    *StartPeriod*) echo 0 ;;
    *Test*) echo check ;;
    esac ;;
"container stop") echo false > "$last/running"; rm -f "$last/health" ;;
"container start") [ -d "$last" ] && echo true > "$last/running" ;;
"container rm") rm -r "$last" ;;
"container update") echo "$4" > "$last/restart" ;;
"container rename") [ ! -e "$4" ] && mv "$3" "$4" ;;
"container create")
    case $last in *broken*) echo "Error response: port is taken" >&2; exit 1 ;; esac
    mkdir "$4" && echo "$last" > "$4/image" && echo "${{6#*=}}" > "$4/label"
    echo false > "$4/running" ;;
"image inspect") echo "id of $last" ;;
"exec "*) [ "$(cat "$2/running")" = true ] && ! grep -q bad "$2/image" ;;
"logs "*) echo "line"; echo "no database" ;;
esac
"""


class FakeHost:
    """A host whose Docker, files and records lie in one folder."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self.folder, self.programs = folder, programs
        (folder / "containers").mkdir()
        programs.add("docker", DOCKER.format(root=folder))
        programs.add("systemctl", f'echo "$*" >> {folder}/systemctl')
        text = program([DB, HUB])
        for path in ("/var/lib/integrable-jupyterhub", "/run/lock", "/etc"):
            text = text.replace(path, f"{folder}{path}")
            (folder / path[1:]).mkdir(parents=True)
        (folder / "release.sh").write_text(text)
        carry = folder / str(CARRY)[1:]
        carry.parent.mkdir(parents=True)
        carry.write_text(f"#!/bin/sh\n[ ! -e {folder}/refuses ] || {{ echo newer >&2; exit 1; }}\n")
        carry.chmod(0o755)
        self.config = folder / "etc/config"
        self.releases = folder / "var/lib/integrable-jupyterhub/releases"

    def call(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = " ".join(["sh", str(self.folder / "release.sh"), *arguments])
        return self.programs.run(command, stdin)

    def run(self, name: str, image: str) -> subprocess.CompletedProcess[str]:
        return self.call("run", stdin=self.definition(name, image))

    def definition(self, name: str, image: str) -> str:
        return (
            f"name={name}\nimage={image}\nspecification=x\nmounted={self.config}\n"
            f"create() {{ docker container create --name {name} --label digest=$1 {image}; }}\n"
        )

    def deploy(self, database: str, hub: str, config: str, release: str) -> str:
        """A deployment as far as it concerns services; what it said at its end, if it failed."""
        self.config.write_text(config)
        for name, image in ((DB, database), (HUB, hub)):
            done = self.run(name, image)
            if done.returncode:
                return (done.stderr.splitlines() or ["killed"])[-1]
        new = self.releases / ".new" / "services"
        new.mkdir(parents=True, exist_ok=True)
        for name, image in ((DB, database), (HUB, hub)):
            (new / name).write_text(self.definition(name, image))
        ours = {f"integrable-jupyterhub-{database}": "id-1", "others:1": "id-2"}
        content = Content(images=ours)
        (new.parent / "about").write_text(Release(release, content, version="v1").about())
        done = self.call("keep", release, stdin=f"{self.config}\n")
        return "" if done.returncode == 0 else (done.stderr.splitlines() or ["killed"])[-1]

    @property
    def running(self) -> dict[str, str]:
        """Image by name of container."""
        found = (self.folder / "containers").iterdir()
        return {c.name: (c / "image").read_text().strip() for c in found if self.is_up(c)}

    @staticmethod
    def is_up(container: Path) -> bool:
        return (container / "running").read_text() == "true\n"

    @property
    def containers(self) -> set[str]:
        return {path.name for path in (self.folder / "containers").iterdir()}

    @property
    def current(self) -> str:
        return str((self.releases / "current").readlink())

    def kill_at(self, number: int | None) -> None:
        """Have the command of that number, counted from now, kill the program."""
        (self.folder / "calls").write_text("")
        (self.folder / "kill").write_text(str(number or ""))


@pytest.fixture
def host(tmp_path: Path, programs: Programs) -> FakeHost:
    made = FakeHost(tmp_path, programs)
    assert made.deploy("db:1", "hub:1", "one", "r1") == ""
    return made


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path / "bin")


ONE = {DB: "db:1", HUB: "hub:1"}
TWO = {DB: "db:2", HUB: "hub:2"}


def test_a_good_deployment_leaves_nothing_of_before(host: FakeHost) -> None:
    assert host.deploy("db:2", "hub:2", "two", "r2") == ""
    assert (host.running, host.containers, host.current) == (TWO, set(TWO), "r2")


def test_until_then_what_was_before_stands_aside(host: FakeHost) -> None:
    assert host.run(HUB, "hub:2").returncode == 0
    assert host.containers == {*ONE, f"{HUB}-previous"}
    assert host.running == {DB: "db:1", HUB: "hub:2"}
    restart = host.folder / "containers" / f"{HUB}-previous" / "restart"
    assert restart.read_text() == "no\n", "it would start with the engine"


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("hub:bad", "did not become healthy: no database"),
        ("hub:broken", "did not start: Error response: port is taken"),
    ],
)
def test_what_fails_gives_way_to_all_that_ran_before(host: FakeHost, image: str, why: str) -> None:
    said = host.deploy("db:2", image, "two", "r2")
    assert said.startswith(f"{HUB}: {why}; back to release r1: as before run {DB} {HUB};")
    assert (host.running, host.containers, host.current) == (ONE, set(ONE), "r1")
    assert host.config.read_text() == "one"
    restart = host.folder / "containers" / HUB / "restart"
    assert restart.read_text() == "unless-stopped\n"
    assert host.deploy("db:2", "hub:2", "two", "r2") == ""
    assert (host.running, host.current) == (TWO, "r2")


def test_what_was_not_well_before_is_told(host: FakeHost) -> None:
    (host.folder / "containers" / HUB / "image").write_text("hub:1-bad\n")
    said = host.deploy("db:1", "hub:bad", "one", "r2")
    assert f"as before run {HUB}; not healthy even so: {HUB}" in said


def test_without_anything_before_it_says_where_to_look(tmp_path: Path, programs: Programs) -> None:
    host = FakeHost(tmp_path, programs)
    done = host.run(HUB, "hub:bad")
    assert done.returncode == 1
    *log, told = done.stderr.splitlines()
    assert log == ["line", "no database"]
    assert told == (
        f"{HUB}: did not become healthy, its last lines are above;"
        f" `docker logs {HUB}` on the host has all"
    )


def test_what_else_was_changed_is_undone_while_only_the_database_runs(host: FakeHost) -> None:
    undo = host.releases / "undo"
    undo.mkdir()
    running = f"grep -l true {host.folder}/containers/*/running > {host.folder}/then"
    (undo / "schema").write_text(f"#!/bin/sh\n{running}\n")
    (undo / "schema").chmod(0o755)
    host.deploy("db:2", "hub:bad", "two", "r2")
    assert (host.folder / "then").read_text().split() == [f"{host.folder}/containers/{DB}/running"]


def test_an_unhealthy_container_is_started_anew(host: FakeHost) -> None:
    (host.folder / "containers" / HUB / "health").write_text("unhealthy")
    host.kill_at(None)
    assert host.run(HUB, "hub:1").returncode == 0
    assert "container stop jupyterhub_hub" in (host.folder / "calls").read_text()
    assert host.running == ONE


def test_a_rollback_brings_back_containers_and_files(host: FakeHost) -> None:
    host.deploy("db:2", "hub:2", "two", "r2")
    assert host.call("back", "r1").returncode == 0
    assert (host.running, host.containers, host.current) == (ONE, set(ONE), "r1")
    assert host.config.read_text() == "one"
    tagged = [c for c in (host.folder / "calls").read_text().splitlines() if "image tag" in c]
    assert tagged == ["image tag id-1 integrable-jupyterhub-db:1"], "others' images are theirs"
    assert host.call("back", "r2").returncode == 0
    assert (host.running, host.config.read_text()) == (TWO, "two")


def test_a_timer_that_comes_back_is_there_after_the_next_boot_too(host: FakeHost) -> None:
    host.deploy("db:2", "hub:2", "two", "r2")
    timer = host.folder / "etc/systemd/system/a.timer"
    record = host.releases / "r1" / "files" / str(timer)[1:]
    record.parent.mkdir(parents=True)
    record.touch()
    assert host.call("back", "r1").returncode == 0
    assert timer.exists()
    told = (host.folder / "systemctl").read_text().splitlines()
    assert told == ["daemon-reload", "enable -q a.timer", "restart a.timer"]


def test_a_rollback_that_the_database_refuses_touches_nothing(host: FakeHost) -> None:
    host.deploy("db:2", "hub:2", "two", "r2")
    (host.folder / "refuses").touch()
    done = host.call("back", "r1")
    assert (done.returncode, done.stderr) == (1, "newer\n")
    assert (host.running, host.containers, host.current) == (TWO, set(TWO), "r2")
    assert host.config.read_text() == "two"


def test_a_rollback_that_fails_is_undone_itself(host: FakeHost) -> None:
    host.deploy("db:2", "hub:2", "two", "r2")
    record = host.releases / "r1" / "services" / HUB
    record.write_text(record.read_text().replace("hub:1", "hub:1-bad"))
    done = host.call("back", "r1")
    assert done.returncode == 1
    assert "back to release r2: as before run" in done.stderr
    assert (host.running, host.containers, host.current) == (TWO, set(TWO), "r2")
    assert host.config.read_text() == "two"


def test_killed_at_any_moment_the_next_deployment_converges(host: FakeHost) -> None:
    """Whatever the next one is: what was meant, or something that fails. Some moments of about 60;
    all of them, in minutes: KILLS=100."""
    moments = range(1, 60)
    chosen = random.Random(SEED).sample(moments, min(KILLS, len(moments)))  # noqa: S311  (no secret)
    for moment in chosen:
        hub = ("hub:2", "hub:bad")[moment % 2]
        assert host.deploy("db:1", "hub:1", "one", "r1") == ""
        host.kill_at(moment)
        host.deploy("db:2", hub, "two", "r2")
        host.kill_at(None)
        # One that fails goes back to what was good, never to what nobody knows.
        said = host.deploy("db:2", "hub:bad", "three", "r3")
        if host.current == "r1":
            assert "back to release r1" in said or "its last lines are above" in said
            assert host.running.get(HUB) != "hub:2", moment
        assert host.deploy("db:2", "hub:2", "two", "r2") == "", moment
        assert (host.running, host.containers) == (TWO, set(TWO))
        host.kill_at(None)
        assert host.deploy("db:2", "hub:2", "two", "r2") == ""
        calls = (host.folder / "calls").read_text().splitlines()
        assert [call for call in calls if "create" in call] == [], "the next run is no no-op"
