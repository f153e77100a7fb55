"""What the filter accepts from the installer, and what it says when it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from docker_filter.__main__ import main
from docker_filter.policy import ConfigError, Policy, load_seccomp

from tests.unit.images.samples import FILTER_POLICY


def load(folder: Path, **changes: Any) -> Policy:
    file = folder / "config.json"
    file.write_text(json.dumps({**FILTER_POLICY, **changes}))
    return Policy.load(file)


def test_the_documented_example_is_accepted(tmp_path: Path) -> None:
    assert load(tmp_path).memory_mb == FILTER_POLICY["memory_mb"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"memory": 1}, "memory: Extra inputs"),
        ({"images": []}, "images"),
        ({"name_prefix": ""}, "name_prefix"),
        ({"network": "--host"}, "network"),
        ({"runtime": None}, "runtime"),
        ({"resolv_conf": "resolv.conf"}, "resolv_conf"),
        ({"resolv_conf": "/etc:/"}, "resolv_conf"),
        ({"hosts": {"x": "evil"}}, "hosts.x"),
        ({"hosts": {"x y": "10.0.0.1"}}, "hosts.x y"),
        ({"max_sessions": 0}, "max_sessions"),
        ({"cpus": 0}, "cpus"),
        ({"pids": -1}, "pids"),
        ({"hub_uid": 0}, "hub_uid"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **changes)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("{", "not JSON"),
        ("{}", "not a seccomp profile"),
        ("[]", "not a seccomp profile"),
        ('{"defaultAction": "SCMP_ACT_ALLOW"}', "not a seccomp profile"),
    ],
)
def test_a_profile_that_confines_nobody_is_refused(
    tmp_path: Path, content: str | None, said: str
) -> None:
    file = tmp_path / "seccomp.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=said):
        load_seccomp(file)


def test_a_profile_is_handed_on_as_it_is(tmp_path: Path) -> None:
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"]}]}
    (tmp_path / "seccomp.json").write_text(json.dumps(profile, indent=2))
    assert json.loads(load_seccomp(tmp_path / "seccomp.json")) == profile


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json: No such file"):
        Policy.load(tmp_path / "config.json")


@pytest.mark.parametrize("arguments", [[], ["health", "x"], ["shell"]])
def test_an_unknown_command_is_an_error(arguments: list[str]) -> None:
    assert main(arguments) == 2
