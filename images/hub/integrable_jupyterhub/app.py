"""JupyterHub with our handlers, and the reaper."""

import asyncio
import re
from typing import Any

from jupyterhub.app import JupyterHub

from integrable_jupyterhub import archives_api, ending, outlet
from integrable_jupyterhub.archive import Archives
from integrable_jupyterhub.config import SECRETS_FOLDER, HubConfig, read_secret
from integrable_jupyterhub.drain import Deadline
from integrable_jupyterhub.ending import Server, User
from integrable_jupyterhub.gone import Maintenance, NoServer, NoSession, Unreachable
from integrable_jupyterhub.reaper import Reaper

JUPYTERHUB_CONFIG = "/opt/hub/jupyterhub_config.py"


class Hub(JupyterHub):  # type: ignore[misc]
    """Configured as JupyterHub, by the same names."""

    name = "jupyterhub"

    def init_handlers(self) -> None:
        """Ours come before JupyterHub's own."""
        super().init_handlers()
        nobody = r"user/(?P<user_name>[^/]+)(?P<rest>/.*)?"
        ours = [
            (r"/login", NoSession),
            (r"/error/(?P<code>\d+)", Unreachable),
            (r"/maintenance", Maintenance),
            (rf"/{nobody}", NoServer),
            (r"/api/users/([^/]+)", User),
            (r"/api/users/([^/]+)/server", Server),
            *archives_api.HANDLERS,
        ]
        # The proxy sends here whom it knows no way for: without a redirect he has his answer.
        here = (re.escape(self.base_url) + nobody, NoServer)
        self.handlers[:0] = [*self.add_url_prefix(self.hub_prefix, ours), here]

    def init_tornado_settings(self) -> None:
        super().init_tornado_settings()
        self.archives = Archives(self.tornado_settings["archive"], self.log)
        self.tornado_settings["archives"] = self.archives
        self.reaper = Reaper(self)
        self.tornado_settings["look"] = self.reaper.look_soon

    async def start(self) -> Any:
        await super().start()
        self._reaping = asyncio.ensure_future(self.reaper.run())
        token = read_secret(SECRETS_FOLDER / "culler_token")
        deadline = Deadline(self, HubConfig.load().hub_api_url, token)
        self._ending = asyncio.ensure_future(deadline.run())


def main() -> int:
    """Until it is told to end."""
    outlet.install()
    ending.install()
    Hub.launch_instance(["-f", JUPYTERHUB_CONFIG])
    return 0
