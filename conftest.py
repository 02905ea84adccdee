"""Make `pytest --nbval` mean the same on every machine."""

import os

# Kernels inherit the environment of pytest.
os.environ.setdefault("SWIN_CIFAR_RUN", "smoke")  # long cells run their short version
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same device everywhere


def pytest_configure(config):
    if getattr(config.option, "nbval", False):
        config.option.nbval_current_env = True  # whatever kernel name is saved in a notebook
        config.option.nbval_cell_timeout = 120
