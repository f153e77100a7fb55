"""The flags of the system container, and the lab network, from what the machine says of itself."""

import io
import tarfile
from ipaddress import IPv4Network

import pytest

from tests.lab import container
from tests.lab.errors import LabError

ALL_CAPABILITIES = "CapEff:\t000001ffffffffff\nCapBnd:\t000001ffffffffff\n"
NO_SYS_RESOURCE = "CapEff:\t000001ffffffffff\nCapBnd:\t000001fffeffffff\n"

HEADER = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
DEFAULT = "eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
IN_192_168_231 = "eth0\t00E7A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"


def flags(*, bounding: str = ALL_CAPABILITIES, apparmor: bool = False, v2: bool = True) -> str:
    return " ".join(container.machine_flags(bounding=bounding, apparmor=apparmor, cgroup_v2=v2))


def test_sys_resource_is_dropped_only_where_it_is_missing() -> None:
    assert "--cap-drop=SYS_RESOURCE" in flags(bounding=NO_SYS_RESOURCE)
    assert "--cap-drop" not in flags(bounding=ALL_CAPABILITIES)


def test_never_privileged() -> None:
    assert "--privileged" not in flags()


def test_apparmor_is_switched_off_only_where_it_is_on() -> None:
    assert "apparmor=unconfined" in flags(apparmor=True)
    assert "apparmor" not in flags(apparmor=False)


def test_cgroup_v2_gets_a_namespace_and_v1_the_legacy_flag() -> None:
    assert "--cgroupns=private" in flags(v2=True)
    assert "--cgroupns" not in flags(v2=False)
    assert container.init_arguments(cgroup_v2=True) == []
    assert container.init_arguments(cgroup_v2=False) == ["SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"]


def test_the_lab_network_is_the_fixed_one() -> None:
    assert container.free_subnet(HEADER + DEFAULT) == IPv4Network("192.168.231.0/24")


def test_a_lab_inside_a_lab_takes_the_next_network() -> None:
    routes = HEADER + DEFAULT + IN_192_168_231
    assert container.free_subnet(routes) == IPv4Network("192.168.232.0/24")


def test_no_free_network_is_an_error() -> None:
    all_of_192_168 = "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    with pytest.raises(LabError, match=r"needs one of 192\.168\.231\.0/24, .* in use"):
        container.free_subnet(HEADER + all_of_192_168)


def test_no_lab_network_overlaps_the_hubs_addresses() -> None:
    assert not any(subnet.overlaps(IPv4Network("172.16.0.0/12")) for subnet in container.SUBNETS)


def test_the_way_out_is_the_default_route() -> None:
    assert container.default_interface(HEADER + IN_192_168_231 + DEFAULT) == "eth0"
    assert container.default_interface(HEADER + IN_192_168_231) is None


def test_injected_files_are_roots_and_private() -> None:
    packed = container._tar({"/root/.ssh/authorized_keys": b"key"})
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        (entry,) = tar.getmembers()
    assert (entry.name, entry.mode, entry.uid) == ("root/.ssh/authorized_keys", 0o600, 0)
