"""Several hosts in one inventory: images once, and each an installation of its own."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.deployment import Deployment, Run
from tests.lab import Host, lab
from tests.lab.client import Hub
from tests.lab.demo import hub_of

BUILDX = "/usr/libexec/docker/cli-plugins/docker-buildx"


@pytest.fixture(scope="module")
def bare(request: pytest.FixtureRequest) -> Iterator[Host]:
    """A third one, on which nothing is installed."""
    if name := request.config.getoption("--third"):
        yield Host.read(name)
        return
    with lab() as made:
        yield made


@pytest.fixture(scope="module")
def hosts(host: Host, neighbour: Host, bare: Host) -> list[Host]:
    return [host, neighbour, bare]


@pytest.fixture(scope="module")
def together(hosts: list[Host], first_run: Run) -> Deployment:
    """One run for all of them."""
    names = ",".join(one.name for one in hosts)
    return Deployment(replace(hosts[0], name=names))


@pytest.fixture(scope="module")
def deployed(together: Deployment) -> Run:
    return together.run()


def image_ids(host: Host) -> dict[str, str]:
    lines = host.sh(
        "docker images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}'"
        " | grep ^integrable-jupyterhub-"
    ).splitlines()
    return dict(line.split() for line in lines)


def test_a_bare_host_has_the_images_of_the_others(
    hosts: list[Host], bare: Host, deployed: Run
) -> None:
    told = [line for line in deployed.output.splitlines() if " MB from " in line]
    print("", *told, f"{deployed.seconds:.0f} s", sep="\n")
    assert len(told) == 1
    first, *_, last = [image_ids(one) for one in hosts]
    references = {name for name in last if not name.endswith(":latest")}
    assert len(references) == 6
    assert {name: last[name] for name in references} == {name: first[name] for name in references}
    assert bare.sh("ls /var/lib/integrable-jupyterhub/build 2>/dev/null || true") == ""
    for one in hosts:
        assert hub_of(one)[1].call("GET", "/users").status_code == 200


def test_the_second_run_of_all_takes_less_than_twice_that_of_one(
    deployment: Deployment, together: Deployment, deployed: Run
) -> None:
    one, all_ = [], []
    for _ in range(3):
        runs = deployment.run(), together.run()
        assert [run.changed for run in runs] == [[], []]
        one.append(runs[0].seconds)
        all_.append(runs[1].seconds)
    ratio = statistics.median(all_) / statistics.median(one)
    print(f"\nno-op: one host {one} s, three {all_} s: {ratio:.2f} times")
    assert ratio < 2 * 5  # five times the target


def lose_the_filter(host: Host) -> None:
    """Its image's tags go; the build cache stays, if the host has built it."""
    host.sh("""
docker rm -f jupyterhub_filter
docker images integrable-jupyterhub-filter --format '{{.Repository}}:{{.Tag}}' \\
    | xargs -r docker image rm
""")


def runs(host: Host) -> bool:
    return host.sh("docker inspect -f '{{.State.Running}}' jupyterhub_filter") == "true"


def test_where_the_build_fails_the_others_say_so_in_a_line(
    hosts: list[Host], together: Deployment, deployed: Run
) -> None:
    """The next test mends it."""
    for one in hosts:
        lose_the_filter(one)
    hosts[0].sh(f"mv {BUILDX} {BUILDX}.off")
    try:
        run = together.run(check=False)
    finally:
        hosts[0].sh(f"mv {BUILDX}.off {BUILDX}")
    assert run.exit_code == 1
    told = f"images: {hosts[0].name} was to build them for this host, and failed; see there"
    assert run.output.count(told) == 2


def test_an_image_that_all_lack_is_built_once(
    hosts: list[Host], together: Deployment, deployed: Run
) -> None:
    for one in hosts:
        lose_the_filter(one)
    run = together.run()
    assert len([line for line in run.output.splitlines() if " MB from " in line]) == 2
    found = [image_ids(one) for one in hosts]
    tag = next(name for name in found[2] if "-filter:" in name and not name.endswith(":latest"))
    assert len({ids[tag] for ids in found}) == 1
    assert together.run().changed == []


def test_one_host_that_fails_stops_no_other(
    hosts: list[Host], together: Deployment, deployed: Run
) -> None:
    """Preflight refuses the first, the last has drifted."""
    first, _, last = hosts
    first.sh("""
cp -p /etc/docker/daemon.json /root/daemon.json
echo '{"hosts": ["tcp://0.0.0.0:1"]}' > /etc/docker/daemon.json
""")
    last.sh("docker stop jupyterhub_filter")
    try:
        run = together.run(check=False)
    finally:
        first.sh("mv /root/daemon.json /etc/docker/daemon.json")
    assert run.exit_code == 1
    assert f"{first.name}: Docker: the daemon listens on TCP" in run.output
    assert runs(last)
    assert together.run().changed == []


def test_verbs_are_for_all_hosts_or_for_one(
    hosts: list[Host], together: Deployment, deployed: Run
) -> None:
    told = together.runbook("make status")
    assert all(f"{one.name}  {one.public_url}" in told.output for one in hosts)
    for line in ("make status HOST=NAME", "make deploy HOST=NAME"):
        told = together.runbook(line, NAME=hosts[-1].name)
        assert hosts[-1].name in told.output
        assert hosts[0].name not in told.output
    tokens = "/etc/integrable-jupyterhub/secrets/service_tokens"
    before = {one.name: hub_of(one)[1] for one in hosts}
    together.run(script="ops/rotate.py", variables={"SECRET": "service_tokens", "SERVICE": ""})
    for one in hosts:
        old: Hub = before[one.name]
        assert old.call("GET", "/users").status_code == 403
        assert hub_of(one)[1].call("GET", "/users").status_code == 200
    assert len({one.sh(f"cat {tokens}") for one in hosts}) == 3
