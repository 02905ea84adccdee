"""Run notebooks from top to bottom and save them in one normal form.

    python notebooks/tools/execute.py notebooks/04_window_partition.ipynb ...

The saved outputs are those that pytest compares with (nbval), so run this after every change.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def execute(path):
    """Run the notebook at `path` in its folder, where `course` lies, and write it back.

    Raises CellExecutionError.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute()
    finally:  # what ran for long is not lost by a cell that fails after it
        _write(notebook, path)


def _write(notebook, path):
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    os.environ.setdefault("SWIN_CIFAR_RUN", "smoke")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SWIN_CIFAR_PIECES"] = folder  # saved outputs hold nothing of the pieces written here
        for name in sys.argv[1:]:
            execute(Path(name))
