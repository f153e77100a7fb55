"""Which hosts, and how to reach them.

Without hosts of your own it is the lab host of `make demo`. The variable LAB names a lab host, or
several with commas between them, whatever stands here: that is how the demo and the tests never
reach your hosts.
"""

import json
import os
from pathlib import Path
from typing import Any

from hubhost.connection import low_latency

FAST = {"ssh_paramiko_connect_kwargs": {"transport_factory": low_latency, "banner_timeout": 60}}


def lab(name: str) -> tuple[str, dict[str, Any]]:
    """A lab host as the lab wrote it down."""
    path = Path(__file__).resolve().parent / ".lab" / name / "host.json"
    if not path.exists():
        raise SystemExit(f"no lab called {name}: run make demo, or name a host in inventory.py")
    host = json.loads(path.read_text())
    ssh = host["ssh"]
    connection = {
        "ssh_hostname": ssh["host"],
        "ssh_port": ssh["port"],
        "ssh_user": ssh["user"],
        "ssh_key": ssh["key"],
        "ssh_known_hosts_file": ssh["known_hosts"],
        "ssh_strict_host_key_checking": "yes",
        "ssh_config_file": os.devnull,  # nothing of the person's own ssh settings
        **FAST,
        "ssh_connect_retries": 2,
    }
    settings = {
        "public_url": f"https://{host['public_host']}:{host['public_port']}",
        "extra_ca_certificates": host["extra_ca_certificates"],
        "notebook_profile": "slim",
    }
    if host.get("patience", 1) > 1:  # an emulated machine
        settings["session_start_timeout_seconds"] = 60 * host["patience"]
    if name in ("demo", "vm"):
        settings["access_control_origins"] = ["http://localhost:8800"]  # examples/embed
    own = path.with_name("settings.json")  # what a test, or you, want otherwise for this lab
    if own.exists():
        settings |= json.loads(own.read_text())
    return host["name"], connection | settings


# Your hosts, each with its connection and whatever settings of group_data/all.py differ for it:
hubs: list[tuple[str, dict[str, Any]]] = [
    # (
    #     "hub.example.org",
    #     {
    #         "ssh_user": "admin",
    #         "ssh_key": "~/.ssh/id_ed25519",
    #         "ssh_strict_host_key_checking": "yes",
    #         "_sudo": True,
    #         "public_url": "https://hub.example.org",
    #         "public_port": 443,
    #         **FAST,
    #     },
    # ),
]

if "LAB" in os.environ or not hubs:
    hubs = [lab(name) for name in os.environ.get("LAB", "demo").split(",")]
