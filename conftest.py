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
