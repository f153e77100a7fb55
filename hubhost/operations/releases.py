"""Operations on releases: record one, go back to one."""

from __future__ import annotations

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from hubhost import facts
from hubhost.hostfile import HostFile
from hubhost.images import ImageSet, notebook_reference
from hubhost.network import Network
from hubhost.operations.base import Commands, script
from hubhost.operations.files import write
from hubhost.paths import RELEASE_PROGRAM, RELEASES
from hubhost.release import Content, History, Release, project_version, settings_digest
from hubhost.services import in_order
from hubhost.settings import Settings


@operation()
def keep_release(settings: Settings) -> Commands:
    """Record what runs as a release, unless it is recorded; remove containers of before."""
    history: History = host.get_fact(facts.Releases, others_image=settings.notebook_image)
    services = in_order(settings)
    images = {
        *(image.reference for image in ImageSet.of(settings).all),
        notebook_reference(settings),
    }
    content = Content(
        {reference: history.images.get(reference, "") for reference in sorted(images)},
        history.files,
        {s.name: " ".join([s.specification, *s.mounted_files]) for s in services},
        Network.of(settings).digest,
    )
    surplus = history.surplus(settings.releases_kept, content.id)
    if content.id != history.current or history.previous:
        release = Release(
            content.id, content, version=project_version(), settings=settings_digest(settings)
        )
        new = RELEASES / ".new"
        yield script(f"rm -rf {new}; install -d -m 700 {RELEASES}")
        yield write(HostFile(new / "about", release.about()))
        for service in services:
            yield write(HostFile(new / "services" / service.name, service.definition()))
        yield script(f"{RELEASE_PROGRAM} keep {content.id}", stdin="\n".join([*history.files, ""]))
    if surplus:
        yield StringCommand("rm -rf", *(str(RELEASES / release.id) for release in surplus))


@operation()
def rollback(release: Release) -> Commands:
    """Have what ran as a release run again."""
    history: History = host.get_fact(facts.Releases)
    if release.id != history.current or history.previous:
        yield script(f"{RELEASE_PROGRAM} back {release.id}")
