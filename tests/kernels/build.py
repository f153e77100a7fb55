"""Build the notebook image, or one on it, on some Docker engine: `python -m tests.kernels.build`.

The same files, stages and build steps as on a host; the engine must have the base image
(`docker save` on a deployed host, `docker load` here). DOCKER names the engine, see container.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

from hubhost.images import IMAGES, Image, ImageSet, build_files
from hubhost.settings import Settings, load
from tests.kernels.container import DOCKER, docker

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own-image"
LOCAL_CA = Path("/usr/local/share/ca-certificates")
FETCHES = (
    "RUN --mount=type=bind,source=.build,target=/run/build --mount=type=tmpfs,target=/tmp"
    " . /run/build/env && "
)


def settings(profile: Literal["slim", "full"]) -> Settings:
    """The defaults, with the certificates that this machine trusts."""
    defaults: dict[str, object] = {}
    exec((ROOT / "group_data" / "all.py").read_text(), defaults)  # noqa: S102  (our own file)
    values = {k: v for k, v in defaults.items() if not k.startswith("__")}
    certificates = [str(path) for path in sorted(LOCAL_CA.glob("*.crt"))]
    return load(values | {"notebook_profile": profile, "extra_ca_certificates": certificates})


def docker_build(context: bytes, *arguments: str) -> float:
    """Build from a context; return the seconds it took."""
    started = time.monotonic()
    subprocess.run(
        [*DOCKER, "build", "--progress", "plain", *arguments, "-"],
        input=context,
        env=os.environ | {"DOCKER_BUILDKIT": "1"},
        check=True,
    )
    return time.monotonic() - started


def build(profile: Literal["slim", "full"], *options: str) -> str:
    """Build the notebook image if it is missing; return its reference, the same as on a host."""
    chosen = settings(profile)
    image = next(i for i in ImageSet.of(chosen).built if i.folder == IMAGES / "notebook")
    if docker("image", "ls", "--quiet", image.reference):
        return image.reference
    seconds = docker_build(
        image.context(build_files(chosen)),
        *(f"--target={profile}", f"--build-arg=BASE={image.base}", f"--tag={image.reference}"),
        *options,
    )
    print(f"{image.reference} ({profile}): {seconds:.0f} s", flush=True)
    return image.reference


def example_context(notebook: str) -> bytes:
    """The build context of examples/own-image on a notebook image.

    The example's own Dockerfile, word for word, but that each RUN takes this network's mirrors and
    certificates first, as those of the installer do.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "own-image")
        shutil.copytree(EXAMPLE, copy)
        dockerfile = copy / "Dockerfile"
        dockerfile.write_text(re.sub(r"^RUN ", FETCHES, dockerfile.read_text(), flags=re.MULTILINE))
        return Image("own-image", copy, notebook, 1).context(build_files(settings("slim")))


def build_example(notebook: str, reference: str) -> str:
    """Build examples/own-image on a notebook image; return its reference."""
    context = example_context(notebook)
    docker_build(context, f"--build-arg=NOTEBOOK={notebook}", f"--tag={reference}")
    return reference


if __name__ == "__main__":
    for wanted in sys.argv[1:] or ["slim", "full"]:
        assert re.fullmatch("slim|full", wanted)
        build("slim" if wanted == "slim" else "full")
