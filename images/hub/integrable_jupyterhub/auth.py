"""Login by token only."""

from jupyterhub.auth import NullAuthenticator


class TokenOnly(NullAuthenticator):  # type: ignore[misc]
    """Nobody can log in; a token in the URL, in a cookie or in a header is the only way.

    What people see who come without one: gone.py.
    """

    def get_handlers(self, app: object) -> list[tuple[str, type]]:
        """None of its own: see app.py."""
        return []
