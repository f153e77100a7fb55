"""Settings: the defaults load, and each kind of bad input is one line that says what to do."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from hubhost.errors import Problems
from hubhost.paths import BACKUPS, STATE
from hubhost.settings import Settings, load, unknown_groups
from hubhost.settings_reference import REFERENCE, reference
from tests.unit.core.sample import ALL, DEFAULTS, EVERYTHING, settings

IN_HOME = " in group_data/all.py"
FREE = "choose an address of 172.27.0.0/16 outside 172.27.128.0/17" + IN_HOME
CHANGE = "change it" + IN_HOME
URL = "must be http or https://HOST[:PORT]"
SESSIONS = "lies in the session range 172.27.128.0/17"

# What is given, and the whole line that a person reads.
BAD: list[tuple[dict[str, Any], str]] = [
    # unknown
    ({"hub_pi": "172.27.0.2"}, "hub_pi: no such setting; did you mean hub_ip?"),
    ({"qqqq": 1}, "qqqq: no such setting; the settings are those of group_data/all.py"),
    # addresses
    ({"hub_ip": "10.0.0.1"}, f"hub_ip: 10.0.0.1 is not an address of 172.27.0.0/16; {FREE}"),
    ({"hub_ip": "172.27.0.0"}, f"hub_ip: 172.27.0.0 is not an address of 172.27.0.0/16; {FREE}"),
    ({"hub_ip": "172.27.200.7"}, f"hub_ip: 172.27.200.7 {SESSIONS}; {FREE}"),
    ({"network_gateway": "172.27.128.0"}, f"network_gateway: 172.27.128.0 {SESSIONS}; {FREE}"),
    ({"proxy_ip": "172.27.0.3"}, f"proxy_ip: 172.27.0.3 is taken by database_ip; {FREE}"),
    ({"hub_ip": "172.27.0.1"}, f"hub_ip: 172.27.0.1 is taken by network_gateway; {FREE}"),
    (
        {"hub_ip": "172.27.0.300"},
        f"hub_ip: '172.27.0.300': Input is not a valid IPv4 address; {CHANGE}",
    ),
    (
        {"session_range": "172.28.0.0/17"},
        "session_range: 172.28.0.0/17 is not part of 172.27.0.0/16; choose a part of it" + IN_HOME,
    ),
    (
        {"session_range": "172.27.128.0/27"},
        "session_range: 172.27.128.0/27 has 32 addresses, fewer than max_sessions = 50;"
        " choose a larger part of the subnet" + IN_HOME,
    ),
    (
        {"client_networks": ["10.0.0.0/8", "172.16.0.0/12"]},
        "network_subnet: 172.27.0.0/16 overlaps 172.16.0.0/12 of client_networks;"
        " choose a private network that nobody uses" + IN_HOME,
    ),
    (
        {"network_subnet": "172.27.0.1/16"},
        f"network_subnet: '172.27.0.1/16': Input is not a valid IPv4 network; {CHANGE}",
    ),
    ({"backends": ["172.27.128.9"]}, f"backends: 172.27.128.9 {SESSIONS}; {FREE}"),
    ({"backends": ["172.27.0.2"]}, f"backends: 172.27.0.2 is taken by hub_ip; {FREE}"),
    (
        {"network_bridge": "bridge-too-long1"},
        (
            "network_bridge: 'bridge-too-long1': String should match pattern"
            f" '^[a-zA-Z0-9][a-zA-Z0-9_.-]{{0,14}}$'; {CHANGE}"
        ),
    ),
    # ways out and in
    *(
        ({"session_outbound": [value]}, f"session_outbound: {value!r}: {message}; {CHANGE}")
        for value, message in (
            ("0.0.0.0/0:443", "is the whole internet: name the networks that sessions need"),
            ("128.0.0.0/1:80", "overlaps 169.254.0.0/16, which is never opened"),
            ("169.254.169.254:80", "overlaps 169.254.0.0/16, which is never opened"),
            ("127.0.0.1:80", "overlaps 127.0.0.0/8, which is never opened"),
            ("198.51.100.7", 'must be "CIDR:PORT[,PORT…]" or "NAME=ADDRESS:PORT[,PORT…]"'),
            ("198.51.100.7:x", 'must be "CIDR:PORT[,PORT…]" or "NAME=ADDRESS:PORT[,PORT…]"'),
            ("198.51.100.7:80,0", "a port is a number from 1 to 65535"),
            ("a b=198.51.100.7:80", "'a b' is no host name"),
            ("pypi=198.51.100.0/24:80", "a name stands for one address, not for a network"),
        )
    ),
    (
        {"session_outbound": ["172.16.0.0/12:443"]},
        "session_outbound: 172.16.0.0/12 overlaps the hub's own network 172.27.0.0/16;"
        " name networks outside it only" + IN_HOME,
    ),
    (
        {"public_sources": ["198.51.100.1/24"]},
        (
            "public_sources: '198.51.100.1/24': must be a network such as 198.51.100.0/24 or"
            f" 2001:db8::/32; {CHANGE}"
        ),
    ),
    (
        {"trusted_proxies": ["proxy.example.org"]},
        "trusted_proxies: 'proxy.example.org': must be an IPv4 or IPv6 address; " + CHANGE,
    ),
    (
        {"service_outbound": ["everybody"]},
        "service_outbound: 'everybody': Input should be 'hub', 'proxy' or 'database'; " + CHANGE,
    ),
    # addresses of others
    (
        {"public_url": "http://hub.example.org"},
        (
            "public_url: 'http://hub.example.org': must be https://HOST[:PORT]:"
            f" the proxy speaks TLS only; {CHANGE}"
        ),
    ),
    (
        {"public_url": "https://hub.example.org/jupyter"},
        (
            "public_url: 'https://hub.example.org/jupyter': an origin is scheme, host and port"
            f" only, such as https://lms.example.org; {CHANGE}"
        ),
    ),
    ({"public_url": "hub.example.org"}, f"public_url: 'hub.example.org': {URL}; {CHANGE}"),
    ({"pypi_index": "ftp://x"}, f"pypi_index: 'ftp://x': {URL}; {CHANGE}"),
    ({"npm_registry": "https://x:0"}, f"npm_registry: 'https://x:0': {URL}; {CHANGE}"),
    ({"debian_mirror": "http://x:99999"}, f"debian_mirror: 'http://x:99999': {URL}; {CHANGE}"),
    (
        {"access_control_origins": ["https://lms.example.org", "lms.example.org"]},
        f"access_control_origins: 'lms.example.org': {URL}; {CHANGE}",
    ),
    (
        {"access_control_origins": ["https://lms.example.org/course"]},
        (
            "access_control_origins: 'https://lms.example.org/course': an origin is scheme, host"
            f" and port only, such as https://lms.example.org; {CHANGE}"
        ),
    ),
    (
        {"base_url": "jupyter"},
        f"""base_url: 'jupyter': must be "/" or a path such as "/jupyter"; {CHANGE}""",
    ),
    (
        {"base_url": "/a b"},
        f"""base_url: '/a b': must be "/" or a path such as "/jupyter"; {CHANGE}""",
    ),
    # names
    (
        {"notebook_image": "not an image"},
        (
            "notebook_image: 'not an image': must be an image reference such as"
            f" registry.example.org/notebook:1.2; {CHANGE}"
        ),
    ),
    (
        {"service_admins": ["lms", "a:b"]},
        (
            "service_admins: 'a:b': a service's name has letters, digits, '.', '_' and '-' only;"
            f" {CHANGE}"
        ),
    ),
    (
        {"service_admins": ["lms", "lms"]},
        "service_admins: lms, lms names a service twice; name each once" + IN_HOME,
    ),
    # what goes together
    (
        {"session_memory_mb": 256},
        "session_home_mb: 256 leaves nothing of session_memory_mb 256: a session's home lies in"
        " its memory; choose at most half of it" + IN_HOME,
    ),
    (
        {"cull_idle_seconds": 120},
        "cull_idle_seconds: 120 is not more than two activity reports (activity_seconds 60):"
        " active sessions would be culled; choose a longer time" + IN_HOME,
    ),
    (
        {"archive_total_mb": 63},
        "archive_total_mb: 63 is less than archive_max_mb 64: not even one session's files would"
        " fit; choose many times as much" + IN_HOME,
    ),
    (
        {"tls_key_file": __file__},
        "tls_certificate_file: not set, but tls_key_file is; set both or neither" + IN_HOME,
    ),
    (
        {"tls_certificate_file": __file__},
        "tls_key_file: not set, but tls_certificate_file is; set both or neither" + IN_HOME,
    ),
    (
        {
            "tls_managed_on_host": True,
            "tls_key_file": __file__,
            "tls_certificate_file": __file__,
        },
        "tls_managed_on_host: set, and so is tls_certificate_file: a deploy would undo what the"
        " host does; set one of them" + IN_HOME,
    ),
    (
        {"tls_ca_file": "/nonexistent"},
        f"tls_ca_file: '/nonexistent': must be a file on the controller; {CHANGE}",
    ),
    (
        {"backup_recipients": ["age1x"]},
        f"backup_recipients: 'age1x': is not whole: an age key has a checksum; {CHANGE}",
    ),
    (
        {"backup_folder": "disk"},
        f"backup_folder: 'disk': must be an absolute path of letters, digits, '._-'; {CHANGE}",
    ),
    (
        {"backup_folder": f"{STATE}/backups"},
        f"backup_folder: '{STATE}/backups': must not be below {STATE}, but for {BACKUPS}; {CHANGE}",
    ),
    (
        {"backup_folder": "/a/../b"},
        f"backup_folder: '/a/../b': must be an absolute path of letters, digits, '._-'; {CHANGE}",
    ),
    # limits
    ({"public_port": 0}, f"public_port: 0: Input should be greater than or equal to 1; {CHANGE}"),
    (
        {"public_port": 65536},
        f"public_port: 65536: Input should be less than or equal to 65535; {CHANGE}",
    ),
    (
        {"session_memory_mb": 128},
        f"session_memory_mb: 128: Input should be greater than or equal to 256; {CHANGE}",
    ),
    ({"session_cpus": 0}, f"session_cpus: 0: Input should be greater than 0; {CHANGE}"),
    (
        {"debug": "perhaps"},
        "debug: 'perhaps': Input should be a valid boolean, unable to interpret input; " + CHANGE,
    ),
]


def lines_for(data: dict[str, Any]) -> list[str]:
    with pytest.raises(Problems) as caught:
        load(data)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(("given", "line"), BAD, ids=lambda value: str(value)[:60])
def test_bad_input_is_one_line(given: dict[str, Any], line: str) -> None:
    assert lines_for(DEFAULTS | given) == [line]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("network_bridge", "br-sixteen-chars"),
        ("network_name", "-x"),
        ("database_name", "Robert'); DROP"),
        ("database_user", ""),
        ("service_admins", []),
        ("images_epoch", 0),
        ("session_pids", 1),
        ("activity_seconds", 0),
        ("base_image", "Registry/x"),
        ("notebook_image", "x:"),
        ("notebook_image", "x@sha256:12"),
    ],
)
def test_a_value_out_of_bounds_is_one_line_that_names_setting_value_and_home(
    setting: str, value: object
) -> None:
    (line,) = lines_for(DEFAULTS | {setting: value})
    assert line.startswith(f"{setting}: {value!r}: ")
    assert line.endswith(f"; {CHANGE}")


def test_a_bad_value_in_a_list_of_one_is_one_line() -> None:
    (line,) = lines_for(DEFAULTS | {"service_admins": ["a;b"]})
    assert line.startswith("service_admins: 'a;b': ")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        # names of the hub's own services
        ("service_admins", ["culler"]),
        ("service_admins", ["routes"]),
        # characters that end a Content-Security-Policy's source, or a shell's word
        ("access_control_origins", ["https://a b"]),
        ("access_control_origins", ["https://a;script-src"]),
        ("access_control_origins", ["https://a,b"]),
        ("public_url", "https://a b"),
        ("public_url", "https://hub.example.org?"),
        ("debian_mirror", "http://x/debian\nfoo"),
        ("pypi_index", "https://x/';reboot;'"),
        # Postgres has its own of these names
        ("database_name", "postgres"),
        ("database_user", "postgres"),
    ],
)
def test_what_hub_shell_or_database_cannot_take_is_refused(setting: str, value: object) -> None:
    (line,) = lines_for(DEFAULTS | {setting: value})
    assert line.startswith(f"{setting}: ")


def test_a_broken_ipv6_address_in_a_url_is_told_what_is_allowed() -> None:
    (line,) = lines_for(DEFAULTS | {"public_url": "https://[::1"})
    assert URL in line or "must be https://HOST[:PORT]" in line


def test_intermediate_certificates_without_a_certificate_are_refused() -> None:
    (line,) = lines_for(DEFAULTS | {"tls_ca_file": __file__})
    assert "tls_certificate_file" in line


def test_all_that_is_wrong_is_said_at_once() -> None:
    wrong = lines_for(DEFAULTS | {"hub_pi": "x", "public_port": 0, "pypi_index": "x"})
    assert [line.partition(":")[0] for line in wrong] == ["public_port", "pypi_index", "hub_pi"]


def test_all_that_does_not_go_together_is_said_at_once() -> None:
    changes = {"hub_ip": "10.0.0.1", "session_home_mb": 2048, "cull_idle_seconds": 60}
    wrong = lines_for(DEFAULTS | changes)
    assert [line.partition(":")[0] for line in wrong] == [
        "hub_ip",
        "session_home_mb",
        "cull_idle_seconds",
    ]


def test_a_setting_without_a_value_is_one_line() -> None:
    without = {k: v for k, v in DEFAULTS.items() if k != "debug"}
    assert lines_for(without) == ["debug: not set; set it in group_data/all.py"]


def test_connection_data_and_arguments_of_pyinfra_are_not_settings() -> None:
    connection = {"ssh_user": "admin", "ssh_port": 2222, "_sudo": True}
    assert load(DEFAULTS | connection) == load(DEFAULTS)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"base_url": "/jupyter"}, "/jupyter/"),
        ({"base_url": "/jupyter/"}, "/jupyter/"),
        ({"base_url": "/"}, "/"),
        ({"public_url": "https://hub.example.org/"}, "https://hub.example.org"),
        ({"pypi_index": "https://x/simple/"}, "https://x/simple"),
        ({"notebook_image": "jupyter/base-notebook"}, "jupyter/base-notebook"),
    ],
)
def test_a_value_is_kept_in_one_form(given: dict[str, str], kept: str) -> None:
    (name,) = given
    assert getattr(settings(**given), name) == kept


def test_everything_can_be_switched_on_at_once() -> None:
    assert settings(**EVERYTHING).debug


@pytest.mark.parametrize("url", ["https://hub.example.org:8443", "https://HUB.example.org"])
def test_the_public_host_is_the_name_in_the_url(url: str) -> None:
    assert settings(public_url=url).public_host == "hub.example.org"


def test_every_setting_has_a_default_and_no_default_is_for_nothing() -> None:
    assert list(DEFAULTS) == list(Settings.model_fields)


def test_every_default_has_a_comment() -> None:
    lines = ALL.read_text().splitlines()
    bare = [
        node.targets[0].id
        for node in ast.parse(ALL.read_text()).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and "  # " not in lines[node.lineno - 1]
    ]
    assert bare == []


def test_every_default_holds_no_secret() -> None:
    assert not [name for name in DEFAULTS if "token" in name or "password" in name]


def test_the_settings_reference_is_current() -> None:
    assert REFERENCE.read_text() == reference(ALL.read_text()), (
        "docs/settings.md is stale: python -m hubhost.settings_reference"
    )


def test_the_settings_reference_has_every_setting_with_its_limits() -> None:
    page = reference(ALL.read_text())
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert list(rows) == list(Settings.model_fields)
    assert "whole number ≥ 1 ≤ 65535" in rows["public_port"]
    assert "IPv4 address, or `None`" in rows["publish_hub"]
    assert "list of: file" in rows["extra_ca_certificates"]
    assert "[ACCESS_CONTROL_ORIGINS]" in rows["access_control_origins"]


def test_a_misspelt_group_file_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "group_data"
    folder.mkdir()
    for name in ("all.py", "hubs.py", "hubbs.py"):
        (folder / name).touch()
    (problem,) = unknown_groups(folder, {"all", "hubs"})
    assert str(problem) == (
        "group_data/hubbs.py: the inventory has no group 'hubbs'; rename it to one of: all, hubs"
    )
