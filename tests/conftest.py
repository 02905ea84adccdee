"""Shared by all tests: settings of hypothesis, a seed."""

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("suite", max_examples=25, deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
