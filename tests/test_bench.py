"""What is compared is the same network; turns are taken; the figures are medians."""

import time

import pytest
import torch

from swin_cifar.bench import arithmetic_ceiling, measure, one_pass, same_network
from swin_cifar.config import model_config
from swin_cifar.system import count_flops

CPU = torch.device("cpu")


def test_ours_and_torchvisions_are_the_same_network():
    models = same_network(model_config("nano"))
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


def test_operations_are_counted_as_two_per_multiply_add():
    model, images = same_network(model_config("nano"))["swin_cifar"], torch.randn(2, 3, 32, 32)
    labels = torch.tensor([1, 2])
    forward, both = (count_flops(one_pass(model, images, labels, backward)) for backward in (False, True))
    qkv_proj_mlp = 2 * 64 * 12 * 48**2 + 2 * 16 * 12 * 96**2  # multiply-adds of both stages' linear maps
    attention = 2 * 2 * 64 * 16 * 48 + 2 * 2 * 16 * 16 * 96
    other = 64 * 48 * 48 + 16 * 192 * 96 + 960  # patch embedding, merging, head
    assert forward == 2 * 2 * (qkv_proj_mlp + attention + other)
    assert 2.9 * forward < both < 3 * forward  # no gradient is needed for the pictures


def test_the_ceiling_is_what_a_product_reaches():
    ceiling = arithmetic_ceiling(CPU, 3, size=256)
    start = time.perf_counter()
    torch.randn(256, 256) @ torch.randn(256, 256)
    assert 1e8 < ceiling < 1e14 and ceiling > 2 * 256**3 / (time.perf_counter() - start) / 100
