"""What is compared is the same network; turns are taken; the figures are medians."""

import time

import pytest
import torch

from swin_cifar.bench import _models, measure
from swin_cifar.config import model_config

CPU = torch.device("cpu")


def test_ours_and_torchvisions_are_the_same_network():
    models = _models(model_config("nano"))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        ours, theirs = (models[name].eval()(images) for name in ("swin_cifar", "torchvision"))
    assert (ours - theirs).abs().max() <= 1e-5
    counts = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    assert set(counts.values()) == {303_532}, counts


def test_functions_take_turns_and_medians_are_taken():
    calls = []
    times = measure({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3, CPU)
    assert calls == ["a", "b"] * 4  # once to warm up
    assert all(t["q1"] <= t["median"] <= t["q3"] for t in times.values())


def test_a_pause_is_measured_in_seconds():
    times = measure({"pause": lambda: time.sleep(0.02)}, 3, CPU)
    assert times["pause"]["median"] == pytest.approx(0.02, rel=0.5)
