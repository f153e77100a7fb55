"""What the notebook image weighs, and how quickly its kernels are there: `make image-report`.

`python -m tests.kernels.report [IMAGE…]`, on the engine that DOCKER names (container.py); without
names, the images of the current sources, slim and full, built if they are missing.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

from tests.kernels.build import build
from tests.kernels.container import docker, session

FIRST = {
    "python3": "6 * 7",
    "bash": "echo 42",
    "c": "#include <stdio.h>\nint main(void) { puts(\"42\"); }",
    "xcpp17": "6 * 7",
    "java": "6 * 7",
    "octave": "6 * 7",
    "ir": "6 * 7",
}  # fmt: skip
MB = 1e6
PYTHON_PACKAGES = ("jupyterlab", "notebook", "jupyterhub", "ipykernel", "cppyy", "numpy", "pandas")
DEBIAN_PACKAGES = ("python3", "bash", "gcc", "octave", "r-base-core", "r-cran-irkernel")
VERSIONS = f"""
awk -F '\t' '/^({"|".join(DEBIAN_PACKAGES)})\t/ {{ print $1, $2 }}' \\
    /usr/share/integrable-jupyterhub/packages.txt
pip list --format=freeze | sed -nE 's/^({"|".join(PYTHON_PACKAGES)})==/\\1 /p'
java --version 2>/dev/null | head -1 || true
"""
WEIGHS = (
    "find / -xdev -type f -printf '%s %p\\n' 2>/dev/null | awk '"
    '{ n = split($2, p, "/"); key = "/" p[2] "/" p[3];'
    ' if ($2 ~ /site-packages/) key = "python: " p[7];'
    ' else if ($2 ~ /^\\/usr\\/(lib|libexec)\\//) key = key "/" p[4];'
    " size[key] += $1 }"
    ' END { for (key in size) printf "%d\\t%s\\n", size[key], key }\' | sort -rn | head -25'
)
STARTS = """
import json, os, subprocess, sys, time, urllib.request
from pathlib import Path
environment = os.environ | {
    "JUPYTERHUB_API_URL": "http://127.0.0.1:8081/hub/api", "JUPYTERHUB_API_TOKEN": "x",
    "JUPYTERHUB_CLIENT_ID": "x", "JUPYTERHUB_USER": "x", "JUPYTERHUB_BASE_URL": "/",
    "JUPYTERHUB_SERVICE_PREFIX": "/user/x/", "JUPYTERHUB_OAUTH_CALLBACK_URL": "/user/x/oauth",
    "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:8888/user/x/",
    "JUPYTERHUB_ACTIVITY_URL": "http://127.0.0.1:8081/activity",
}
hub = subprocess.Popen([sys.executable, "-c", '''
import http.server
class Hub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("X-JupyterHub-Version", "6.1.1")
        self.end_headers()
        self.wfile.write(b'{"version": "6.1.1"}')
    do_POST = do_GET
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8081), Hub).serve_forever()
'''], stdout=subprocess.DEVNULL)
time.sleep(1)
started = time.monotonic()
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
server = subprocess.Popen(["start-singleuser.sh"], env=environment, **quiet)
while True:
    try:
        urllib.request.urlopen("http://127.0.0.1:8888/user/x/api")
        break
    except OSError:
        time.sleep(0.02)
seconds = time.monotonic() - started
process = Path("/proc", str(server.pid))
ticks = (process / "stat").read_text().rpartition(")")[2].split()
rollup = (process / "smaps_rollup").read_text().split()
print(json.dumps({
    "seconds": seconds,
    "cpu": (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK"),
    "memory": int(rollup[rollup.index("Pss:") + 1]) / 1024,
}))
"""


def report(image: str) -> None:
    """Print all about an image."""
    size = int(docker("image", "inspect", "--format", "{{.Size}}", image))
    print(f"\n## {image}: {size / MB:,.0f} MB\n\n| layer | MB |\n|---|---|")
    for line in docker("history", "--no-trunc", "--human=false", "--format",
                       "{{.Size}}\t{{.CreatedBy}}", image).splitlines():  # fmt: skip
        weight, _, made = line.partition("\t")
        if int(weight) > MB:
            made = made.partition("RUN /bin/sh -c ")[2] or made or "the base image"
            made = made.removeprefix(". /run/build/env  && ").replace("|", "/")
            print(f"| {' '.join(made.split())[:90]} | {int(weight) / MB:.0f} |")
    with session(image) as container:
        versions = container.run("bash", "-c", VERSIONS).splitlines()
        print(f"\nVersions: {', '.join(versions)}.")
        print("\n| what dominates | MB |\n|---|---|")
        for line in container.run("bash", "-c", WEIGHS).splitlines():
            weight, _, what = line.partition("\t")
            print(f"| {what} | {int(weight) / MB:.0f} |")
        server = json.loads(container.run("python3", "-c", STARTS))
        print(f"\nServer ready after {server['seconds']:.1f} s and {server['cpu']:.2f} s of CPU;"
              f" {server['memory']:.0f} MB.")  # fmt: skip
        found = json.loads(container.run("jupyter", "kernelspec", "list", "--json"))["kernelspecs"]
        print(
            "\n| kernel | start s | first cell s | next cell s | MB idle |\n|---|---|---|---|---|"
        )
        for name, cell in FIRST.items():
            if name in found:
                steps: list[dict[str, object]] = [{"ready": 1}, {"memory": 1}]
                steps += [{"run": cell}, {"run": cell}]
                ready, memory, first, second = container.kernel(name, steps)
                seconds = f"{first['seconds']:.2f} | {second['seconds']:.3f}"
                print(f"| {name} | {ready:.1f} | {seconds} | {memory} |")


if __name__ == "__main__":
    engine = docker("version", "--format", "{{.Server.Version}}").strip()
    system = docker("info", "--format", "{{.KernelVersion}}, {{.NCPU}} processors").strip()
    print(f"{datetime.now(UTC):%Y-%m-%d}, Docker {engine}, Linux {system}")
    for name in sys.argv[1:] or [build("slim"), build("full")]:
        report(name)
