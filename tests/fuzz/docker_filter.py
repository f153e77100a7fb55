r"""Whatever bytes the hub sends, the Docker filter refuses them or does something harmless.

An input is a request: a line with method and target, then the body. To fuzz (atheris belongs to no
lock, for it has no wheels for many Pythons):

    .venv/bin/pip install atheris
    PYTHONPATH=.:images/filter .venv/bin/python -m tests.fuzz.docker_filter -max_total_time=600 \
        -dict=tests/fuzz/docker_filter.dict -max_len=2048 tests/fuzz/corpus/docker_filter

What reaches something new is added to the corpus. 38 million inputs in ten minutes on one core.
"""

from __future__ import annotations

import json
import re
import sys

from docker_filter.decide import FIRST_UID, Create, List, Refused, Request, Touch, compose, parse
from docker_filter.policy import Policy

from tests.unit.images.samples import FILTER_POLICY

POLICY = Policy.model_validate(FILTER_POLICY)
IMAGE = POLICY.images[0]
PLAIN = compose(Create("", IMAGE, ()), FIRST_UID, ("/data",), POLICY, "{}")


def check(data: bytes) -> str:
    """Raises AssertionError where a rule is broken; returns what became of the request."""
    line, _, body = data.partition(b"\n")
    method, _, target = line.decode("utf-8", "surrogateescape").partition(" ")
    try:
        asked = parse(method, target, body, POLICY)
    except Refused as error:
        refusal = error
    else:
        return check_accepted(method, asked)
    assert refusal.status in (403, 413)
    assert re.fullmatch(r"[ -~]{5,120}", str(refusal)), "one line of printable ASCII"
    return "refused"


def check_accepted(method: str, asked: Request) -> str:
    """The same for what is let through."""
    match asked:
        case Create():
            assert re.fullmatch(r"jupyterhub-session-[a-zA-Z0-9_.-]+", asked.name)
            assert len(asked.name) <= 63
            body_for_docker = compose(asked, FIRST_UID, ("/data",), POLICY, "{}")
            assert body_for_docker["Env"] == list(asked.env)
            assert all("=" in entry and "\0" not in entry for entry in asked.env)
            assert {**body_for_docker, "Env": []} == PLAIN
            json.dumps(body_for_docker).encode().decode("utf-8", "strict")
            return "create"
        case List():
            assert method == "GET"
            return "list"
        case Touch():
            assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", asked.container)
            assert (method, asked.verb) in {
                ("GET", "inspect"),
                ("POST", "start"),
                ("DELETE", "remove"),
            }
            return asked.verb
    return "ping"


if __name__ == "__main__":
    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, lambda data: check(data) and None)
    atheris.Fuzz()
