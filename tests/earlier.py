"""Releases that this one replaces: its own checkout, with other versions in its images."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.deployment import Deployment
from tests.lab.host import ROOT

PARTS = (
    "pyproject.toml",
    "deploy.py",
    "inventory.py",
    "group_data",
    "hubhost",
    "roles",
    "ops",
    "files",
    "images",
)

JUPYTERHUB = """\
jupyterhub==5.4.6 --hash=sha256:1648d3b6fe57efaf206ff27376dea52901877faa50a86c3dec13ccc08d9597e8
"""
# The hub's package as it would have been for JupyterHub 5, which lacks these names.
HUB = """\
FROM {image}
USER root
COPY *.whl /tmp/
WORKDIR /opt/hub/lib/python3.13/site-packages
RUN cp jupyterhub/slugs.py /tmp && rm -rf jupyterhub jupyterhub-*.dist-info && mkdir /tmp/wheel \\
 && python3 -m zipfile -e /tmp/*.whl /tmp/wheel && cp -r /tmp/wheel/jupyterhub* . \\
 && cp -r jupyterhub-*.data/data/share /opt/hub && cp /tmp/slugs.py jupyterhub/ \\
 && echo 'class SpawnException(web.HTTPError): pass' >>jupyterhub/spawner.py \\
 && sed -i 's/start:servers/servers/' integrable_jupyterhub/ending.py
WORKDIR /tmp
USER 65602:65600
"""
# Debian 12's package on Debian 13.
POSTGRESQL = ("17", "15")
TWO_SUITES = """\
 && sed 'p; s/trixie/bookworm/' /run/build/sources.list >/tmp/both.list \\
 && echo 'Dir::Etc::SourceList "/tmp/both.list";' >/tmp/apt.conf \\
 && cat /run/build/apt.conf /tmp/apt.conf >/tmp/both.conf && export APT_CONFIG=/tmp/both.conf \\
 && apt-get update -q"""


def checkout(of: Deployment, folder: Path) -> Deployment:
    """A copy of this checkout, for the same host."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            leftovers = shutil.ignore_patterns("__pycache__", "node_modules")
            shutil.copytree(source, folder / part, ignore=leftovers)
        else:
            shutil.copy(source, folder / part)
    (folder / ".lab").symlink_to(ROOT / ".lab")
    return Deployment(of.host, folder)


def with_jupyterhub_5(release: Deployment, image: str) -> None:
    """The hub's image, made of this checkout's (`image`), with another JupyterHub in it."""
    folder = another_hub(release, HUB.format(image=image))
    (folder / "requirements.txt").write_text(JUPYTERHUB)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--require-hashes", "--dest", folder, "-r", folder / "requirements.txt"),
        ],
        check=True,
    )


def another_hub(release: Deployment, dockerfile: str) -> Path:
    """Nothing is in the folder of the hub's image but that, and what tells its version; returns
    the folder."""
    folder = release.checkout / "images" / "hub"
    requirements = (folder / "requirements.txt").read_text()
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "requirements.txt").write_text(requirements)
    (folder / "Dockerfile").write_text(dockerfile)
    return folder


def with_postgresql_15(release: Deployment) -> None:
    """The database's image, with Debian 12's major version."""
    path = release.checkout / "images" / "database" / "Dockerfile"
    now, then = POSTGRESQL
    text = path.read_text()
    assert f"postgresql-{now}" in text
    text = text.replace(f"postgresql-{now}", f"postgresql-{then}").replace(f"/{now}/", f"/{then}/")
    path.write_text(text.replace(" && apt-get update -q", TWO_SUITES))


def with_a_hub_that_dies(release: Deployment, image: str) -> None:
    """The hub's image, made of this checkout's: it upgrades the schema, and never serves."""
    another_hub(
        release,
        f"""\
FROM {image}
USER root
RUN sed -i "s/await super().start()/__import__('os')._exit(3)/" \\
    /opt/hub/lib/python3.13/site-packages/integrable_jupyterhub/app.py
USER 65602:65600
""",
    )
