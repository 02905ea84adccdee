"""Make `pytest` mean the same on every machine: strict nbval on one device, in short runs."""

import os

# Kernels inherit the environment of pytest.
os.environ.setdefault("SWIN_CIFAR_RUN", "smoke")  # long cells run their short version
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same device everywhere


def pytest_configure(config):
    if config.pluginmanager.hasplugin("nbval"):  # else `-p no:nbval`: no notebooks
        config.option.nbval = not config.option.nbval_lax
        config.option.nbval_current_env = True  # whatever kernel name is saved in a notebook
        config.option.nbval_cell_timeout = 120
