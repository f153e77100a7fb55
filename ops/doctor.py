"""`make doctor`: what each host says of itself, why, and its logs and configuration as a file."""

import json
import os
from pathlib import Path

from pyinfra import local
from pyinfra.context import host

from hubhost import facts
from hubhost.doctor import script
from hubhost.status import REPORTS
from roles.preflight import load_settings

settings = load_settings()
report = Path(os.environ[REPORTS]) / f"{host.name}.json"
told = {
    "lines": host.get_fact(facts.Status),
    "evidence": host.get_fact(facts.Evidence, script=script(settings, "evidence")),
    "settings": settings.model_dump(mode="json"),
}
report.with_suffix(".tar.gz").write_bytes(
    host.get_fact(facts.Collected, script=script(settings, "collect"))
)
report.write_text(json.dumps(told))
local.include(str(Path(__file__).parents[1] / "deploy.py"))
