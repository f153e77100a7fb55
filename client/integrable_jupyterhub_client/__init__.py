"""Notebook sessions of an Integrable JupyterHub: started, filled, run, read, embedded, ended."""

from integrable_jupyterhub_client.errors import (
    HubError,
    HubFull,
    HubUnreachable,
    KernelTimeout,
    NotAllowed,
    NotFound,
    SessionGone,
    StartFailed,
)
from integrable_jupyterhub_client.hub import Archive, Hub
from integrable_jupyterhub_client.session import Result, Session

__all__ = [
    "Archive",
    "Hub",
    "HubError",
    "HubFull",
    "HubUnreachable",
    "KernelTimeout",
    "NotAllowed",
    "NotFound",
    "Result",
    "Session",
    "SessionGone",
    "StartFailed",
]
