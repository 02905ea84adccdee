"""Make the notebooks open in Google Colab, once the project is published.

    python notebooks/tools/colab.py https://github.com/OWNER/NAME

writes two cells below the title of each notebook: a line "Open in Colab", and a cell that fetches
and installs the project where it is missing. Run it again when the address has changed.

This opens the project itself, with its outputs and solutions. For students run `handout.py --colab ADDRESS`:
its cells open the branch where you publish the handout.
"""

import argparse
import re
from pathlib import Path

import nbformat

IDS = ("colab-text", "colab")
TEXT = """[Open in Colab](https://colab.research.google.com/github/{owner}/{name}/blob/{branch}/notebooks/{file}).
There the next cell fetches and installs the project, in a minute; where the project is, it does nothing."""
CODE = """from importlib.util import find_spec
from pathlib import Path

here = Path("../checkpoints").exists()
if not here and not Path("{name}").exists():
    !git clone --quiet --depth 1 --branch {branch} https://github.com/{owner}/{name}.git
if not here:
    %cd -q {name}/notebooks
if find_spec("swin_cifar") is None:
    %pip install --quiet --editable ..
    import sys

    sys.path.insert(0, "..")  # this kernel started before the installation"""


def publish(notebook, file, address, branch="main"):
    """Put the two cells below the title of a notebook, in place of those that are there.

    Raises ValueError where `address` is not that of a repository on GitHub.
    """
    found = re.fullmatch(r"https://github\.com/([\w.-]+)/([\w.-]+?)(?:\.git)?/?", address)
    if not found:
        raise ValueError(f"an address looks like https://github.com/OWNER/NAME, not {address!r}")
    words = {"owner": found[1], "name": found[2], "branch": branch, "file": file}
    title, *rest = (cell for cell in notebook.cells if cell.id not in IDS)
    text = nbformat.v4.new_markdown_cell(TEXT.format(**words), id=IDS[0])
    code = nbformat.v4.new_code_cell(CODE.format(**words), id=IDS[1])
    notebook.cells = [title, text, code, *rest]
    for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
        cell.execution_count = count  # the new cell prints nothing, so nothing has to run again
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count


def main(arguments=None, folder=Path(__file__).parents[1]):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address", help="https://github.com/OWNER/NAME")
    parser.add_argument("--branch", default="main", help="what Colab opens and fetches (main)")
    options = parser.parse_args(arguments)
    for path in sorted(folder.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        try:
            publish(notebook, path.name, options.address, options.branch)
        except ValueError as error:
            parser.error(str(error))
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
