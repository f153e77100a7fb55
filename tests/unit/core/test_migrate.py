"""Migration: what counts as a project of the reference configuration, what is kept, both ways."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest

from hubhost.errors import Problems
from hubhost.migrate import (
    SERVICES,
    Look,
    Token,
    changed_tokens,
    deadline,
    differences,
    network_options,
    project,
    scripts,
    told,
    without,
)
from hubhost.preflight import HostReport, Listener, Route
from tests.unit.core.sample import settings
from tests.unit.core.test_tls import make

ROOT_CA = make("a root")
LEAF = make("hub.example.org", ROOT_CA)

NETWORK = {
    "Name": "jupyterhub_network",
    "Id": "0123456789abcdef",
    "Driver": "bridge",
    "Internal": False,
    "IPAM": {"Config": [{"Subnet": "172.27.0.0/16", "Gateway": "172.27.0.1"}]},
    "Options": {},
    "Labels": {"com.docker.compose.project": "ijh"},
}
SUBNET = IPv4Network("172.27.0.0/16")
ADDRESSES = {"jupyterhub_db": ".3", "jupyterhub_proxy": ".4", "jupyterhub_hub": ".2"}
PORTS = {"jupyterhub_db": 5432, "jupyterhub_proxy": 8000, "jupyterhub_hub": 8081}


def container(service: str, **changes: Any) -> dict[str, Any]:
    port = PORTS.get(service, 1)
    return {
        "id": service.encode().hex(),
        "name": f"/{service}",
        "image": "x",
        "running": True,
        "restart": "always",
        "labels": {
            "com.docker.compose.project": "ijh",
            "com.docker.compose.service": service,
            "com.docker.compose.project.working_dir": "/srv/ijh",
        },
        "networks": {
            "jupyterhub_network": {
                "IPAMConfig": {"IPv4Address": f"172.27.0{ADDRESSES.get(service, '.9')}"},
                "Aliases": [service, service.encode().hex()[:12]],
            }
        },
        "ports": {f"{port}/tcp": [{"HostIp": "", "HostPort": str(port)}]},
        "mounts": [{"Name": "ijh_database"}] if service == "jupyterhub_db" else [],
        "variables": "PATH ",
        "user": "",
    } | changes


def session(name: str) -> dict[str, Any]:
    told = {"name": f"/jupyter-{name}", "labels": {}, "ports": {}, "user": name}
    return container("session", **told, variables="JUPYTERHUB_USER PATH ")


def look(*containers: dict[str, Any], network: dict[str, Any] | None = None, **more: str) -> Look:
    lines = [f"container {json.dumps(c)}" for c in containers or map(container, SERVICES)]
    lines += [f"network {json.dumps(network or NETWORK)}"]
    for key, value in more.items():
        lines += [f"{key} {line}" for line in value.splitlines()]
    return Look.parse(lines)


WHOLE = [container(service) for service in SERVICES]
RULES = """-N DOCKER-USER
-A DOCKER-USER -j JHUB-FORWARD
-A DOCKER-USER -s 10.0.0.0/8 -j DROP
-A DOCKER-USER -s 172.27.0.2/32 -j ACCEPT
-A DOCKER-USER -i br-0123456789ab -m comment --comment "by hand" -j ACCEPT
-A DOCKER-USER -s 172.16.0.0/12 -j ACCEPT
-A DOCKER-USER -j RETURN"""


# --- What is there ----------------------------------------------------------------------------
def other(**changes: Any) -> dict[str, Any]:
    return container("wiki", labels={}, ports={}, **changes)


def ours() -> dict[str, Any]:
    return other(name="/x") | {"labels": {"integrable-jupyterhub.role": "service"}, "networks": {}}


def of_another() -> list[dict[str, Any]]:
    labels = {"com.docker.compose.project": "two", "com.docker.compose.service": SERVICES[0]}
    return [*WHOLE, container(SERVICES[0], labels=labels)]


NO_PROJECT = {
    "none": ([other()], "no compose project with the services jupyterhub_db, jupyterhub_proxy,"),
    "both": ([*WHOLE, ours()], "a hub of ours and the project ijh are both there"),
    "two": (of_another(), "ijh and two both look like it"),
    "a part": (WHOLE[:2], "the project ijh has no container of jupyterhub_hub"),
    "a stranger": ([*WHOLE, other()], "wiki is on the network jupyterhub_network too"),
    "no network": (
        [*WHOLE[:2], container(SERVICES[2], networks={})],
        "the services of ijh share no bridge network",
    ),
    "our volume": (
        [container(SERVICES[0], mounts=[{"Name": "jupyterhub_db"}]), *WHOLE[1:]],
        "the project ijh keeps data in a volume that is called jupyterhub_db",
    ),
}


@pytest.mark.parametrize(("containers", "message"), NO_PROJECT.values(), ids=NO_PROJECT)
def test_what_is_no_such_project_is_one_line(
    containers: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(Problems) as caught:
        project(look(*containers))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"migrate: {message}")
    assert "; " in line


def test_a_project_is_found_with_its_sessions_and_its_rules() -> None:
    found = project(look(*WHOLE, session("u1"), rule=RULES))
    assert (found.name, found.folder, found.public_ports) == ("ijh", "/srv/ijh", {8000})
    assert [one.service for one in found.services] == list(SERVICES)
    assert [one.user for one in found.sessions] == ["u1"]
    assert found.rules == (
        (2, "-s 172.27.0.2/32 -j ACCEPT"),
        (3, '-i br-0123456789ab -m comment --comment "by hand" -j ACCEPT'),
    )


def test_preflight_does_not_see_what_leaves() -> None:
    report = HostReport(
        listeners=(Listener("0.0.0.0", 8000, "docker-proxy"), Listener("0.0.0.0", 80, "nginx")),
        taken_names=(*SERVICES, "jupyterhub_filter"),
        foreign_containers=(*SERVICES, "jupyter-u1", "wiki"),
        routes=(Route(SUBNET, "br-0123456789ab"), Route(SUBNET, "eth1")),
    )
    left = without(report, look(*WHOLE, session("u1")))
    assert [one.port for one in left.listeners] == [80]
    assert left.taken_names == ("jupyterhub_filter",)
    assert left.foreign_containers == ("wiki",)
    assert [route.device for route in left.routes] == ["eth1"]


# --- What is kept -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("length", "characters", "kept"),
    [(64, 16, True), (32, 8, True), (128, 16, False), (31, 16, False), (64, 7, False)],
)
def test_a_token_is_kept_if_the_hub_takes_it_and_nobody_guesses_it(
    length: int, characters: int, kept: bool
) -> None:
    assert Token("lms", length, characters).kept == kept


def test_only_services_of_the_settings_get_a_new_token() -> None:
    found = project(look(*WHOLE, token="lms 64 16\nweak 8 5\ngone 8 5"))
    assert changed_tokens(found, settings(service_admins=["lms", "weak"])) == ("weak",)
    lines = "\n".join(told(found, settings(service_admins=["lms", "weak"]), 0))
    assert "stay as they are: lms\n" in lines
    assert "too weak or long: weak\n" in lines
    assert "services that lose access: gone" in lines


DIFFERENT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "network_name": ({"network_name": "other"}, {}),
    "public_port": ({"public_port": 443}, {}),
    "base_url": ({}, {"base_url": "/jupyter/"}),
    "service_admins": ({"service_admins": ["x"]}, {"token": "lms 64 16"}),
    "access_control_origins": ({}, {"origins": "https://lms.example.org/;"}),
    "tls_certificate_file": ({}, {"certificate": (LEAF.pem + ROOT_CA.pem).decode()}),
}


@pytest.mark.parametrize("setting", DIFFERENT)
def test_what_integrators_would_notice_is_one_line_with_the_setting(setting: str) -> None:
    here, there = DIFFERENT[setting]
    found = project(look(*WHOLE, **there))
    (line,) = map(str, differences(found, settings(**here)))
    assert line.startswith(f"{setting}: ")
    assert "; set " in line
    assert "DIFFERENT=1" in line


def test_a_project_that_fits_the_settings_has_no_differences() -> None:
    there: dict[str, Any] = {"base_url": "/", "origins": "", "certificate": ROOT_CA.pem.decode()}
    assert differences(project(look(*WHOLE, **there)), settings()) == []


def test_a_certificate_that_is_taken_over_is_no_difference() -> None:
    found = project(look(*WHOLE, certificate=LEAF.pem.decode()))
    assert differences(found, settings(tls_managed_on_host=True)) == []


def test_a_deadline_is_a_number() -> None:
    assert (deadline(""), deadline("900")) == (0, 900)
    with pytest.raises(Problems, match=r"DEADLINE: '5m' is no number of seconds; "):
        deadline("5m")


def test_sessions_are_told_with_their_end() -> None:
    found = project(look(*WHOLE, session("u1"), session("u2")))
    assert "end within 900 s, and what they hold is lost: u1, u2" in "\n".join(
        told(found, settings(), 900)
    )
    assert "end at once" in "\n".join(told(found, settings(), 0))


# --- The ways --------------------------------------------------------------------------------
def test_the_network_comes_back_as_it_was() -> None:
    network = NETWORK | {"Internal": True, "Options": {"a.b": "c"}}
    assert network_options(network) == [
        *("--driver", "bridge", "--internal", "--subnet", "172.27.0.0/16"),
        *("--gateway", "172.27.0.1", "--opt", "a.b=c"),
        *("--label", "com.docker.compose.project=ijh", "jupyterhub_network"),
    ]


def test_the_way_back_is_written_before_the_way_there() -> None:
    found = project(look(*WHOLE, rule=RULES, notebook="n:1", notebook_id="sha256:1"))
    back, there = scripts(found, settings())
    assert (back.path.name, there.path.name) == ("undo", "take-over")
    for file in (back, there):
        done = subprocess.run(
            ["sh", "-n"], input=file.content, text=True, capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert file.mode == 0o700
    hub = found.services[2].id
    assert f"docker rename {hub}" not in back.content  # by `called`, which may be repeated
    assert f"called {hub} jupyterhub_hub\n" in back.content
    assert f"called {hub} jupyterhub_hub-before-migration\n" in there.content
    assert (
        "docker network connect --ip 172.27.0.2 --alias jupyterhub_hub jupyterhub_network"
        f" {hub}\n" in back.content
    )
    assert "iptables -w -D DOCKER-USER -s 172.27.0.2/32 -j ACCEPT" in there.content
    assert "iptables -w -I DOCKER-USER 3 -i br-0123456789ab" in back.content
    assert "docker tag sha256:1 n:1" in back.content


def test_a_certificate_is_taken_over_only_where_the_host_manages_it() -> None:
    arguments: dict[str, Any] = {
        "proxy_arguments": "node chp --ssl-key=/s/k.key --ssl-cert /s/c.crt"
    }
    found = project(look(*WHOLE, **arguments))
    copies = f"docker cp -L {found.services[1].id}:/s/c.crt "
    there = [scripts(found, settings(tls_managed_on_host=on))[1].content for on in (True, False)]
    assert [copies in script for script in there] == [True, False]


def test_what_was_stopped_is_not_started() -> None:
    stopped = [replace_running(one) for one in WHOLE]
    (back, _) = scripts(project(look(*stopped)), settings())
    assert "docker start" not in back.content


def replace_running(told: dict[str, Any]) -> dict[str, Any]:
    return told | {"running": False}


def test_a_look_at_a_bare_host_is_nothing() -> None:
    nothing = Look.parse(())
    assert nothing == replace(nothing, state="", containers=(), our_sessions=0)
