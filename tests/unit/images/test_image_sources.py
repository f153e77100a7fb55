"""What is true of every image's sources, read as text."""

import json
import re
import shlex
from pathlib import Path

import pytest

IMAGES = Path(__file__).parents[3] / "images"
BUILT = ("database", "proxy", "filter", "hub", "notebook")
FETCH = (
    "RUN --mount=type=bind,source=.build,target=/run/build --mount=type=tmpfs,target=/tmp"
    " . /run/build/env && "
)
# What does not belong to an image's context, see images/README.md.
OUTSIDE = re.compile(r"README\.md|requirements.*\.in|Dockerfile")


def instructions(image: str) -> list[str]:
    """The Dockerfile's instructions, each on one line, without comments."""
    text = (IMAGES / image / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return joined.splitlines()


@pytest.mark.parametrize("image", BUILT)
def test_it_builds_with_docker_20_10s_own_frontend(image: str) -> None:
    text = (IMAGES / image / "Dockerfile").read_text()
    assert not re.search(r"^#\s*syntax", text, re.MULTILINE)
    assert "<<" not in text
    assert instructions(image)[:1] == ["ARG BASE"]
    stages = {line.split()[3] for line in instructions(image) if re.match(r"FROM .* AS ", line)}
    bases = {line.split()[1] for line in instructions(image) if line.startswith("FROM ")}
    assert bases <= {"${BASE}", *stages}, "images start from BASE only"


@pytest.mark.parametrize("image", BUILT)
def test_whatever_fetches_takes_the_mirrors_and_certificates_of_the_build(image: str) -> None:
    fetching = [
        line
        for line in instructions(image)
        if re.search(r"apt-get (update|install)|pip\S* (--python \S+ )?install|npm ci", line)
    ]
    assert fetching
    assert [line for line in fetching if not line.startswith(FETCH)] == []


@pytest.mark.parametrize("image", BUILT)
def test_it_runs_as_a_user(image: str) -> None:
    users = [line.split()[1] for line in instructions(image) if line.startswith("USER ")]
    own = {
        "database": "65603:65600",
        "proxy": "65604:65600",
        "hub": "65602:65600",
        "filter": "65605:65600",
    }
    assert users[-1] == own.get(image, "1000")


@pytest.mark.parametrize("image", BUILT)
def test_what_is_copied_exists_and_what_exists_is_copied(image: str) -> None:
    """An uncopied file would change the image's tag and nothing else."""
    sources = {
        source.rstrip("/")
        for line in instructions(image)
        if line.startswith("COPY ") and "--from" not in line
        for source in shlex.split(line)[1:-1]
    }
    assert [source for source in sources if not (IMAGES / image / source).exists()] == []
    copied = {source.partition("/")[0] for source in sources}
    existing = {path.name for path in (IMAGES / image).iterdir() if not OUTSIDE.match(path.name)}
    assert copied == {name for name in existing if not name.startswith((".", "__"))}


@pytest.mark.parametrize("lock", sorted(IMAGES.glob("*/requirements*.txt")), ids=str)
def test_a_python_lock_is_hashed_and_names_no_index(lock: Path) -> None:
    text = lock.read_text()
    packages = re.findall(
        r"^[a-z0-9-]+(?:\[.*\])?==\S+ \\\n((?:    --hash=sha256:.*\n)+)", text, re.MULTILINE
    )
    assert len(packages) == len(re.findall(r"^[^ #\n]", text, re.MULTILINE)) > 2
    assert not re.search(r"://|--(extra-)?index|--find-links", text)
    # 0.75 s of every start, for a format that nothing here validates.
    assert not re.search(r"^(rfc3987-syntax|lark)==", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("folder", "package"),
    [("proxy", "configurable-http-proxy"), ("notebook/extension", "typescript")],
)
def test_an_npm_lock_is_hashed_and_names_no_registry(folder: str, package: str) -> None:
    lock = json.loads((IMAGES / folder / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert f"node_modules/{package}" in packages
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert not any("resolved" in entry for entry in packages.values())


PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


def pinned(image: str, package: str) -> str:
    text = (IMAGES / image / "requirements.txt").read_text()
    (version,) = re.findall(rf"^{package}==(\S+)", text, re.MULTILINE)
    return str(version)


def test_hub_and_session_speak_the_same_version() -> None:
    assert pinned("hub", "jupyterhub") == pinned("notebook", "jupyterhub") == "6.1.1"


@pytest.mark.parametrize("asked", sorted(IMAGES.glob("*/requirements*.in")), ids=str)
def test_the_lock_holds_what_is_asked_for(asked: Path) -> None:
    locked = dict(PINNED.findall(asked.with_suffix(".txt").read_text()))
    for name, version in re.findall(r"^([a-z-]+)==(\S+)$", asked.read_text(), re.MULTILINE):
        assert locked[name] == version


def test_what_the_notebooks_lists_share_has_one_version() -> None:
    locks = sorted((IMAGES / "notebook").glob("requirements*.txt"))
    found = {pair for lock in locks for pair in PINNED.findall(lock.read_text())}
    assert len(found) == len({name for name, _ in found})
    assert len(locks) == 4


def test_the_notebook_has_the_scientific_set() -> None:
    locked = dict(PINNED.findall((IMAGES / "notebook" / "requirements-science.txt").read_text()))
    assert locked.keys() >= {
        *("numpy", "pandas", "matplotlib", "scipy", "sympy", "networkx", "scikit-learn"),
        *("ipympl", "ipywidgets"),
    }


# --- The notebook's stages ------------------------------------------------------------------
def stages() -> dict[str, list[str]]:
    """The instructions of each stage of the notebook image, by its name; FROM included."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in instructions("notebook"):
        if line.startswith("FROM "):
            name = line.split()[-1]
        found.setdefault(name, []).append(line)
    return found


def test_full_is_slim_and_more() -> None:
    assert stages()["full"][0] == "FROM slim AS full"
    assert list(stages())[-1] == "full", "a build without a target builds it"


def test_an_edited_kernel_builds_little() -> None:
    """What depends on kernels/ comes after all that is fetched, and runs nothing in the image."""
    full = stages()["full"]
    (copied,) = [index for index, line in enumerate(full) if "--from=kernels" in line]
    assert not [line for line in full[copied:] if line.startswith("RUN ")]
    for stage in ("native", "jshell", "kernels"):
        assert not [line for line in stages()[stage] if line.startswith(FETCH)]
    others = stages().keys() - {"native", "jshell", "kernels"}
    assert not [line for stage in others for line in stages()[stage] if "COPY kernels/" in line]


def test_what_the_image_is_made_of_is_recorded_in_it() -> None:
    for stage in ("python", "full"):
        (line,) = [line for line in stages()[stage] if "apt-get install" in line]
        assert "dpkg-query -W > /usr/share/integrable-jupyterhub/packages.txt" in line


@pytest.mark.parametrize("image", BUILT)
def test_sources_are_built_without_fetching_what_builds_them(image: str) -> None:
    """pip's isolation would fetch build tools that no lock names."""
    for line in instructions(image):
        if re.search(r"pip\S* install|\$pip ", line):
            assert "--require-hashes" in line
            for install in re.findall(r"(?:pip install|\$pip) [^&]* -r ", line):
                assert "--only-binary :all:" in install or "--no-build-isolation" in install


def test_the_conventions_of_the_jupyter_docker_stacks_hold() -> None:
    environment = " ".join(line for line in stages()["slim"] if line.startswith("ENV "))
    for setting in ("NB_USER=jovyan", "NB_UID=1000", "NB_GID=100", "JUPYTER_PORT=8888"):
        assert setting in environment
    assert "USER=jovyan LOGNAME=jovyan" in environment, "a session's user is in no list"
    assert 'ENTRYPOINT ["tini", "-g", "--"]' in stages()["slim"]
    assert 'CMD ["start-singleuser.sh"]' in stages()["slim"]
    assert [line for line in stages()["slim"] if line.startswith("HEALTHCHECK ")]


def test_the_base_is_small_and_keeps_its_licences() -> None:
    recipe = json.loads((IMAGES / "base" / "recipe.json").read_text())
    assert (recipe["suite"], recipe["variant"]) == ("trixie", "minbase")
    options = recipe["dpkgopts"]
    excluded = options.index("path-exclude=/usr/share/doc/*")
    assert options.index("path-include=/usr/share/doc/*/copyright") > excluded, (
        "the last match wins"
    )
