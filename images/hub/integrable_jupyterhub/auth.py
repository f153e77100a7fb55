"""Login by token only, and what people see who come without one."""

from jupyterhub.auth import NullAuthenticator
from jupyterhub.handlers import BaseHandler


class NoSession(BaseHandler):  # type: ignore[misc]
    """Where JupyterHub sends everybody without a valid token; explains it to people.

    The status stays 403: API clients follow redirects to here, and 200 would mean a live session.
    """

    async def get(self) -> None:
        self.set_status(403)
        self.finish(await self.render_template("no_session.html"))


class TokenOnly(NullAuthenticator):  # type: ignore[misc]
    """Nobody can log in; a token in the URL, in a cookie or in a header is the only way."""

    def get_handlers(self, app: object) -> list[tuple[str, type[BaseHandler]]]:
        """Ours come before JupyterHub's own."""
        return [("/login", NoSession)]
