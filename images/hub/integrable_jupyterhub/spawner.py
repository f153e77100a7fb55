"""One container for each session."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from docker.errors import APIError, ImageNotFound
from dockerspawner import DockerSpawner
from jupyterhub.spawner import SpawnException

from integrable_jupyterhub import drain
from integrable_jupyterhub.admission import Admission, Full

# How often to knock at a port that is about to open, and at Docker's door meanwhile.
KNOCK_SECONDS = 0.02
LOOK_SECONDS = 1.0
# How long, and how often, to try while the Docker filter or Docker itself is away.
PATIENCE_SECONDS = 60.0
AGAIN_SECONDS = 0.2
# Docker's own words (libnetwork, ipam: ErrNoAvailableIPs).
NO_ADDRESS = "no available IPv4 addresses"
# And runc's: under load it now and then loses the process it has just made.
LOST_PROCESS = "init-p"
# When a client that was sent away may come again.
RETRY_SECONDS = 10


class SessionSpawner(DockerSpawner):  # type: ignore[misc]
    """Starts, finds and removes sessions.

    Name, image and environment are all that it chooses: the Docker filter composes the container,
    and refuses to be told more.
    """

    # dockerspawner has one thread for all: a container slow to stop would hold up every start.
    _executor = ThreadPoolExecutor(16, thread_name_prefix="docker")

    admission = Admission(at_once=8, waiting=0, seconds=60, headroom_mb=0)

    async def start(self) -> tuple[str, int]:
        """Wait for its turn; what an attempt that fails, or is called off, has made is removed."""
        _refuse_if_drained()
        try:
            async with self.admission.turn(), asyncio.timeout(self.admission.seconds):
                _refuse_if_drained()  # that may have begun while this one waited
                try:
                    return await self.start_now()
                except BaseException:
                    await self.remove_remains()
                    raise
        except Full as full:
            raise _failure("capacity", str(full), 429) from None
        except TimeoutError:
            text = f"it did not serve within {self.admission.seconds:g} s"
            raise _failure("timeout", text) from None

    async def start_now(self) -> tuple[str, int]:
        """Choose a container, give it its environment, wait until it serves."""
        try:
            await self.run_container()
            ip, port = await self.get_ip_and_port()
        except ImageNotFound:
            raise _failure(
                "image", f"the image {self.image} does not exist on this host; deploy again"
            ) from None
        except APIError as error:
            text = f"Docker says: {error.explanation}"
            if NO_ADDRESS in text:
                text = "every address of session_range is taken"
            elif error.status_code != 429:
                raise _failure("docker", text) from None
            raise _failure("capacity", text, 429) from None
        await self.wait_until_serving(ip, port)
        return ip, port

    async def run_container(self) -> None:
        """A new one; and another, where its process was lost: Docker takes the first away."""
        for again in (True, True, False):
            await self.choose_container()
            try:
                await self.start_object()
            except APIError as error:
                if not again or LOST_PROCESS not in str(error.explanation):
                    raise
                self.log.warning("%s did not start, once more: %s", self._log_name, error)
            else:
                return

    async def choose_container(self) -> None:
        """A new one, made with its environment; the rest of a killed hub's attempt makes way.

        Also of a session that has just crashed: Docker takes its time to remove that.
        """
        patience = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                container = await self.create_object()
                break
            except APIError as error:
                if error.status_code != 409 or time.monotonic() >= patience:
                    raise
            await self.remove_object()
            await asyncio.sleep(AGAIN_SECONDS)
        self.object_id = container[self.object_id_key]

    async def create_object(self) -> Any:
        """Ask for the container."""
        wanted = {
            "Image": self.image,
            "Env": [f"{name}={value}" for name, value in self.get_env().items()],
        }
        return await self.docker("create_container_from_config", wanted, self.container_name)

    async def docker(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """A call that has begun is seen to its end: what it makes would stay, and nobody know."""
        call = asyncio.wrap_future(self.executor.submit(self._docker, method, *args, **kwargs))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.gather(call, return_exceptions=True)
            raise

    def _docker(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call Docker, in a thread; while nobody answers, wait and ask again.

        JupyterHub would take an error for the session's end. What is asked for twice does no harm:
        a container that exists already makes way, one that runs or is gone is what was wanted.
        """
        patience = time.monotonic() + PATIENCE_SECONDS
        waiting = False
        while True:
            try:
                return super()._docker(method, *args, **kwargs)
            except (requests.ConnectionError, APIError) as error:
                away = not isinstance(error, APIError) or error.status_code == 503
                if not away or time.monotonic() >= patience:
                    raise
            if not waiting:
                self.log.warning("Docker does not answer %s: asking again", method)
                waiting = True
            time.sleep(AGAIN_SECONDS)

    async def wait_until_serving(self, ip: str, port: int) -> None:
        """Return once the port is open; JupyterHub limits the time (`start_timeout`).

        JupyterHub would wait by itself, but in pauses that grow up to 5 s (`exponential_backoff`):
        0.9 s lost in the middle. It still asks the server for an answer after this.
        """
        now = asyncio.get_running_loop().time
        look = now()
        while not await _open(ip, port):
            if now() >= look:
                if await self.poll() is not None:
                    raise _failure("exited", "its container ended before it served")
                look = now() + LOOK_SECONDS
            await asyncio.sleep(KNOCK_SECONDS)

    async def stop(self, now: bool = False) -> None:
        """Kill and remove: a session's files are memory, a slow farewell would save nothing."""
        await self.remove_object()
        self.object_id = ""
        self.clear_state()

    async def remove_remains(self) -> None:
        """Nobody waits for this: what Docker does not remove now, the reaper will."""
        try:
            await asyncio.shield(self.remove_object())
        except (APIError, requests.RequestException) as error:
            self.log.warning("the container %s may be left: %s", self.container_name, error)

    async def delete_forever(self) -> None:
        """When the user is deleted: whatever the hub believes of its server."""
        await self.remove_remains()

    async def remove_object(self) -> None:
        """By name, which is known even when a hub was killed before it could note the id."""
        try:
            await self.docker("remove_container", self.object_name, v=True, force=True)
        except APIError as error:
            if error.status_code not in (404, 409):  # gone, or going
                raise


def _refuse_if_drained() -> None:
    if drained := drain.read():
        text = "the hub is under maintenance, come again later"
        raise _failure("drained", text, 503, drained.retry_after(time.time()))


def _failure(
    reason: str, text: str, status: int = 500, retry_seconds: int = RETRY_SECONDS
) -> SpawnException:
    """One line for the log and for the client; `reason` is the label in the metrics."""
    failure = SpawnException(f"the session cannot start: {text}", reason=reason, status_code=status)
    if status in (429, 503):
        failure.headers = {"Retry-After": str(retry_seconds)}
    return failure


async def _open(ip: str, port: int) -> bool:
    if not ip:  # ended already, and gone from its network
        return False
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(ip, port), timeout=1)
    except OSError:
        return False
    writer.close()
    return True
