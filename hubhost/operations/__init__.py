"""Operations: each reads one fact and yields the least that makes the host as it should be."""

from hubhost.operations.backups import backup, restore_data, restore_files, unpack_backup
from hubhost.operations.base import LOCKING, exclusive, script
from hubhost.operations.credentials import (
    discard,
    secrets,
    self_signed_certificate,
    served_certificate,
)
from hubhost.operations.debian import held_engine, note_before, package_lists, packages, updates
from hubhost.operations.docker import (
    docker_network,
    engine,
    engine_configuration,
    forgotten_cluster,
    fresh_engine,
)
from hubhost.operations.files import file_tree, folders, no_unit, unit, write
from hubhost.operations.images import (
    BUILD_SLICE_UP,
    Origins,
    base_image,
    built_image,
    prune_images,
    pulled_image,
    received_images,
    saved_images,
    start_builds,
)
from hubhost.operations.isolation import firewall, isolation_check
from hubhost.operations.patch import GO_DOWN, drain, drain_to_patch, reboot, sessions_ended, undrain
from hubhost.operations.releases import keep_release, rollback
from hubhost.operations.removal import bring_back, forget, take_over, uninstall
from hubhost.operations.services import container, serving, show_logs
