"""`python -m integrable_jupyterhub COMMAND`; imports only what the command needs, see __init__."""

import signal
import sys
from importlib import import_module

COMMANDS = ("hub", "app", "routes", "health", "purge", "revisions")


def main(arguments: list[str]) -> int:
    """Run the module of that name; return the exit code."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(f"which command? One of: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    # A container's first process ignores what it has no handler for; JupyterHub gets one late.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return int(import_module(f"integrable_jupyterhub.{arguments[0]}").main())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
