"""Starts `jupyterhub-singleuser` without what only a hub needs: a third of the time of its start.

JupyterHub's single-user server imports the hub's database and pages for a few names. SQLAlchemy and
what uses it are imported when something asks for them, which nothing here does; of each the server
takes one class, to catch or to recognise what does not occur in a session.
"""

import importlib
import sys
import types

STANDING_IN: dict[str, types.ModuleType] = {}


class Later(types.ModuleType):
    """A module that is imported when something of it is asked for.

    (Not importlib's LazyLoader: that imports as soon as a second module imports the name.)
    """

    __path__: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        # From now on the real ones, all of them.
        for stand_in, module in STANDING_IN.items():
            if sys.modules.get(stand_in) is module:
                del sys.modules[stand_in]
        return getattr(importlib.import_module(self.__name__), name)


class SQLAlchemyError(Exception):
    """No session asks a database of the hub."""


class HealthCheckHandler:
    """The hub's page for monitoring: no request of a session is one for it."""


def prepare() -> None:
    """Let the names be found without what they stand for."""
    taken: dict[str, dict[str, object]] = {
        "sqlalchemy": {},
        "sqlalchemy.exc": {"SQLAlchemyError": SQLAlchemyError},
        "jupyterhub.orm": {},
        "jupyterhub.roles": {},
        "jupyterhub.handlers": {},
        "jupyterhub.handlers.pages": {"HealthCheckHandler": HealthCheckHandler},
    }
    for name, attributes in taken.items():
        module = STANDING_IN[name] = sys.modules[name] = Later(name)
        module.__dict__.update(attributes)


if __name__ == "__main__":
    prepare()
    from jupyterhub.singleuser import main

    main()
