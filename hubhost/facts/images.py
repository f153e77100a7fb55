"""Facts of images."""

from __future__ import annotations

from pyinfra.api.facts import FactBase
from typing_extensions import override

from hubhost.facts.base import Lines, quoted
from hubhost.images import NAME_LABEL, PREFIX, PresentImage


class MissingImages(Lines):
    """Which of some images are not on the host; all of them where there is no engine."""

    @override
    def command(self, references: tuple[str, ...]) -> str:
        return f"""
for image in {quoted(references)}; do
  docker image inspect "$image" >/dev/null 2>&1 || echo "$image"
done
true
"""


class OurImages(FactBase[list[PresentImage]]):
    """All tagged images that this project built, and whether a container uses them.

    An image that somebody built on ours has our labels too, but a name of its own.
    """

    default = list

    @override
    def requires_command(self) -> str:
        return "docker"

    @override
    def command(self) -> str:
        return f"""
docker ps -a --format 'used {{{{.Image}}}}'
docker image ls --filter label={NAME_LABEL} --format 'image {{{{.Repository}}}}:{{{{.Tag}}}}'
"""

    @override
    def process(self, output: list[str]) -> list[PresentImage]:

        def of_ours(reference: str) -> bool:
            return reference.startswith(PREFIX) and not reference.endswith(":latest")

        lines = [line.split(" ", 1) for line in output]
        used = {reference for kind, reference in lines if kind == "used"}
        return [
            PresentImage(reference, reference in used)
            for kind, reference in lines
            if kind == "image" and of_ours(reference)
        ]
