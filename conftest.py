"""Make `pytest` mean the same on every machine: strict nbval on one device, in short runs."""

import os
import tempfile

# Kernels inherit the environment of pytest. Beside another busy process, threads that wait by
# spinning (the default) make everything several times slower; read before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("SWIN_CIFAR_RUN", "smoke")  # long cells run their short version
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same device everywhere
_pieces = tempfile.TemporaryDirectory()  # no piece that the reader wrote, none left behind
os.environ["SWIN_CIFAR_PIECES"] = _pieces.name


def pytest_configure(config):
    if config.pluginmanager.hasplugin("nbval"):  # else `-p no:nbval`: no notebooks
        config.option.nbval = not config.option.nbval_lax
        config.option.nbval_current_env = True  # whatever kernel name is saved in a notebook
        config.option.nbval_cell_timeout = 120


LONG = ("13_",)  # notebooks whose cells take too long to run twice


def pytest_addoption(parser):
    parser.addoption("--again", action="store_true", help="run the second half of each notebook twice")


def pytest_collection_modifyitems(config, items):
    """With --again: after a notebook's last cell its second half once more, in the same kernel.

    Readers scroll back and run cells again. This fails where a name that a cell needs has another
    meaning by then. What the cells print is not compared.
    """
    if not (config.getoption("again", False) and config.pluginmanager.hasplugin("nbval")):
        return
    from nbval.plugin import IPyNbCell

    notebooks = {}
    for item in items:
        if isinstance(item, IPyNbCell) and not item.parent.name.startswith(LONG):
            notebooks.setdefault(item.parent, []).append(item)
    for notebook, cells in notebooks.items():
        place = items.index(cells[-1]) + 1
        items[place:place] = [
            IPyNbCell.from_parent(
                notebook,
                name=f"{cell.name} again",
                cell_num=cell.cell_num,
                cell=cell.cell,
                options=cell.options | {"check": False},
            )
            for cell in cells[len(cells) // 2 :]
        ]
