"""Shared by all tests: settings of hypothesis, a seed."""

import hypothesis
import pytest
import torch

torch.set_num_threads(1)  # most tensors here are too small for two
hypothesis.settings.register_profile("suite", max_examples=25, deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")


def pytest_collection_modifyitems(items):
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def pieces(tmp_path_factory, monkeypatch):
    """What checks keep in tests reaches neither the repository nor the notebooks that run after them."""
    monkeypatch.setenv("SWIN_CIFAR_PIECES", str(tmp_path_factory.getbasetemp() / "pieces"))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
