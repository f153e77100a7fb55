"""What the hub accepts from the installer, and what it says when it does not."""

import json
from pathlib import Path
from typing import Any

import pytest
from integrable_jupyterhub.config import ConfigError, HubConfig, Secrets

from tests.unit.images.samples import CONFIG, SECRETS, write_secrets


def load(folder: Path, **changes: Any) -> HubConfig:
    file = folder / "config.json"
    file.write_text(json.dumps({**CONFIG, **changes}))
    return HubConfig.load(file)


def test_the_documented_example_is_accepted(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.session.memory_mb == CONFIG["session"]["memory_mb"]
    assert config.proxy_ip == "172.27.0.4"


@pytest.mark.parametrize("given", ["/jupyter", "/jupyter/", "//jupyter"])
def test_a_base_url_gets_its_slashes(tmp_path: Path, given: str) -> None:
    config = load(tmp_path, base_url=given)
    assert config.base_url == "/jupyter/"
    assert config.hub_api_url == "http://172.27.0.2:8081/jupyter/hub/api"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"memory": 1}, "memory: Extra inputs"),
        ({"base_url": "jupyter"}, "base_url"),
        ({"public_url": "https://hub.example/"}, "public_url"),
        ({"access_control_origins": ["https://a.example; script-src *"]}, "access_control_origins"),
        ({"session": {**CONFIG["session"], "cpus": 0}}, "session.cpus"),
        ({"session": {**CONFIG["session"], "name_prefix": "-x{username}"}}, "session.name_prefix"),
        ({"cull": {"idle_seconds": 60}}, "cull.max_age_seconds"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **changes)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json: No such file"):
        HubConfig.load(tmp_path / "config.json")


def test_the_secrets_are_read_and_not_shown(tmp_path: Path) -> None:
    secrets = Secrets.load(write_secrets(tmp_path))
    assert secrets.service_tokens == {"lms": "a" * 64, "portal": "b" * 64}
    assert secrets.cookie_secret == bytes.fromhex(SECRETS["cookie_secret"])
    assert secrets.all_service_tokens == {"a" * 64, "b" * 64, "c" * 64, "d" * 64}
    assert repr(secrets) == "Secrets()"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("database_password", " \n", "is empty"),
        ("cookie_secret", "not hexadecimal", "not a hexadecimal number"),
        ("service_tokens", "lms:" + "s" * 65, "65 characters"),
        ("service_tokens", "lms:short", "5 characters"),
        ("service_tokens", "secretwithoutname", "name:token"),
        ("service_tokens", "culler:" + "s" * 64, "taken"),
        ("service_tokens", f"lms:{'s' * 64};lms:{'t' * 64}", "taken"),
        ("service_tokens", f"lms:{'s' * 64};portal:{'s' * 64}", "different"),
        ("culler_token", "s" * 100, "100 characters"),
    ],
)
def test_a_wrong_secret_is_named_and_not_shown(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Secrets.load(write_secrets(tmp_path, **{name: content}))
    text = str(caught.value)
    assert name in text
    assert said in text
    assert "sss" not in text
    assert "secretwithoutname" not in text
