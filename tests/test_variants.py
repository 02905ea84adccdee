"""Models with an idea left out: as large as the preset, and each without exactly the ideas it lacks."""

import copy

import pytest
import torch

from course.reach import influence
from oracles import enlarge_weights
from study import STUDIES, flat_model
from swin_cifar.config import train_config
from swin_cifar.data import load_shapes10
from swin_cifar.model import create_model
from swin_cifar.training import fit
from swin_cifar.variants import IDEAS, ablate

IMAGE = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0))


def learned(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("preset", ["nano", pytest.param("mini", marks=pytest.mark.slow)])
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


# What a model of one stage cannot do without each idea: two sums of its logits that are then equal.


def red_and_green(*places):
    """(1, 3, 32, 32): a token of colour at each (row, column, colour), 8 x 8 tokens of 4 x 4 pixels."""
    tokens = torch.zeros(3, 8, 8)
    for row, column, colour in places:
        tokens[:, row, column] = torch.tensor([1.0, -1, -1] if colour == "red" else [-1.0, 1, -1])
    return tokens.repeat_interleave(4, 1).repeat_interleave(4, 2)[None]


def sums_equal_ablate(idea):
    if idea == "shift":  # windows never meet, so each adds its part: no "same colour or not?"
        colours = ("red", "red"), ("green", "green"), ("red", "green"), ("green", "red")
        pictures = [red_and_green((3, 3, a), (4, 4, b)) for a, b in colours]
        return pictures[:2], pictures[2:]
    if idea == "mask":  # the map is a ring: moved by a window it looks the same
        picture = red_and_green((2, 3, "red"), (2, 4, "green"))
        return [picture], [picture.roll(16, dims=3)]
    # Tokens that share all their windows can be swapped: no "left or right?"
    return [red_and_green((2, 2, "red"), (2, 3, "green"))], [red_and_green((2, 2, "green"), (2, 3, "red"))]


@pytest.mark.parametrize("idea", IDEAS)
def test_what_no_weights_can_do_without_an_idea(idea):
    torch.manual_seed(0)
    differences = {}
    for left_out in (None, *IDEAS):
        model = enlarge_weights(flat_model("nano").eval())
        ablate(model, *([left_out] if left_out else []))
        with torch.no_grad():
            one, other = (sum(model(picture) for picture in part) for part in sums_equal_ablate(idea))
        differences[left_out] = (one - other).abs().max().item()
    # Moved by a window, a model without shift sees the same windows in other places.
    blind = {"shift": {"shift"}, "mask": {"mask", "shift"}, "bias": {"bias"}}[idea]
    assert all(differences[left_out] < 1e-5 for left_out in blind), differences
    assert all(d > 1e-3 for left_out, d in differences.items() if left_out not in blind), differences


def test_a_copy_without_mask_is_independent():
    model = ablate(enlarge_weights(flat_model("nano").eval()), "mask")
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        assert other(IMAGE[None]).abs().max() > 0.1 and model(IMAGE[None]).abs().max() == 0


def test_an_unknown_idea_is_named():
    with pytest.raises(ValueError, match="unknown idea 'hierarchy'; there are: shift, mask, bias"):
        ablate(flat_model("nano"), "hierarchy")


def test_a_bias_that_is_left_out_stays_out_in_training():
    train, _ = load_shapes10(256, 1)
    model = flat_model("nano", bias=False)
    fit(model, train, recipe=train_config("nano", epochs=1), progress=False)
    assert all((p == 0).all() for name, p in model.named_parameters() if name.endswith("bias_table"))
