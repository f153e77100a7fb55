"""The notebooks in tests/notebooks: one for each kernel, with the outputs that it must give.

`python -m tests.kernels.notebooks LAB` runs them anew in a session of that lab, and writes what
comes: read it before you commit it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, cast

import nbformat.v4
from nbclient import NotebookClient

from tests.kernels.channels import kernel
from tests.lab import Host
from tests.lab.client import Session
from tests.lab.demo import hub_of

FORMAT: Any = nbformat.v4
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def shown(cell: Any) -> list[tuple[str, ...]]:
    """What a person sees below a cell: text as it is, errors by name, pictures by their kind."""
    found: list[tuple[str, ...]] = []
    for output in cell.get("outputs", []):
        kind = output.output_type
        if kind == "stream" and found and found[-1][0] == output.name:  # in however many pieces
            found[-1] = (output.name, found[-1][1] + output.text)
        elif kind == "stream":
            found.append((output.name, output.text))
        elif kind == "error":
            found.append((kind, output.ename, ESCAPES.sub("", output.evalue)))
        else:
            pictures = sorted(key for key in output.data if key.startswith("image/"))
            found.append((kind, *(pictures or [output.data.get("text/plain", "")])))
    return found


def read(name: str) -> Any:
    """The notebook of a kernel."""
    return FORMAT.reads((NOTEBOOKS / f"{name}.ipynb").read_text())


def run(notebook: Any, session: Session) -> None:
    """Execute a notebook in a kernel of its own; the outputs are then those of this run."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    with kernel(session, notebook.metadata.kernelspec.name) as channels:
        local = cast(Any, channels)
        client = NotebookClient(notebook, km=local, timeout=60, record_timing=False)
        client.kc = local
        client.execute()


def main(lab: str) -> None:
    """Write all notebooks anew, with what a session of *lab* makes of them."""
    hub = hub_of(Host.read(lab))[1]
    hub.create_user("notebooks")
    hub.start_server("notebooks")
    session = hub.attach("notebooks", hub.mint_token("notebooks"))
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = read(path.stem)
        run(notebook, session)
        path.write_text(FORMAT.writes(notebook) + "\n")
    hub.delete_user("notebooks")


if __name__ == "__main__":
    main(sys.argv[1])
