"""What containerd needs to make a session's container."""

from hubhost.operations import file_tree
from hubhost.sessions import session_files
from hubhost.settings import Settings
from roles import deploy


@deploy("Sessions")
def sessions(settings: Settings) -> None:
    """Written before Docker is configured, whose configuration names the runtime."""
    file_tree(name="Write the runtime and the rules of sessions", files=session_files(settings))
