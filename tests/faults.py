"""A session under watch while something breaks: what is lost, and for how long."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import requests
import websocket

from tests.lab import Host, engine
from tests.lab.client import ClientError, Hub, Session

# The aim is 10 s; a test fails at five times as much (slow machines).
BACK_SECONDS = 50.0
LOOK_SECONDS = 0.1


@dataclass
class Watch:
    """Asks a door again and again; `good` and `bad` are moments of answers, in seconds."""

    ask: Callable[[], int]
    statuses: set[int] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    good: list[float] = field(default_factory=list)
    bad: list[float] = field(default_factory=list)

    def look(self) -> None:
        began = time.monotonic()
        try:
            status = self.ask()
            self.statuses.add(status)
            well, reason = status == 200, str(status)
        except (requests.RequestException, ClientError) as error:
            well, reason = False, str(error.__cause__ or error)[-60:]
        if not well:
            self.reasons[f"{reason} after {time.monotonic() - began:.0f} s"] += 1
        (self.good if well else self.bad).append(began)

    @property
    def away(self) -> float:
        """Seconds from the first bad answer to the first good one after the last."""
        if not self.bad:
            return 0.0
        return self.back_after(self.bad[0])

    def back_after(self, moment: float) -> float:
        """Seconds from `moment` to the first good answer after the last bad one."""
        last = max([moment, *self.bad])
        return next((t for t in self.good if t >= last), float("inf")) - moment


@dataclass(frozen=True)
class Fault:
    """A session with a kernel that remembers something, under watch while something breaks."""

    host: Host
    hub: Hub
    session: Session
    kernel: str

    def doors(self) -> dict[str, Watch]:
        api = Hub(self.hub.api_url, self.hub.token, self.hub.ca)
        session = Session(self.session.url, self.session.token, self.session.ca)
        for http in (api.http, session.http):  # as new clients would find it
            http.headers["Connection"] = "close"
        return {
            "API": Watch(lambda: api.call("GET", "/users?limit=1").status_code),
            "session": Watch(session.status),
        }

    @contextmanager
    def watched(self, what: str, api_back: float = BACK_SECONDS) -> Iterator[dict[str, Watch]]:
        """Break something in the `with` block; afterwards all must be back, nothing lost.

        The doors that are watched come along; what they saw is whole after the block. `api_back`:
        seconds that the API may be away, where what breaks is a run that was replacing the hub.
        """
        doors, over = self.doors(), threading.Event()

        def watch(door: Watch) -> None:
            while not over.is_set():
                door.look()
                over.wait(LOOK_SECONDS)

        socket = self.session.socket(self.kernel, timeout=60)
        threads = [threading.Thread(target=watch, args=(door,)) for door in doors.values()]
        threads.append(threading.Thread(target=read, args=(socket, over)))
        for thread in threads:
            thread.start()
        try:
            assert engine.until(lambda: all(door.good for door in doors.values()), 60)
            yield doors
            began = time.monotonic()
            assert engine.until(
                lambda: all(d.good and d.good[-1] > max([began, *d.bad]) for d in doors.values()),
                max(api_back, BACK_SECONDS),
            ), what
            # A moment in which all is well, or a late blow would be missed.
            calm = {name: len(door.good) + 20 for name, door in doors.items()}
            assert engine.until(
                lambda: all(len(doors[name].good) >= count for name, count in calm.items()), 30
            )
        finally:
            over.set()
            for thread in threads:
                thread.join()
            open_still = alive(socket)
        away = ", ".join(
            f"{name} {door.away:.1f} s ({len(door.bad)} of {len(door.bad) + len(door.good)} bad)"
            for name, door in doors.items()
        )
        print(f"\n{what}: away: {away}; websocket {'kept' if open_still else 'cut'}")
        print({name: dict(door.reasons) for name, door in doors.items() if door.reasons})
        # By a client of its own: the old one's connection may have been cut.
        again = Session(self.session.url, self.session.token, self.session.ca)
        assert again.run("x + 1", kernel=self.kernel).value == "42", "the kernel is lost"
        limits = {"API": api_back, "session": BACK_SECONDS}
        for name, door in doors.items():
            assert door.away < limits[name], name
            # Nothing that a client would take for an answer: that it may not, or that it is gone.
            assert not door.statuses & {401, 403, 404, 424}

    def a_session_starts(self) -> None:
        """A new one: all of the hub, the filter and Docker have to be well."""
        name = f"after{secrets.randbelow(10**10)}"
        self.hub.create_user(name)
        try:
            assert engine.until(
                lambda: self.hub.call("POST", f"/users/{name}/server").status_code in (201, 400), 60
            )
        finally:
            self.hub.delete_user(name)


def read(socket: websocket.WebSocket, over: threading.Event) -> None:
    """As a browser would: who answers no ping is cut off after a while."""
    socket.settimeout(0.5)
    while not over.is_set():
        try:
            socket.recv()
        except websocket.WebSocketTimeoutException:
            continue
        except (websocket.WebSocketException, OSError):
            return


def alive(socket: websocket.WebSocket) -> bool:
    """Does the other end answer? (What it had said before waits to be read, too.)"""
    try:
        socket.settimeout(30)
        socket.ping()
        while socket.recv_data(control_frame=True)[0] != websocket.ABNF.OPCODE_PONG:
            pass
    except (websocket.WebSocketException, OSError):
        return False
    finally:
        socket.close()
    return True


@contextmanager
def kept_websocket(fault: Fault) -> Iterator[None]:
    """An open websocket to the kernel, as a page has it: it reads, or the server would end it."""
    socket, over = fault.session.socket(fault.kernel, timeout=60), threading.Event()
    reader = threading.Thread(target=read, args=(socket, over))
    reader.start()
    try:
        yield
    finally:
        over.set()
        reader.join()
    assert alive(socket), "a websocket was cut"


def restart(container: str) -> str:
    """Once more where runc loses the process it has just made, as happens under load."""
    return f"{{ docker restart {container} || docker start {container}; }}"


def kill(container: str) -> str:
    """As a crash would: Docker takes `docker kill` for an admin's wish, and restarts nothing."""
    return f"kill -9 $(docker inspect -f '{{{{.State.Pid}}}}' {container})"
