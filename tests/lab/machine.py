"""What every driver says of a machine it made."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """A lab as its driver finds it on this machine, whichever clone of the repository made it."""

    driver: str
    id: str
    """The container's name, or the virtual machine's folder."""
    name: str
    root: str
    debian: int
    identity: str
    running: bool
