"""The state of a deployed host, as promised by the README."""

import json

import pytest
from testinfra.host import Host as Machine

SECRETS = "/etc/integrable-jupyterhub/secrets"
SERVICES = {
    "jupyterhub_hub": "172.27.0.2",
    "jupyterhub_db": "172.27.0.3",
    "jupyterhub_proxy": "172.27.0.4",
    "jupyterhub_filter": None,
}


def inspect(machine: Machine, what: str, name: str) -> dict:  # type: ignore[type-arg]
    """`docker WHAT inspect NAME`."""
    found: dict = json.loads(machine.check_output("docker %s inspect %s", what, name))[0]  # type: ignore[type-arg]
    return found


def test_the_engine_runs_at_boot_and_keeps_containers_alive(machine: Machine) -> None:
    docker = machine.service("docker")
    assert docker.is_running
    assert docker.is_enabled
    info = json.loads(machine.check_output("docker info --format '{{json .}}'"))
    assert info["LiveRestoreEnabled"]


def test_the_engines_packages_are_held_for_a_patch(machine: Machine) -> None:
    assert {"docker.io", "containerd", "runc"} <= set(
        machine.check_output("apt-mark showhold").split()
    )


def test_the_engine_listens_on_no_tcp_port(machine: Machine) -> None:
    assert "dockerd" not in machine.check_output("ss -Hltnp")


def test_other_networks_never_get_the_hubs_subnet(machine: Machine) -> None:
    pools = json.loads(machine.file("/etc/docker/daemon.json").content_string)
    assert "172.27.0.0/16" not in {pool["base"] for pool in pools["default-address-pools"]}


def test_the_network_is_as_in_the_reference_configuration(machine: Machine) -> None:
    network = inspect(machine, "network", "jupyterhub_network")
    assert network["IPAM"]["Config"] == [
        {"Subnet": "172.27.0.0/16", "IPRange": "172.27.128.0/17", "Gateway": "172.27.0.1"}
    ]
    assert network["Options"]["com.docker.network.bridge.name"] == "br-jhub"
    assert network["Options"]["com.docker.network.bridge.enable_icc"] == "false"
    assert not network["EnableIPv6"]


@pytest.mark.parametrize(("name", "address"), SERVICES.items())
def test_a_service_has_its_static_address_and_little_else(
    machine: Machine, name: str, address: str | None
) -> None:
    service = inspect(machine, "container", name)
    host = service["HostConfig"]
    assert service["State"]["Running"]
    networks = service["NetworkSettings"]["Networks"].items()
    assert {name: n["IPAddress"] for name, n in networks} == (
        {"jupyterhub_network": address} if address else {"none": ""}
    )
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Memory"] == host["MemorySwap"] > 0
    user, _, group = service["Config"]["User"].partition(":")
    assert int(user) > 65535
    assert group == "65600"


def test_only_the_proxys_public_port_is_reached_from_outside(machine: Machine) -> None:
    published = {
        name: {
            port
            for port, bindings in inspect(machine, "container", name)["NetworkSettings"][
                "Ports"
            ].items()
            if bindings
        }
        for name in SERVICES
    }
    assert published == {
        "jupyterhub_hub": set(),
        "jupyterhub_db": set(),
        "jupyterhub_proxy": {"8000/tcp"},
        "jupyterhub_filter": set(),
    }


def test_the_database_runs_on_a_named_volume(machine: Machine) -> None:
    mounts = inspect(machine, "container", "jupyterhub_db")["Mounts"]
    assert ("volume", "jupyterhub_db", "/var/lib/postgresql/data") in {
        (mount["Type"], mount.get("Name"), mount["Destination"]) for mount in mounts
    }


def test_only_root_enters_the_secrets_folder(machine: Machine) -> None:
    folder = machine.file(SECRETS)
    assert (folder.user, folder.group, folder.mode) == ("root", "root", 0o700)


@pytest.mark.parametrize(
    "name",
    [
        "database_password",
        "proxy_token",
        "cookie_secret",
        "service_tokens",
        "culler_token",
        "routes_token",
    ],
)
def test_a_secret_is_roots_and_read_by_the_services_group_only(machine: Machine, name: str) -> None:
    secret = machine.file(f"{SECRETS}/{name}")
    assert (secret.uid, secret.gid, secret.mode) == (0, 65600, 0o640)
    assert len(secret.content_string.rpartition(":")[2]) >= 64  # 32 bytes in hex, if not imported


def test_no_secret_is_in_what_docker_tells_or_in_any_command_line(machine: Machine) -> None:
    told = machine.check_output(
        "docker ps -aq | xargs docker inspect; docker image ls -q | xargs docker image inspect;"
        " cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    )
    for name in machine.file(SECRETS).listdir():
        for secret in machine.file(f"{SECRETS}/{name}").content_string.split(";"):
            assert secret.rpartition(":")[2] not in told, f"{name} is there for all to see"


def test_no_secret_is_in_any_log(machine: Machine) -> None:
    logs = machine.check_output(
        f"for name in {' '.join(SERVICES)}; do docker logs $name 2>&1; done;"
        " journalctl --no-pager --quiet"
    )
    assert "Hub API listening" in logs  # the positive control: these are the logs
    for name in machine.file(SECRETS).listdir():
        for secret in machine.file(f"{SECRETS}/{name}").content_string.split(";"):
            assert secret.rpartition(":")[2] not in logs, f"{name} is in a log"


def test_the_certificate_names_the_proxy_and_the_loopback(machine: Machine) -> None:
    names = machine.check_output(
        "openssl x509 -in /etc/integrable-jupyterhub/tls/tls.crt -noout -ext subjectAltName"
    )
    assert "DNS:jupyterhub_proxy" in names
    assert "IP Address:127.0.0.1" in names


def test_the_rules_stand_before_docker_starts(machine: Machine) -> None:
    unit = machine.service("integrable-jupyterhub-firewall")
    assert unit.is_enabled
    assert unit.is_running
    required = machine.check_output("systemctl show -P Requires,After docker")
    assert required.count("integrable-jupyterhub-firewall.service") == 2


def test_our_jump_is_the_first_rule_of_docker_user(machine: Machine) -> None:
    rules = machine.check_output("iptables -S DOCKER-USER").splitlines()
    assert rules[1] == "-A DOCKER-USER -j JHUB-FORWARD"


def test_no_certificate_of_the_builders_network_is_in_an_image(machine: Machine) -> None:
    """The lab's builds trust extra CA certificates where its network inspects TLS."""
    images = machine.check_output("docker image ls --filter label=integrable-jupyterhub.image -q")
    for image in set(images.split()):
        found = machine.check_output(
            "docker run --rm --entrypoint sh --network none --user 0 %s -c"
            " 'ls -A /usr/local/share/ca-certificates /run/build 2>/dev/null;"
            " find / -xdev -name ca-bundle.pem'",
            image,
        )
        assert [line for line in found.splitlines() if line and not line.endswith(":")] == []
