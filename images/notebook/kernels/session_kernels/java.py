"""Java: cells run in the JDK's own JShell, in a Java process."""

from __future__ import annotations

import os
from pathlib import Path

from session_kernels.language import About, WorkerLanguage
from session_kernels.worker import Worker

# What a session may use of processors and memory is little: no threads for collecting or for
# compiling twice, a heap that leaves room for the rest of the session. After a crash, no report in
# the home.
JAVA = (
    *("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:-UsePerfData"),
    *("-Xmx512m", "-Xss4m", "-Djava.awt.headless=true", "-XX:ErrorFile=/dev/null"),
)


class Java(WorkerLanguage):
    """The Java of the JDK in the image."""

    about = About("java", "Java", "21", "text/x-java", ".java", "text/x-java", "java")

    def start(self) -> Worker:
        user = f"-Duser.name={os.environ.get('USER', 'jovyan')}"
        return Worker([*JAVA, user, "-cp", str(Path(__file__).parent), "Worker"])

    def is_complete(self, code: str) -> str:
        frame = self.ask("check", code, "status")
        return frame.body if frame else "unknown"
