"""Which secrets are made anew, and the script that discards one."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from hubhost import rotation
from hubhost.errors import Problems
from hubhost.rotation import Rotation, discard, rotations
from hubhost.secrets import ALL_SECRETS
from tests.unit.core.sample import settings

SERVICES = {"service_admins": ["lms", "lms.test"]}


def test_all_are_all_that_are_made_on_the_host(tmp_path: Path) -> None:
    names = [secret.name for secret in ALL_SECRETS]
    assert [r.name for r in rotations("all", "", settings())] == [*names, "tls"]
    given = {"tls_key_file": str(tmp_path / "key"), "tls_certificate_file": str(tmp_path / "crt")}
    for name in ("key", "crt"):
        (tmp_path / name).write_text("")
    assert [r.name for r in rotations("all", "", settings(**given))] == names
    with pytest.raises(Problems, match=r"that of tls_certificate_file; put a renewed one"):
        rotations("tls", "", settings(**given))
    with pytest.raises(Problems, match=r"that of tls_managed_on_host; renew it on the host"):
        rotations("tls", "", settings(tls_managed_on_host=True))


def test_every_rotation_says_what_it_costs() -> None:
    for one in rotations("all", "", settings()):
        assert "sessions go on" in one.cost or "kernels go on" in one.cost
        assert str(one) == f"{one.name}: {one.cost}"


@pytest.mark.parametrize(
    ("names", "service", "line"),
    [
        ("", "", "SECRET: not set; make rotate SECRET=name, one or more of database_password"),
        ("nothing", "", "SECRET: there is no 'nothing'; name one or more of database_password"),
        ("proxy_token", "lms", "SERVICE: is for SECRET=service_tokens alone; make rotate"),
        ("service_tokens", "lsm", "SERVICE: there is no 'lsm'; name one of service_admins: lms"),
    ],
)
def test_what_cannot_be_is_one_line(names: str, service: str, line: str) -> None:
    with pytest.raises(Problems) as caught:
        rotations(names, service, settings(**SERVICES))
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def run(one: Rotation, folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(rotation, "SECRETS", folder)
    subprocess.run(["sh", "-euc", "\n".join(discard(one))], check=True)


def test_a_discarded_secret_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("proxy_token", "cookie_secret"):
        (tmp_path / name).write_text("old")
    (one,) = rotations("proxy_token", "", settings())
    run(one, tmp_path, monkeypatch)
    assert [path.name for path in tmp_path.iterdir()] == ["cookie_secret"]
    run(one, tmp_path, monkeypatch)  # safe to repeat


@pytest.mark.parametrize(
    ("before", "after"),
    [("lms:1;lms.test:2", "lms.test:2"), ("lms.test:2;lms:1", "lms.test:2"), ("lms:1", "")],
)
def test_one_services_token_goes_and_the_others_stay(
    before: str, after: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "service_tokens").write_text(before)
    (one,) = rotations("service_tokens", "lms", settings(**SERVICES))
    assert "of lms stops working" in str(one)
    run(one, tmp_path, monkeypatch)
    assert (tmp_path / "service_tokens").read_text() == after
