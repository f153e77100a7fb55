"""Images: the tag is a hash of all that an image is made from, and of nothing else."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubhost.images import (
    BUILT,
    IMAGES,
    RECIPE,
    BaseImage,
    Image,
    ImageSet,
    PresentImage,
    Shelf,
    build_files,
    first_of,
    mirrors,
    notebook_reference,
    origins,
    to_prune,
)
from tests.unit.core.sample import EVERYTHING, settings


@pytest.fixture
def image(tmp_path: Path) -> Image:
    folder = tmp_path / "hub"
    (folder / "package").mkdir(parents=True)
    (folder / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
    (folder / "start.sh").write_text("#!/bin/sh\n")
    (folder / "start.sh").chmod(0o755)
    (folder / "package" / "module.py").write_text("x = 1\n")
    return Image("hub", folder, "base:1", 1)


def members(context: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(context)) as tar:
        return {member.name: member for member in tar}


def content(context: bytes, path: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(context)) as tar:
        file = tar.extractfile(path)
        assert file
        return file.read()


# --- Tags -----------------------------------------------------------------------------------
def test_a_tag_names_the_image_and_twelve_digits_of_its_hash(image: Image) -> None:
    name, _, tag = image.reference.partition(":")
    assert name == "integrable-jupyterhub-hub"
    assert len(bytes.fromhex(tag)) == 6


def test_the_same_content_in_another_folder_has_the_same_tag(image: Image, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    subprocess.run(["cp", "-r", image.folder, copy], check=True)
    os.utime(copy / "Dockerfile", (0, 0))
    assert replace(image, folder=copy).reference == image.reference


def test_another_base_is_another_tag(image: Image) -> None:
    assert replace(image, base="base:2").reference != image.reference


def test_another_epoch_is_another_tag(image: Image) -> None:
    assert replace(image, epoch=2).reference != image.reference


def test_another_target_is_another_tag(image: Image) -> None:
    assert len({replace(image, target=t).reference for t in (None, "slim", "full")}) == 3


def test_the_profile_is_the_notebooks_target_and_no_other_images() -> None:
    targets = {i.name: i.target for i in ImageSet.of(settings(notebook_profile="slim")).built}
    assert targets == {
        "database": None,
        "proxy": None,
        "filter": None,
        "hub": None,
        "notebook": "slim",
    }
    assert settings().notebook_profile == "full"


def test_an_edited_file_is_another_tag(image: Image) -> None:
    before = image.reference
    (image.folder / "package" / "module.py").write_text("x = 2\n")
    assert image.reference != before


def test_a_new_file_is_another_tag(image: Image) -> None:
    before = image.reference
    (image.folder / "empty").touch()
    assert image.reference != before


def test_a_renamed_file_is_another_tag(image: Image) -> None:
    before = image.reference
    (image.folder / "start.sh").rename(image.folder / "begin.sh")
    assert image.reference != before


def test_content_moved_from_one_file_to_the_next_is_another_tag(image: Image) -> None:
    before = image.reference
    (image.folder / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nx = 1\n")
    (image.folder / "package" / "module.py").write_text("")
    assert image.reference != before


def test_the_executable_bit_is_part_of_the_tag(image: Image) -> None:
    before = image.reference
    (image.folder / "start.sh").chmod(0o644)
    assert image.reference != before


def test_other_permissions_are_not(image: Image) -> None:
    before = image.reference
    (image.folder / "start.sh").chmod(0o700)
    (image.folder / "Dockerfile").chmod(0o600)
    assert image.reference == before


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "requirements.in",
        "package/__pycache__/module.cpython-313.pyc",
        "node_modules/package/index.js",
    ],
)
def test_a_file_for_people_or_a_compiled_one_rebuilds_nothing(image: Image, path: str) -> None:
    before = image.reference
    (image.folder / path).parent.mkdir(exist_ok=True, parents=True)
    (image.folder / path).write_text("x")
    assert image.reference == before
    assert path not in members(image.context({}))


@pytest.mark.parametrize(
    "path",
    [
        ".mypy_cache/3.11/x.json",
        ".ruff_cache/x",
        ".Dockerfile.swp",
    ],
)
def test_caches_of_tools_and_editors_rebuild_nothing(image: Image, path: str) -> None:
    before = image.reference
    (image.folder / path).parent.mkdir(parents=True, exist_ok=True)
    (image.folder / path).write_text("x")
    assert image.reference == before


def test_the_name_of_the_clones_folder_does_not_matter(image: Image, tmp_path: Path) -> None:
    copy = tmp_path / "my_cache" / "hub"
    copy.parent.mkdir()
    subprocess.run(["cp", "-r", image.folder, copy], check=True)
    assert replace(image, folder=copy).reference == image.reference


@pytest.mark.parametrize("epoch", [1, 2])
def test_every_image_stands_on_the_base_of_its_epoch(epoch: int) -> None:
    images = ImageSet.of(settings(images_epoch=epoch))
    assert images.base
    assert images.base.reference == BaseImage.of(RECIPE, epoch).reference
    assert {image.base for image in images.built} == {images.base.reference}
    assert [image.name for image in images.all] == ["base", *BUILT]


def test_an_epoch_later_every_tag_is_another() -> None:
    now, later = (ImageSet.of(settings(images_epoch=epoch)) for epoch in (1, 2))
    assert not {i.reference for i in now.all} & {i.reference for i in later.all}


def test_a_registrys_base_is_used_as_it_is() -> None:
    images = ImageSet.of(settings(base_image="debian:trixie-slim"))
    assert images.base is None
    assert {image.base for image in images.built} == {"debian:trixie-slim"}
    assert "base" not in {image.name for image in images.all}


@pytest.mark.parametrize(
    "changes",
    [
        {"debian_mirror": "http://mirror.example.org/debian"},
        {"debian_security_mirror": "http://mirror.example.org/debian-security"},
        {"pypi_index": "https://mirror.example.org/simple"},
        {"npm_registry": "https://mirror.example.org/npm"},
        {"extra_ca_certificates": [__file__]},
        {"session_memory_mb": 2048, "debug": True, "hub_ip": "172.27.0.9"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_no_mirror_certificate_or_other_setting_changes_a_tag(changes: dict[str, Any]) -> None:
    plain, changed = ImageSet.of(settings()), ImageSet.of(settings(**changes))
    assert [i.reference for i in changed.all] == [i.reference for i in plain.all]


@pytest.mark.parametrize("name", ["suite", "variant", "include", "dpkgopts", "aptopts"])
def test_another_recipe_is_another_base(name: str, tmp_path: Path) -> None:
    recipe = json.loads(RECIPE.read_text())
    recipe[name] = "forky" if isinstance(recipe[name], str) else [*recipe[name], "x"]
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    changed = BaseImage.of(tmp_path / "recipe.json", 1)
    assert changed.reference != BaseImage.of(RECIPE, 1).reference


def test_the_admins_notebook_image_wins() -> None:
    assert notebook_reference(settings(notebook_image="mine:1")) == "mine:1"
    assert notebook_reference(settings()).startswith("integrable-jupyterhub-notebook:")


# --- Contexts -------------------------------------------------------------------------------
def test_a_context_is_the_same_bytes_every_time(image: Image) -> None:
    before = image.context({"env": b"x"})
    for path in image.folder.rglob("*"):
        os.utime(path, (1, 1))
    assert image.context({"env": b"x"}) == before


def test_a_context_names_nobody_of_this_machine(image: Image) -> None:
    seen = members(image.context({}))
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in seen.values()} == {(0, 0, "", "", 0)}


def test_a_context_holds_the_folder_and_below_build_what_the_steps_source(image: Image) -> None:
    context = image.context({"env": b"set -eu\n"})
    assert {name: oct(m.mode) for name, m in members(context).items()} == {
        "Dockerfile": "0o644",
        "package/module.py": "0o644",
        "start.sh": "0o755",
        ".build/env": "0o644",
    }
    assert content(context, ".build/env") == b"set -eu\n"
    assert content(context, "package/module.py") == b"x = 1\n"


@pytest.mark.parametrize("name", BUILT)
def test_every_step_that_fetches_sources_the_build_files(name: str) -> None:
    dockerfile = (IMAGES / name / "Dockerfile").read_text()
    steps = re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    fetching = [s for s in steps if "apt-get" in s or "pip install" in s or "npm ci" in s]
    assert fetching
    assert not [step for step in fetching if ". /run/build/env" not in step]


# --- What build steps are told --------------------------------------------------------------
@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "company.crt"
    path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")
    return path


@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_the_environment_of_build_steps_is_valid_shell(changes: dict[str, Any]) -> None:
    env = build_files(settings(**changes))["env"]
    subprocess.run(["sh", "-n"], input=env, check=True)


def test_build_steps_use_the_mirrors() -> None:
    files = build_files(
        settings(
            debian_mirror="http://a.example.org/debian",
            debian_security_mirror="http://b.example.org/security",
            pypi_index="https://c.example.org/simple",
            npm_registry="https://d.example.org",
        )
    )
    assert files["sources.list"].decode().splitlines() == [
        "deb http://a.example.org/debian trixie main",
        "deb http://a.example.org/debian trixie-updates main",
        "deb http://b.example.org/security trixie-security main",
    ]
    script = files["env"] + b'echo "$PIP_INDEX_URL $NPM_CONFIG_REGISTRY"'
    done = subprocess.run(["sh"], input=script, capture_output=True, check=True)
    assert done.stdout.decode() == "https://c.example.org/simple https://d.example.org\n"


def test_without_extra_certificates_the_builds_own_are_used() -> None:
    files = build_files(settings())
    assert files["ca.pem"] == b"\n"
    assert b"ca-bundle" not in files["env"] + files["apt.conf"]


def test_extra_certificates_reach_apt_pip_and_npm(certificate: Path) -> None:
    files = build_files(settings(extra_ca_certificates=[str(certificate)]))
    assert files["ca.pem"].decode().strip() == certificate.read_text()
    for name in (b"PIP_CERT=", b"NODE_EXTRA_CA_CERTS="):
        assert name + b"/tmp/ca-bundle.pem" in files["env"]
    assert b'Acquire::https::CAInfo "/tmp/ca-bundle.pem";' in files["apt.conf"]


def test_several_certificates_stay_apart(certificate: Path) -> None:
    files = build_files(settings(extra_ca_certificates=[str(certificate)] * 2))
    assert files["ca.pem"].count(b"-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----") == 1


def test_the_base_image_is_made_from_the_mirror_but_names_debians_archive() -> None:
    arguments = BaseImage.of(RECIPE, 1).mmdebstrap("http://m/debian", "http://m/security")
    sources = [a for a in arguments if a.startswith("deb ")]
    assert sources == [
        "deb http://m/debian trixie main",
        "deb http://m/debian trixie-updates main",
        "deb http://m/security trixie-security main",
    ]
    (hook,) = [a for a in arguments if a.startswith("--customize-hook=")]
    assert "http://deb.debian.org/debian trixie main" in hook
    assert "http://m/" not in hook


def test_the_hook_of_the_base_image_writes_a_sources_list(tmp_path: Path) -> None:
    (tmp_path / "etc" / "apt").mkdir(parents=True)
    arguments = BaseImage.of(RECIPE, 1).mmdebstrap("http://m/debian", "http://m/security")
    (hook,) = [a.partition("=")[2] for a in arguments if a.startswith("--customize-hook=")]
    subprocess.run(["sh", "-c", hook, "hook", str(tmp_path)], check=True)
    lines = (tmp_path / "etc" / "apt" / "sources.list").read_text().splitlines()
    assert [line.split()[2] for line in lines] == ["trixie", "trixie-updates", "trixie-security"]


def test_the_mirrors_to_try_have_host_and_port() -> None:
    assert mirrors(settings(npm_registry="https://npm.example.org:4873/x")) == (
        ("debian_mirror", "deb.debian.org", 80),
        ("debian_security_mirror", "deb.debian.org", 80),
        ("pypi_index", "pypi.org", 443),
        ("npm_registry", "npm.example.org", 4873),
    )


# --- Pruning --------------------------------------------------------------------------------
def present(name: str, tag: int, used: bool) -> PresentImage:
    return PresentImage(f"{name}:{tag}", used)


IMAGES_ON_A_HOST = st.lists(
    st.builds(present, st.sampled_from(BUILT), st.integers(0, 9), st.booleans()),
    unique_by=lambda image: image.reference,
)


@given(IMAGES_ON_A_HOST, st.sets(st.integers(0, 9)))
def test_pruning_leaves_what_is_kept_and_what_is_used_and_nothing_else(
    on_host: list[PresentImage], tags: set[int]
) -> None:
    kept = {f"{name}:{tag}" for name in BUILT for tag in tags}
    pruned = set(to_prune(on_host, kept))
    for image in on_host:
        assert (image.reference in pruned) == (image.reference not in kept and not image.used)
    assert pruned <= {image.reference for image in on_host}


# --- Several hosts ----------------------------------------------------------------------------
def shelf(host: str, wanted: str, missing: str = "", architecture: str = "x86_64") -> Shelf:
    return Shelf(host, architecture, frozenset(wanted), frozenset(missing))


def test_an_image_comes_from_who_has_it_else_from_the_first_that_lacks_it() -> None:
    shelves = [
        shelf("a", "xyz", "xy"),
        shelf("b", "xyz", "y"),
        shelf("c", "xy", "xy"),
        shelf("d", "z", ""),
        shelf("e", "xy", "", "aarch64"),
    ]
    found = {"x": ("b", "a", "c"), "y": ("a", "b", "c")}
    assert origins("a", shelves) == found
    assert origins("b", shelves) == {"y": found["y"]}
    assert origins("c", shelves) == found
    assert origins("d", shelves) == {}
    assert origins("a", []) == {}


def test_who_failed_is_passed_over() -> None:
    assert first_of(("a", "b"), {"a"}) == "b"
    assert first_of(("a",), {"a"}) is None
