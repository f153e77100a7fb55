"""The revisions of the database's schema that this JupyterHub knows, its own first.

Whoever is about to start it in another's place asks first (files/database in the installer).
"""

from alembic.script import ScriptDirectory
from jupyterhub.dbutil import ALEMBIC_DIR


def main() -> int:
    known = ScriptDirectory(ALEMBIC_DIR).walk_revisions()
    print(*(script.revision for script in known))
    return 0
