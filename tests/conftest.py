"""Shared by all tests: settings of hypothesis, weights large enough to show a mistake."""

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("suite", max_examples=25, deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@torch.no_grad()
def enlarge_weights(module):
    """Make biases, norms and bias tables as large as trained ones: near zero they hide mistakes."""
    for name, parameter in module.named_parameters():
        if name.endswith("relative_position_bias_table"):
            parameter.normal_(std=2.0)
        elif parameter.ndim == 1:
            parameter.add_(torch.randn_like(parameter) * 0.3)
        else:
            parameter.mul_(2)
    return module
