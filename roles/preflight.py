"""Look before anything is touched: all problems at once, one line each."""

import time
from pathlib import Path

from pyinfra import logger
from pyinfra.api.exceptions import DeployError
from pyinfra.context import host, inventory

from hubhost import facts
from hubhost.errors import Problem, Problems
from hubhost.images import ImageSet, mirrors
from hubhost.migrate import Look, without
from hubhost.operations import LOCKING, exclusive
from hubhost.preflight import problems, warnings
from hubhost.settings import Settings, load, unknown_groups
from hubhost.tls import given_files
from roles import deploy
from roles.backup import folder_problems

LEAVING: dict[str, Look] = {}
"""By host: what will be gone before the deployment comes to its turn (ops/migrate.py)."""

GROUP_DATA = Path(__file__).parents[1] / "group_data"


def load_settings() -> Settings:
    """The settings of this host, or one line for each that is wrong."""
    try:
        groups = {"all", *(name for name, hosts in inventory.groups.items() if hosts)}
        if found := unknown_groups(GROUP_DATA, groups):
            raise Problems(found)
        values = load(host.data.dict())  # type: ignore[no-untyped-call]
        given_files(values)
    except Problems as error:
        raise DeployError(str(error)) from None
    return values


@deploy("Preflight")
def preflight(settings: Settings) -> None:
    """Refuse a host that can't become a hub."""
    images = tuple(image.reference for image in ImageSet.of(settings).all)
    report = host.get_fact(
        facts.Host,
        images=images,
        mirrors=mirrors(settings),
        network=settings.network_name,
        others_image=settings.notebook_image,
    )
    if leaving := LEAVING.get(host.name):
        report = without(report, leaving)
    found = [*problems(settings, report, int(time.time())), *folder_problems(settings)]
    if found:
        _refuse(found)
    for warning in warnings(report):
        logger.warning("%s: %s", host.name, warning)
    exclusive(name=LOCKING)


def _refuse(found: list[Problem]) -> None:
    """Of several hosts only this one: the others are installations of their own."""
    if len(host.state.active_hosts) == 1:
        raise DeployError("\n".join(map(str, found)))
    for problem in found:
        logger.error("%s: %s", host.name, problem)
    host.state.fail_hosts({host})  # type: ignore[no-untyped-call]
