"""Makes and destroys test hosts ("labs"): `with lab("test-…") as host:`, or `python -m tests.lab`.

Only the standard library is imported here, so `lab-shell` needs no virtual environment.
"""

from tests.lab.errors import LabError
from tests.lab.host import Host, Ssh, copy_images
from tests.lab.labs import down, lab, restart, up

__all__ = ["Host", "LabError", "Ssh", "copy_images", "down", "lab", "restart", "up"]
