"""Settings to test with: the real defaults, changed as a test needs it."""

from __future__ import annotations

import runpy
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from hubhost.settings import Settings, load

ROOT = Path(__file__).parents[3]
ALL = ROOT / "group_data" / "all.py"
DEFAULTS = {k: v for k, v in runpy.run_path(str(ALL)).items() if not k.startswith("_")}


def settings(**changes: Any) -> Settings:
    """The defaults of group_data/all.py with some changes, validated as a deployment does."""
    return load(DEFAULTS | changes)


# All that a person may switch on, at once.
EVERYTHING = {
    "public_url": "https://hub.example.org:8443",
    "base_url": "/jupyter/lab",
    "public_bind": "127.0.0.1",
    "public_bind_ipv6": "::1",
    "public_port": 8443,
    "public_sources": ["198.51.100.0/24", "2001:db8::/32"],
    "api_sources": ["198.51.100.7/32", "2001:db8::7/128"],
    "trusted_proxies": ["172.27.0.1"],
    "backends": ["172.27.0.9"],
    "service_outbound": ["hub"],
    "session_outbound": ["198.51.100.0/25:443", "mirror.example.org=198.51.100.200:80,443"],
    "access_control_origins": ["https://lms.example.org", "http://[::1]:3000"],
    "service_admins": ["lms", "grader.v2", "x-1_y"],
    "client_networks": ["10.0.0.0/8", "192.168.0.0/16"],
    "notebook_image": "registry.example.org:5000/jupyter/notebook:1.2@sha256:" + "0f" * 32,
    "session_cpus": 0.5,
    "archive": True,
    "archive_keep_days": 7,
    "archive_max_mb": 100,
    "publish_hub": "127.0.0.1",
    "publish_proxy_api": "127.0.0.1",
    "publish_database": "127.0.0.1",
    "debug": True,
    "base_image": "debian:trixie-slim",
    "debian_mirror": "https://mirror.example.org:8080/debian",
    "extra_ca_certificates": [],
    "allow_untested_os": True,
}


OUTSIDE = IPv4Network("198.51.100.0/24")


@st.composite
def valid_settings(draw: st.DrawFn) -> Settings:
    """Settings that differ in all that the isolation depends on."""
    prefix = draw(st.integers(min_value=8, max_value=26))
    block = draw(st.integers(min_value=0, max_value=2**prefix - 1))
    subnet = IPv4Network((block << (32 - prefix), prefix))
    low, sessions = subnet.subnets()
    # Neither the first address of the subnet nor, with sessions in the lower half, the last.
    if draw(st.booleans()):
        low, sessions = sessions, low
    places = st.integers(min_value=1, max_value=low.num_addresses - 2)
    gateway, hub, database, proxy, backend = draw(
        st.lists(places, min_size=5, max_size=5, unique=True)
    )
    address = st.none() | st.just("127.0.0.1") | st.just("0.0.0.0")
    outside = "198.51.100.0/24" if not subnet.overlaps(OUTSIDE) else "203.0.113.0/24"
    sources = st.sampled_from(["192.0.2.0/24", "2001:db8::/32", "192.0.2.128/25"])
    return settings(
        backends=draw(st.sampled_from([[], [str(low[backend])]])),
        service_outbound=draw(st.lists(st.sampled_from(["hub", "proxy", "database"]), unique=True)),
        session_outbound=draw(st.sampled_from([[], [f"{outside}:80,443"]])),
        public_sources=draw(st.lists(sources, unique=True)),
        network_subnet=str(subnet),
        session_range=str(sessions),
        max_sessions=min(50, sessions.num_addresses),
        network_gateway=str(low[gateway]),
        hub_ip=str(low[hub]),
        database_ip=str(low[database]),
        proxy_ip=str(low[proxy]),
        network_bridge=draw(st.sampled_from(["br-jhub", "b", "jupyter.15chars"])),
        publish_hub=draw(address),
        publish_proxy_api=draw(address),
        publish_database=draw(address),
        public_port=draw(st.integers(min_value=1, max_value=65535)),
    )
