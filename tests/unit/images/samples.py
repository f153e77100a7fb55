"""A configuration and secrets such as the installer writes them."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

CONFIG: dict[str, Any] = {
    "public_url": "https://127.0.0.1:8000",
    "base_url": "/",
    "hub_ip": "172.27.0.2",
    "hub_port": 8081,
    "proxy_api_url": "http://172.27.0.4:8001",
    "database": {"host": "172.27.0.3", "port": 5432, "name": "jupyterhub", "user": "jupyterhub"},
    "access_control_origins": [],
    "debug": False,
    "session": {
        "image": "integrable-jupyterhub-notebook:0123456789ab",
        "network": "jupyterhub_network",
        "name_prefix": "jupyterhub-session-",
        "memory_mb": 1024,
        "cpus": 1.5,
        "start_timeout_seconds": 60,
    },
    "admission": {"starts": 8, "waiting": 100, "headroom_mb": 512},
    "cull": {"idle_seconds": 1800, "max_age_seconds": 28800, "every_seconds": 60},
    "activity_seconds": 60,
}

FILTER_POLICY: dict[str, Any] = {
    "hub_uid": 65602,
    "images": ["integrable-jupyterhub-notebook:0123456789ab", "registry.example.org/r:1"],
    "name_prefix": "jupyterhub-session-",
    "network": "jupyterhub_network",
    "runtime": "integrable-jupyterhub-session",
    "resolv_conf": "/etc/integrable-jupyterhub/session/resolv.conf",
    "hosts": {"jupyterhub_hub": "172.27.0.2", "jupyterhub_proxy": "172.27.0.4"},
    "max_sessions": 3,
    "memory_mb": 1024,
    "home_mb": 256,
    "cpus": 1.5,
    "pids": 256,
}

SECRETS = {
    "database_password": "p@ss:w/rd%",
    "proxy_token": "e" * 64,
    "cookie_secret": "0f" * 32,
    "service_tokens": f"lms:{'a' * 64};portal:{'b' * 64}",
    "culler_token": "c" * 64,
    "routes_token": "d" * 64,
}


def write_secrets(folder: Path, **changes: str) -> Path:
    """One file a secret, with the line end that editors leave."""
    for name, text in {**SECRETS, **changes}.items():
        (folder / name).write_text(text + "\n")
    return folder


P = ParamSpec("P")


def in_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run
