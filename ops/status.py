"""`make status`: what each host says of itself, and what a deployment would change there."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from pyinfra import local
from pyinfra.context import host

from hubhost import facts
from hubhost.status import REPORTS, Limits
from roles.preflight import load_settings

settings = load_settings()
lines = host.get_fact(facts.Status)
report = {"lines": lines, "limits": asdict(Limits.of(settings))}
(Path(os.environ[REPORTS]) / f"{host.name}.json").write_text(json.dumps(report))
local.include(str(Path(__file__).parents[1] / "deploy.py"))
