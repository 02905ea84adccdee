"""Parity with torchvision's Swin on copied weights; the published layouts, in and out."""

import pytest
import torch

import swin_cifar.model
from oracles import enlarge_weights
from swin_cifar import (
    create_model,
    load_official_weights,
    load_torchvision_weights,
    official_state_dict,
    torchvision_state_dict,
)
from swin_cifar.weights import torchvision_model, torchvision_name

TOLERANCE = 1e-5


@pytest.fixture(params=["nano", "mini", pytest.param("swin_t", marks=pytest.mark.slow)])
def pair(request):
    """Ours and torchvision's with the same large weights, and pictures."""
    ours = create_model(request.param).eval()
    theirs = enlarge_weights(torchvision_model(ours.config).eval())
    load_torchvision_weights(ours, theirs.state_dict())
    size = ours.config.image_size
    return ours, theirs, torch.randn(2 if size > 32 else 4, 3, size, size)


def test_every_layer_and_the_model_equal_torchvisions(pair):
    ours, theirs, images = pair
    with torch.no_grad():
        x = theirs.features[0](images)
        assert (ours.patch_embed(images) - x).abs().max() <= TOLERANCE
        for i, stage in enumerate(ours.stages):
            if i:
                y = theirs.features[2 * i](x)
                assert (stage.downsample(x) - y).abs().max() <= TOLERANCE
                x = y
            for mine, other in zip(stage.blocks, theirs.features[2 * i + 1]):
                normed = other.norm1(x)
                assert (mine.window_attention(normed) - other.attn(normed)).abs().max() <= TOLERANCE
                assert (mine.mlp(normed) - other.mlp(normed)).abs().max() <= TOLERANCE
                y = other(x)
                assert (mine(x) - y).abs().max() <= TOLERANCE
                x = y
        assert (ours(images) - theirs(images)).abs().max() <= TOLERANCE


def test_parameter_gradients_equal_torchvisions(pair):
    ours, theirs, images = pair
    direction = torch.randn(len(images), ours.config.num_classes) / 10  # gradients of size 1
    for model in (ours, theirs):
        (model(images) * direction).sum().backward()
    assert max(parameter.grad.abs().max() for parameter in ours.parameters()) > 0.5
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        other = expected.pop(torchvision_name(name))
        assert (parameter.grad - other.grad).abs().max() <= TOLERANCE, name
    assert not expected


# How far each mistake moves the logits; it must be seen from 100 tolerances away. Measured, for
# nano, base, swin_t: no mask 0.002, 0.02, 0.05; no bias 0.02, 0.06, 0.1; no shift 0.003, 0.04, 0.06;
# dy and dx swapped 0.02, 0.1, 0.1.
@pytest.mark.parametrize("mistake", ["no mask", "no bias", "no shift", "dy and dx swapped"])
def test_a_mistake_moves_the_logits_far(pair, mistake, monkeypatch):
    ours, _, images = pair
    with torch.no_grad():
        right = ours(images)
        if mistake == "no mask":
            monkeypatch.setattr(swin_cifar.model, "attention_mask", lambda *geometry: None)
        for module in ours.modules():
            if mistake == "no shift" and hasattr(module, "shift_size"):
                module.shift_size = 0
            elif mistake == "no bias" and hasattr(module, "relative_position_bias_table"):
                module.relative_position_bias_table.zero_()
            elif mistake == "dy and dx swapped" and hasattr(module, "relative_position_index"):
                side = 2 * module.window_size - 1
                index = module.relative_position_index
                module.relative_position_index = index % side * side + index // side
        moved = (ours(images) - right).abs().max().item()
    print(f"{mistake}: {moved:.2g}")
    assert moved > 100 * TOLERANCE


def test_torchvision_weights_come_back_the_same():
    theirs = enlarge_weights(torchvision_model(create_model("nano").config))
    ours = create_model("nano")
    load_torchvision_weights(ours, theirs.state_dict())
    back = torchvision_state_dict(ours)
    theirs.load_state_dict(back)  # strict, index buffers included
    assert back.keys() == theirs.state_dict().keys()


def official_layout(config):
    """Names and shapes of Microsoft's .pth for a config, with the buffers that their file holds."""
    M, last = config.window_size, len(config.dims) - 1
    C = config.embed_dim
    shapes = {
        "patch_embed.proj.weight": (C, 3, config.patch_size, config.patch_size),
        "patch_embed.proj.bias": (C,),
        "patch_embed.norm.weight": (C,),
        "patch_embed.norm.bias": (C,),
        "norm.weight": (config.dims[-1],),
        "norm.bias": (config.dims[-1],),
        "head.weight": (config.num_classes, config.dims[-1]),
        "head.bias": (config.num_classes,),
    }
    for i, (dim, depth, heads) in enumerate(zip(config.dims, config.depths, config.num_heads)):
        for j in range(depth):
            block = {
                "norm1.weight": (dim,), "norm1.bias": (dim,),
                "attn.relative_position_bias_table": ((2 * M - 1) ** 2, heads),
                "attn.relative_position_index": (M * M, M * M),
                "attn.qkv.weight": (3 * dim, dim), "attn.qkv.bias": (3 * dim,),
                "attn.proj.weight": (dim, dim), "attn.proj.bias": (dim,),
                "norm2.weight": (dim,), "norm2.bias": (dim,),
                "mlp.fc1.weight": (4 * dim, dim), "mlp.fc1.bias": (4 * dim,),
                "mlp.fc2.weight": (dim, 4 * dim), "mlp.fc2.bias": (dim,),
            }  # fmt: skip
            if j % 2:
                block["attn_mask"] = (4, M * M, M * M)
            shapes |= {f"layers.{i}.blocks.{j}.{name}": shape for name, shape in block.items()}
        if i < last:
            shapes[f"layers.{i}.downsample.norm.weight"] = (4 * dim,)
            shapes[f"layers.{i}.downsample.norm.bias"] = (4 * dim,)
            shapes[f"layers.{i}.downsample.reduction.weight"] = (2 * dim, 4 * dim)
    return {name: torch.randn(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("wrapped", [True, False])
def test_official_weights_load_and_come_back(wrapped):
    model = create_model("mini")
    theirs = official_layout(model.config)
    load_official_weights(model, {"model": theirs} if wrapped else theirs)
    merged = model.stages[1].downsample.reduction.weight
    assert torch.equal(merged, theirs["layers.0.downsample.reduction.weight"])
    assert torch.equal(model.stages[2].blocks[1].attn.qkv.bias, theirs["layers.2.blocks.1.attn.qkv.bias"])
    back = official_state_dict(model)["model"]
    derived = {name for name in theirs if name.endswith(("attn_mask", "relative_position_index"))}
    assert back.keys() == theirs.keys() - derived
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in back.items())


def test_weights_that_do_not_fit_are_listed_and_change_nothing():
    model = create_model("nano")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    theirs = torchvision_model(create_model("nano", window_size=3, num_classes=7).config).state_dict()
    del theirs["norm.bias"]
    theirs["surplus"] = torch.zeros(1)
    with pytest.raises(ValueError) as error:
        load_torchvision_weights(model, theirs)
    text = str(error.value)
    assert "missing: norm.bias" in text
    assert "not expected: surplus" in text
    assert "head.weight: (7, 96), the model has (10, 96)" in text
    assert "features.1.0.attn.relative_position_bias_table: (25, 3), the model has (49, 3)" in text
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
