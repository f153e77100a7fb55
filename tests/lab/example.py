"""examples/embed beside the demo: a process of its own, started once, ended by its id."""

import json
import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from tests.lab.engine import until
from tests.lab.errors import LabError
from tests.lab.host import ROOT, put

SERVER = ROOT / "examples" / "embed" / "server.py"
START_S = 20
STOP_S = 10


def start(folder: Path, hub: dict[str, str], url: str) -> None:
    """Have it serve at *url*: the one that runs for this *hub* (its environment), or a new one."""
    wanted = sha256(json.dumps(hub, sort_keys=True).encode()).hexdigest()
    record, log = folder / "embed.json", folder / "embed.log"
    if _pid(record) and json.loads(record.read_text())["hub"] == wanted and _answers(url):
        return
    stop(folder)
    with log.open("w") as told:
        process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            env=os.environ | hub,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            start_new_session=True,  # neither Ctrl-C nor the end of make reaches it
        )
    put(record, json.dumps({"pid": process.pid, "hub": wanted}))
    # Its own word: whoever had the port before may answer there, too.
    serves = until(
        lambda: url in log.read_text().splitlines() or process.poll() is not None, START_S
    )
    if not serves or process.poll() is not None or not _answers(url):
        stop(folder)
        raise LabError((log.read_text().strip().splitlines() or ["embed: it does not answer"])[-1])


def stop(folder: Path) -> None:
    """End it, if it runs."""
    record = folder / "embed.json"
    if pid := _pid(record):
        os.kill(pid, signal.SIGTERM)
        until(lambda: _pid(record) is None, STOP_S)
    record.unlink(missing_ok=True)


def _pid(record: Path) -> int | None:
    """The process in *record*, if it is still the example of this clone."""
    try:
        pid = int(json.loads(record.read_text())["pid"])
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, KeyError):
        return None
    return pid if str(SERVER).encode() in arguments else None


def _answers(url: str) -> bool:
    try:
        build_opener(ProxyHandler({})).open(url, timeout=5).close()
    except (URLError, OSError):
        return False
    return True
