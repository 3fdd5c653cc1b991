"""Run a notebook on a home, and keep of it only what the next run on the same home would give again."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

from feature_repo.errors import GateError
from feature_repo.home import PROJECT_ROOT, Home, write_atomically

NOTEBOOKS = tuple(sorted(Path(__file__).parent.glob("*.ipynb")))
_KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
_SECONDS = 600  # for one cell


def execute(path: Path, home: Home) -> NotebookNode:
    """Run a notebook in a kernel of its own, started in the project's folder, on the given home.

    Returns
    -------
    NotebookNode
        With its outputs; without warnings, times, or the version of Python.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails.
    GateError
        If an output names a folder of this machine.
    """
    notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook,
        timeout=_SECONDS,
        kernel_name="python3",
        record_timing=False,
        config=Config(KernelManager={"transport": "ipc"}),  # over TCP anybody on this machine could listen
        resources={"metadata": {"path": str(PROJECT_ROOT)}},
    )
    client.execute(env=os.environ | {"CANDOR_HOME": str(home.root), "PYTHONWARNINGS": "ignore"})
    notebook.metadata = {"kernelspec": _KERNEL, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            _refuse_leaks(f"{path.name}, cell {cell.id}", str(cell.outputs), home)
    return notebook


def save(notebook: NotebookNode, path: Path) -> None:
    """Replace a notebook in one step."""
    write_atomically(path, f"{nbformat.writes(notebook)}\n".encode())  # type: ignore[no-untyped-call]


def _refuse_leaks(where: str, text: str, home: Home) -> None:
    for folder in (home.root, PROJECT_ROOT):
        if re.search(rf"{re.escape(str(folder))}\b", text):
            raise GateError(f"{where} shows a folder of this machine: {folder}")
