"""Operations on the rules: load them, and try whether they hold."""

from __future__ import annotations

import json
import shlex
from logging import ERROR, INFO
from typing import Any

from pyinfra import logger
from pyinfra.api.command import FunctionCommand
from pyinfra.api.operation import operation
from pyinfra.context import host

from hubhost import check, connection, facts
from hubhost.isolation import JUMPS, JUMPS6, Policy, chains, chains6, listing
from hubhost.operations.base import Commands, script
from hubhost.paths import FIREWALL_UNIT, ISOLATION_STATE
from hubhost.service import FILTER_NAME, HUB_NAME
from hubhost.services import FILTER_PROBE, HUB_CODE
from hubhost.settings import Settings

RULES_DO_NOT_LOAD = (
    "firewall: the rules do not load and those of before still stand; why is told above,"
    " by iptables-restore or nft"
)


PROBE = f"docker exec -i {FILTER_NAME} {FILTER_PROBE}"
LOCK_CHECK = f"flock /run/lock/integrable-jupyterhub-check {PROBE}"


@operation(is_idempotent=False)
def isolation_check(settings: Settings, also: tuple[tuple[str, int], ...] = ()) -> Commands:
    """Try, from a container made as sessions are, what a session reaches; a leak is an error."""
    yield FunctionCommand(_check, (settings, also), {})


def _check(state: Any, host: Any, settings: Settings, also: tuple[tuple[str, int], ...]) -> bool:
    """Whether all is as the policy wants it; says so, door by door."""
    whom = connection.as_whom(host.current_op_global_arguments)

    def ask(command: str, stdin: str = "") -> list[str] | None:
        done, output = host.run_shell_command(command, _stdin=stdin, **whom)
        if not done:
            logger.error("%s%s", host.print_prefix, output.stderr or f"failed: {command[:60]}")
        return output.stdout_lines if done else None

    doors = check.doors(settings, host.get_fact(facts.Listens), also)
    seen = ask(LOCK_CHECK, check.wire(doors))
    hubs = json.dumps([door.target for door in doors if door.control == "hub"])
    by_hub = ask(f"docker exec -i {HUB_NAME} {HUB_CODE} {shlex.quote(check.KNOCK)}", hubs)
    by_host = ask(check.knock([door for door in doors if door.control == "host"]) or "true")
    clock = ask("date +%s")
    if seen is None or by_hub is None or by_host is None or clock is None:
        return False
    verdicts = check.verdicts(doors, json.loads(seen[-1]), {"hub": by_hub, "host": by_host})
    for verdict in verdicts:
        logger.log(ERROR if verdict.problem else INFO, "%s%s", host.print_prefix, verdict)
    found = check.Checked.of(int(clock[0]), verdicts)
    kept = ask(
        f"cat > {ISOLATION_STATE}.new; mv {ISOLATION_STATE}.new {ISOLATION_STATE}", found.json
    )
    return kept is not None and not found.wrong


@operation()
def firewall(policy: Policy) -> Commands:
    """Load our chains and their jumps if anything of them is missing, changed or out of place."""
    ours = chains(policy) | chains6(policy)
    state = host.get_fact(facts.FirewallState, chains=tuple(ours))
    wanted = {
        "rule": listing(ours),
        "first": [f"-A {chain} -j {target}" for chain, target in (*JUMPS, *JUMPS6)],
        "guard": ["loaded"],
        "frames": ["1"],
    }
    unit = FIREWALL_UNIT.removesuffix(".service")
    why = f"journalctl -q -o cat -n 5 -u {unit} >&2; echo '{RULES_DO_NOT_LOAD}' >&2; exit 1"
    if state.get("unit") != ["enabled", "active"] or "yes" in state.get("reload", ()):
        yield script(
            "systemctl daemon-reload",
            f"systemctl enable {unit}",
            f"systemctl reload-or-restart {unit} || {{ {why}; }}",  # or start it
        )
    elif any(state.get(key) != value for key, value in wanted.items()):
        yield script(f"systemctl reload {unit} || {{ {why}; }}")
