"""Runs in a container: starts a kernel and takes steps with it; prints what came of them as JSON.

`python3 - '{"kernel": NAME, "steps": [STEP…]}'`. A step is one of
`{"run": CODE, "interrupt": SECONDS, "answers": [LINE…], "timeout": SECONDS}` (the last three may be
missing; without answers nobody can be asked), `{"complete": CODE}`, `{"inspect": CODE}` (the cursor
at the end), `{"check": CODE}`, `{"info": 1}`, `{"memory": 1}`.
"""

import json
import queue
import sys
import threading
import time
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager


def pss(pid: int) -> float:
    """Megabytes of a process and all it started, shared ones by their share."""
    process = Path("/proc", str(pid))
    lines = (process / "smaps_rollup").read_text().splitlines()
    total = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    for task in (process / "task").iterdir():
        total += sum(pss(int(child)) for child in (task / "children").read_text().split())
    return total


def run(client: Any, manager: Any, step: dict[str, Any]) -> dict[str, Any]:  # noqa: C901
    answers = list(step.get("answers", []))
    asked = client.execute(step["run"], allow_stdin="answers" in step)
    found: dict[str, Any] = {
        "status": "",
        "messages": 0,
        "stdout": "",
        "stderr": "",
        "result": "",
        "displays": [],
    }
    started = time.monotonic()
    if "interrupt" in step:
        threading.Timer(step["interrupt"], manager.interrupt_kernel).start()
    deadline = started + step.get("timeout", 60)
    idle = replied = False
    while not (idle and replied):
        if time.monotonic() > deadline or not manager.is_alive():
            found["status"] = "dead" if not manager.is_alive() else "timeout"
            break
        if client.stdin_channel.msg_ready():
            client.stdin_channel.get_msg(timeout=1)
            client.input(answers.pop(0) if answers else "")
        if not replied and client.shell_channel.msg_ready():
            message = client.shell_channel.get_msg(timeout=1)
            if message["parent_header"].get("msg_id") == asked:
                replied = True
                found["status"] = message["content"]["status"]
        try:
            message = client.iopub_channel.get_msg(timeout=0.01)
        except queue.Empty:
            continue
        if message["parent_header"].get("msg_id") != asked:
            continue
        kind, content = message["msg_type"], message["content"]
        found["messages"] += 1
        if kind == "stream":
            found[content["name"]] += content["text"]
        elif kind == "execute_result":
            found["result"] = content["data"].get("text/plain", "")
        elif kind in ("display_data", "update_display_data"):
            found["displays"].append({k: str(v)[:200] for k, v in content["data"].items()})
        elif kind == "error":
            found["name"], found["value"] = content["ename"], content["evalue"]
            found["traceback"] = "\n".join(content["traceback"])
        elif kind == "status" and content["execution_state"] == "idle":
            idle = True
    found["seconds"] = round(time.monotonic() - started - step.get("interrupt", 0), 3)
    if found["status"] == "dead":
        manager.restart_kernel(now=True)
        client.wait_for_ready(timeout=60)
    return found


def main(order: dict[str, Any]) -> None:
    started = time.monotonic()
    manager: Any = KernelManager(kernel_name=order["kernel"])
    manager.start_kernel(stderr=2)
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    ready = round(time.monotonic() - started, 3)
    results: list[Any] = []
    for step in order["steps"]:
        if "run" in step:
            results.append(run(client, manager, step))
        elif "complete" in step:
            reply = client.complete(step["complete"], len(step["complete"]), reply=True, timeout=30)
            results.append(reply["content"]["matches"])
        elif "inspect" in step:
            reply = client.inspect(step["inspect"], len(step["inspect"]), reply=True, timeout=30)
            results.append(reply["content"]["data"].get("text/plain", ""))
        elif "check" in step:
            message = client.is_complete(step["check"])
            reply = client.get_shell_msg(timeout=30)
            while reply["parent_header"].get("msg_id") != message:
                reply = client.get_shell_msg(timeout=30)
            results.append(reply["content"]["status"])
        elif "info" in step:
            results.append(client.kernel_info(reply=True, timeout=30)["content"]["language_info"])
        elif "ready" in step:
            results.append(ready)
        elif "memory" in step:
            time.sleep(1)
            results.append(round(pss(manager.provisioner.pid)))
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    print(json.dumps(results))


main(json.loads(sys.argv[1]))
