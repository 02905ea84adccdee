"""The models of the ladder: as large as the preset, and each without exactly the ideas it lacks."""

import pytest
import torch
from oracles import enlarge_weights

from swin_cifar.config import train_config
from swin_cifar.data import load_shapes10
from swin_cifar.inspection import influence
from swin_cifar.ladder import flat_model
from swin_cifar.model import create_model
from swin_cifar.studies import STUDIES
from swin_cifar.training import fit

IMAGE = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))


def learned(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("preset", ["nano", "base"])
def test_all_have_as_many_parameters_as_the_preset(preset):
    wanted = learned(create_model(preset))
    for name, variant in STUDIES["ladder"].items():
        assert abs(learned(variant.build(preset)) / wanted - 1) < 0.03, name


@pytest.mark.parametrize(
    ("ideas", "pixels_after_each_block"),  # that reach the token at (5, 5), of 8 x 8 tokens of 4 x 4 pixels
    [({"windows": False}, [1024] * 4), ({"shift": False}, [256] * 4), ({}, [256, 1024, 1024, 1024])],
)
def test_windows_and_shift_decide_what_reaches_a_token(ideas, pixels_after_each_block):
    maps = influence(enlarge_weights(flat_model("nano", **ideas)), IMAGE, 5, 5)
    assert [(m > 0).sum().item() for m in maps] == pixels_after_each_block


@pytest.mark.parametrize(
    ("ideas", "knows_places"),
    [({"bias": False}, False), ({"bias": False, "position": True}, True), ({}, True)],
)
def test_without_bias_and_embedding_places_are_unknown(ideas, knows_places):
    torch.manual_seed(0)
    model = flat_model("nano", windows=False, **ideas).eval()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and (name.endswith("table") or name.endswith("tokens")):
            torch.nn.init.normal_(parameter)
    patches = IMAGE.view(3, 8, 4, 8, 4).permute(1, 3, 0, 2, 4).flatten(0, 1)  # (64, 3, 4, 4)
    shuffled = patches[torch.randperm(64)].view(8, 8, 3, 4, 4).permute(2, 0, 3, 1, 4).reshape(3, 32, 32)
    with torch.no_grad():
        moved = (model(IMAGE[None]) - model(shuffled[None])).abs().max()
    assert moved > 1e-2 if knows_places else moved < 1e-4


def test_a_bias_that_is_left_out_stays_out_in_training():
    train, _ = load_shapes10(256, 1)
    model = flat_model("nano", bias=False)
    fit(model, train, config=train_config("nano", epochs=1), progress=False)
    assert all((p == 0).all() for name, p in model.named_parameters() if name.endswith("bias_table"))
