"""The images of services and sessions, built without any registry, once for all hosts of a run."""

from pyinfra.context import host, inventory
from pyinfra.facts.server import Arch

from hubhost.facts import MissingImages
from hubhost.images import ImageSet, Shelf, origins
from hubhost.operations import (
    base_image,
    built_image,
    pulled_image,
    received_images,
    start_builds,
)
from hubhost.settings import Settings, load
from roles import deploy


@deploy("Images")
def images(settings: Settings) -> None:
    """Build what is missing: a tag is a hash of all that an image is made from."""
    images = ImageSet.of(settings)
    where = origins(host.name, _shelves(images))
    if images.base:
        base_image(name="Make the base image", image=images.base, settings=settings, origins=where)
    start_builds(name="Start building", images=images.built, settings=settings, origins=where)
    for image in images.built:
        built_image(
            name=f"Build the {image.name} image", image=image, settings=settings, origins=where
        )
    # Docker makes each a copy before it sends: not too many at a time.
    received_images(
        name="Load images built elsewhere", images=images.all, origins=where, _parallel=4
    )
    if settings.notebook_image:
        pulled_image(name="Fetch the notebook image", reference=settings.notebook_image)


def _shelves(images: ImageSet) -> list[Shelf]:
    """Of all hosts of this run, where several are there and this one lacks something."""
    wanted = {image.reference for image in images.all}
    active = [one for one in inventory if one in host.state.active_hosts]
    if len(active) < 2 or not host.get_fact(MissingImages, references=tuple(wanted)):
        return []
    shelves = []
    for one in active:
        theirs_all = ImageSet.of(load(one.data.dict())).all  # type: ignore[no-untyped-call]
        theirs = wanted & {image.reference for image in theirs_all}
        missing = one.get_fact(MissingImages, references=tuple(sorted(theirs)))
        architecture = one.get_fact(Arch)
        shelves.append(Shelf(one.name, architecture, frozenset(theirs), frozenset(missing)))
    return shelves
