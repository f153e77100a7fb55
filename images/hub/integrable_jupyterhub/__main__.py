"""`python -m integrable_jupyterhub COMMAND`; the imports are where they are used, see __init__."""

import sys


def main(command: str) -> int:
    match command:
        case "hub":
            from integrable_jupyterhub import start

            return start.hub()
        case "routes":
            from integrable_jupyterhub import routes

            return routes.main()
        case "health":
            from integrable_jupyterhub import health

            return health.main()
    print(f"unknown command {command!r}; there are: hub, routes, health", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
