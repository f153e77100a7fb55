"""The script that carries the database over, with a docker that only pretends."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hubhost import paths, services
from tests.unit.core.sample import settings

HUB, DATABASE = "jupyterhub_hub", "jupyterhub_db"
# Images know revisions and have a major; containers run or not; volumes hold a cluster.
DOCKER = """#!/bin/sh
cd STATE
for last; do :; done
case "$1 $2" in
"container inspect")
    [ -e "container/$last" ] || exit 1
    case $4 in
    *Running*Image*) echo "$(cat "running/$last") $(cat "container/$last")" ;;
    *Running*) cat "running/$last" ;;
    *) cat "container/$last" ;;
    esac ;;
"image inspect") echo "$last" ;;
"image ls") ls image ;;
"volume inspect") [ -d "volumes/$last" ] && echo "$PWD/volumes/$last/_data" ;;
"volume rm") rm -rf "volumes/$last" ;;
"rm "*) rm -f container/jupyterhub_db_offline ;;
"stop "*) echo "stop $last" >>said; echo false >"running/$last" ;;
"start "*) echo "start $last" >>said; echo true >"running/$last" ;;
"exec "*)
    case $* in
    *to_regclass*) [ ! -e schema ] || echo alembic_version ;;
    *version_num*) cat schema ;;
    *healthy) [ ! -e dies ] ;;
    *" dump") echo "dump by $2" >>said; [ ! -e full ] || exit 1; echo "as of $(cat schema)" ;;
    *" load") echo "load $(cat) into $3" >>said ;;
    esac ;;
"run "*)
    left=$(cat loses 2>/dev/null || echo 0)
    [ "$left" = 0 ] || { echo $((left - 1)) >loses; exit 125; }
    case $* in
    *--version)
        image=${*%% --version}
        echo "postgres (PostgreSQL) $(cat "image/${image##* }").6 (Debian 17.6-0+deb13u1)" ;;
    *revisions) image=${*%% revisions}; cat "image/${image##* }" ;;
    *--exchange*)
        echo exchange >>said
        mv volumes/jupyterhub_db volumes/x; mv volumes/jupyterhub_db_before volumes/jupyterhub_db
        mv volumes/x volumes/jupyterhub_db_before ;;
    *--detach*)
        [ ! -e broken ] || exit 1
        volume=jupyterhub_db
        case $* in *_before:*) volume=jupyterhub_db_before ;; esac
        echo "serve $last on $volume" >>said
        touch container/jupyterhub_db_offline
        echo "$([ -e dies ] || echo true)" >running/jupyterhub_db_offline
        mkdir -p "volumes/$volume/_data/pgdata"
        [ -e "volumes/$volume/_data/pgdata/PG_VERSION" ] ||
            cat "image/$last" >"volumes/$volume/_data/pgdata/PG_VERSION" ;;
    esac ;;
esac
"""


class Machine:
    """A host with a hub of schema `b` and a PostgreSQL 15, both running."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.dumps, self.undo = folder, folder / "dumps", folder / "undo"
        (script,) = services.carry_files(settings())
        text = script.content
        for path, instead in (
            (paths.DUMPS, self.dumps),
            (paths.RELEASES / "undo", self.undo),
            (paths.CARRY, folder / "carry"),
        ):
            assert str(path) in text
            text = text.replace(str(path), str(instead))
        self.put("carry", text, 0o755)
        self.put("docker", DOCKER.replace("STATE", str(folder)), 0o755)
        self.put("image/hub:1", "b a")
        self.put("image/hub:2", "c b a")
        self.put("image/hub:0", "a")
        self.put("image/db:15", "15")
        self.put("image/db:17", "17")
        for name, image in ((HUB, "hub:1"), (DATABASE, "db:15")):
            self.put(f"container/{name}", image)
            self.put(f"running/{name}", "true")
        self.put("volumes/jupyterhub_db/_data/pgdata/PG_VERSION", "15")
        self.put("schema", "b")

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def carry(self, *arguments: str) -> str:
        """What it says; the exit code, if it is bad, comes first."""
        done = subprocess.run(
            [self.folder / "carry", *arguments],
            env={"PATH": f"{self.folder}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        said = (done.stdout + done.stderr).strip()
        return f"{done.returncode}: {said}" if done.returncode else said

    @property
    def did(self) -> list[str]:
        """What was done to containers since the last look."""
        file = self.folder / "said"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    @property
    def major(self) -> str:
        return (self.folder / "volumes/jupyterhub_db/_data/pgdata/PG_VERSION").read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(("service", "image"), [(HUB, "hub:2"), (DATABASE, "db:17")])
def test_one_may_go_forward(machine: Machine, service: str, image: str) -> None:
    assert machine.carry("may", service, image) == ""
    assert machine.did == []


@pytest.mark.parametrize(("service", "image"), [(HUB, "hub:0"), (DATABASE, "db:13")])
def test_one_may_not_go_back(machine: Machine, service: str, image: str) -> None:
    machine.put("image/db:13", "13")
    if service == HUB:
        machine.put(f"running/{DATABASE}", "false")
        assert machine.carry("may", service, image) == "", "it comes to that when it runs"
        machine.put(f"running/{DATABASE}", "true")
    refused = machine.carry("may", service, image)
    assert refused.startswith("1: database: it")
    assert refused == machine.carry("over", service, image)
    assert machine.did == []


@pytest.mark.parametrize("image", ["hub:1", "hub:0"])
def test_a_hub_that_runs_is_not_looked_at(machine: Machine, image: str) -> None:
    machine.put(f"container/{HUB}", image)
    assert machine.carry("over", HUB, image) == ""
    machine.put(f"running/{HUB}", "false")
    assert (machine.carry("over", HUB, image) == "") == (image == "hub:1")


def test_other_services_and_empty_databases_are_left_alone(machine: Machine) -> None:
    assert machine.carry("over", "jupyterhub_proxy", "proxy:2") == ""
    (machine.folder / "schema").unlink()
    assert machine.carry("over", HUB, "hub:0") == ""
    (machine.folder / "volumes/jupyterhub_db/_data/pgdata/PG_VERSION").unlink()
    assert machine.carry("over", DATABASE, "db:17") == ""
    assert machine.did == []


def test_what_will_be_upgraded_is_dumped_with_the_hub_stopped(machine: Machine) -> None:
    assert "the hub will upgrade the schema from b" in machine.carry("over", HUB, "hub:2")
    assert machine.did == [f"stop {HUB}", f"dump by {DATABASE}"]
    (dump,) = machine.dumps.iterdir()
    assert dump.name.endswith("Z-b.dump")
    assert dump.read_text() == "as of b\n"
    assert dump.stat().st_mode & 0o777 == 0o600
    assert machine.dumps.stat().st_mode & 0o777 == 0o700
    undo = machine.undo / HUB
    subprocess.run([undo, "before"], check=True)
    subprocess.run([undo, "after"], check=True, env={"PATH": f"{machine.folder}:/usr/bin:/bin"})
    assert machine.did == [], "nothing was upgraded, there is nothing to put back"
    machine.put("schema", "c")
    subprocess.run([undo, "after"], check=True, env={"PATH": f"{machine.folder}:/usr/bin:/bin"})
    assert machine.did == [f"load as of b into {DATABASE}"]


def test_without_a_dump_the_hub_goes_on(machine: Machine) -> None:
    machine.put("full", "")
    assert "could not be dumped" in machine.carry("over", HUB, "hub:2")
    assert machine.did == [f"stop {HUB}", f"dump by {DATABASE}", f"start {HUB}"]
    assert not machine.undo.exists()
    assert [path for path in machine.dumps.iterdir() if path.suffix == ".dump"] == []


def test_the_last_few_dumps_are_kept(machine: Machine) -> None:
    for year in range(2001, 2010):
        machine.put(f"dumps/{year}0101T000000Z-a.dump", "")
    machine.carry("over", HUB, "hub:2")
    names = sorted(path.name[:4] for path in machine.dumps.iterdir())
    assert names[:-1] == ["2006", "2007", "2008", "2009"]


def test_an_older_hub_is_refused_until_it_is_wanted(machine: Machine) -> None:
    assert machine.carry("over", HUB, "hub:0") == (
        "1: database: its schema b is newer than this hub knows; deploy the version that was there"
    )
    machine.put("dumps/20010101T000000Z-a.dump", "old")
    machine.put("dumps/20020101T000000Z-a.dump", "newer")
    machine.put("dumps/20030101T000000Z-b.dump", "newest")
    refused = machine.carry("over", HUB, "hub:0")
    assert refused.startswith("1: database: its schema b is newer than this hub knows; first")
    assert f"carry then {HUB} hub:0` on the host, which puts back" in refused
    assert "20020101T000000Z-a.dump" in refused
    assert machine.did == []
    assert "what was there is" in machine.carry("then", HUB, "hub:0")
    dumped = [f"stop {HUB}", f"dump by {DATABASE}", f"load newer into {DATABASE}"]
    assert machine.did == dumped
    machine.put("schema", "a")
    assert machine.carry("over", HUB, "hub:0") == ""


def test_another_major_is_made_beside_the_old_one_and_exchanged(machine: Machine) -> None:
    assert "PostgreSQL 15 is now 17" in machine.carry("over", DATABASE, "db:17")
    offline = f"{DATABASE}_offline"
    assert machine.did == [
        f"stop {HUB}",
        f"stop {DATABASE}",
        f"serve db:15 on {DATABASE}",
        f"dump by {offline}",
        f"stop {offline}",
        f"serve db:17 on {DATABASE}_before",
        f"load as of b into {offline}",
        f"stop {offline}",
        "exchange",
    ]
    assert machine.major == "17"
    environment = {"PATH": f"{machine.folder}:/usr/bin:/bin"}
    subprocess.run([machine.undo / DATABASE, "before"], check=True, env=environment)
    assert machine.major == "15"
    subprocess.run([machine.undo / DATABASE, "before"], check=True, env=environment)
    assert machine.major == "15", "put back twice is put back"
    assert machine.did == ["exchange"]
    subprocess.run([machine.undo / DATABASE, "after"], check=True, env=environment)
    assert machine.did == [f"start {HUB}"]


@pytest.mark.parametrize(("times", "is_made"), [(2, True), (3, False)])
def test_a_process_that_runc_loses_is_made_twice_more(
    machine: Machine, times: int, is_made: bool
) -> None:
    machine.put("loses", str(times))
    assert ("is now 17" in machine.carry("over", DATABASE, "db:17")) is is_made
    assert machine.major == ("17" if is_made else "15")


@pytest.mark.parametrize("fault", ["full", "broken", "dies"])
def test_what_fails_leaves_the_old_major_running(machine: Machine, fault: str) -> None:
    machine.put(fault, "")
    assert machine.carry("over", DATABASE, "db:17").startswith("1")
    assert machine.did[-2:] == [f"start {DATABASE}", f"start {HUB}"]
    assert machine.major == "15"


def test_the_old_cluster_is_read_by_whatever_image_can(machine: Machine) -> None:
    (machine.folder / f"container/{DATABASE}").unlink()
    machine.carry("over", DATABASE, "db:17")
    assert f"serve db:15 on {DATABASE}" in machine.did


def test_without_such_an_image_it_says_so(machine: Machine) -> None:
    machine.put("volumes/jupyterhub_db/_data/pgdata/PG_VERSION", "14")
    assert "no image of ours here can read that" in machine.carry("over", DATABASE, "db:17")
    assert machine.did == []


def test_an_older_major_is_refused_until_it_is_wanted(machine: Machine) -> None:
    machine.carry("over", DATABASE, "db:17")
    machine.put(f"container/{DATABASE}", "db:17")
    machine.put(f"running/{DATABASE}", "true")
    assert machine.did
    refused = machine.carry("over", DATABASE, "db:15")
    assert f"carry then {DATABASE} db:15` on the host" in refused
    assert machine.major == "17"
    machine.carry("then", DATABASE, "db:15")
    assert machine.major == "15"
    assert machine.did == [f"stop {DATABASE}", "exchange"]
    assert machine.carry("over", DATABASE, "db:15") == ""
