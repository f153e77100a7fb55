"""The images of services and sessions, built on the host without any registry."""

from hubhost.images import ImageSet
from hubhost.operations import base_image, built_image, pulled_image, start_builds
from hubhost.settings import Settings
from roles import deploy


@deploy("Images")
def images(settings: Settings) -> None:
    """Build what is missing: a tag is a hash of all that an image is made from."""
    images = ImageSet.of(settings)
    if images.base:
        base_image(name="Make the base image", image=images.base, settings=settings)
    start_builds(name="Start building", images=images.built, settings=settings)
    for image in images.built:
        built_image(name=f"Build the {image.name} image", image=image, settings=settings)
    if settings.notebook_image:
        pulled_image(name="Fetch the notebook image", reference=settings.notebook_image)
