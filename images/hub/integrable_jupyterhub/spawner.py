"""One container for each session."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from docker.errors import APIError, ImageNotFound  # type: ignore[import-untyped]
from dockerspawner import DockerSpawner  # type: ignore[import-untyped]
from jupyterhub.spawner import SpawnException  # type: ignore[import-untyped]

# How often to knock at a port that is about to open, and at Docker's door meanwhile.
KNOCK_SECONDS = 0.02
LOOK_SECONDS = 1.0


class SessionSpawner(DockerSpawner):  # type: ignore[misc]
    """Starts, finds and removes sessions. Their limits are configuration, see configure.py."""

    # dockerspawner has one thread for all: a container slow to stop would hold up every start.
    _executor = ThreadPoolExecutor(16, thread_name_prefix="docker")

    async def start(self) -> tuple[str, int]:
        """Choose a container, give it its environment, wait until it serves."""
        await self.choose_container()
        await self.start_object()
        ip, port = await self.get_ip_and_port()
        await self.wait_until_serving(ip, port)
        return ip, port

    async def choose_container(self) -> None:
        """A new one, made with its environment. One of the same name is what a killed hub has left."""
        try:
            try:
                container = await self.create_object()
            except APIError as error:
                if error.status_code != 409:
                    raise
                await self.remove_object()
                container = await self.create_object()
        except ImageNotFound:
            raise SpawnException(
                f"the session image {self.image} does not exist on this host; deploy again",
                reason="image",
                status_code=500,
            ) from None
        self.object_id = container[self.object_id_key]

    async def wait_until_serving(self, ip: str, port: int) -> None:
        """Return once the port is open; JupyterHub limits the time (`start_timeout`).

        JupyterHub would do it by itself, but with pauses growing to 5 s (`exponential_backoff`), which
        costs a start 0.9 s in the middle. It still asks the server once after this.
        """
        now = asyncio.get_running_loop().time
        look = now() + LOOK_SECONDS
        while not await _open(ip, port):
            if now() >= look:
                status = await self.poll()
                if status is not None:
                    raise SpawnException(
                        f"the session's container ended before it served ({status})",
                        reason="exited",
                        status_code=500,
                    )
                look = now() + LOOK_SECONDS
            await asyncio.sleep(KNOCK_SECONDS)

    async def stop(self, now: bool = False) -> None:
        """Kill and remove: a session's files are memory, a slow farewell would save nothing."""
        await self.remove_object()
        self.object_id = ""
        self.clear_state()

    async def remove_object(self) -> None:
        """By name, which is known even when a hub was killed before it could note the id."""
        try:
            await self.docker("remove_container", self.object_name, v=True, force=True)
        except APIError as error:
            if error.status_code not in (404, 409):  # gone, or going
                raise


async def _open(ip: str, port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(ip, port), timeout=1)
    except OSError:
        return False
    writer.close()
    return True
