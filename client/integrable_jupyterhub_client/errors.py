"""What can go wrong. Each is a HubError, and its text one line for a log."""


class HubError(Exception):
    """The hub or a session answered what it should not; *status*: HTTP's, None if not by HTTP."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class HubUnreachable(HubError):
    """Nobody answered, or only 502 and 503, until the time was up."""


class NotAllowed(HubError):
    """401 or 403: the token is wrong, has expired, or is not enough for this."""


class NotFound(HubError):
    """404: no such user, file or archive."""


class SessionGone(HubError):
    """The session has ended (424), or its user is gone (404): start a new one."""


class HubFull(HubError):
    """429: no session may start now. *retry_after*: the seconds after which to come again."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message, 429)
        self.retry_after = retry_after


class StartFailed(HubError):
    """The session did not start, or not in time."""


class KernelTimeout(HubError):
    """Code did not end in time. Its kernel may be running still."""
