"""Attention against loops over true windows, rollout against matrices, influence against differences."""

from itertools import product

import pytest
import torch

from oracles import SIZES, attention_weights, true_windows
from swin_cifar import load_shapes10, normalize
from swin_cifar.inspection import attention_maps, class_map, features, grad_cam, influence, rollout
from swin_cifar.predict import predict_logits


def brute_force(block, x):
    """(1, H, W, C) -> (heads, H, W, H, W), every weight computed from two tokens and their places."""
    _, H, W, _ = x.shape
    attn, shift = block.attn, block.shift_size
    x = block.norm1(x)
    full = torch.zeros(attn.num_heads, H, W, H, W, dtype=torch.float64)
    for rows, cols in product(true_windows(H, 4, shift), true_windows(W, 4, shift)):
        places = list(product(range(*rows), range(*cols)))
        weights = attention_weights(attn, [x[0, y, z] for y, z in places], places)
        for (y, z), of_query in zip(places, weights):
            for head, of_head in enumerate(of_query):
                for (u, v), weight in zip(places, of_head):
                    full[head, y, z, u, v] = weight
    return full


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_attention_maps_are_the_weights_in_the_true_windows(model, size):
    images = torch.randn(2, 3, *size)
    maps = attention_maps(model, images)
    assert len(maps) == 4 and model.training
    x, found = model.patch_embed(images[1:]), iter(maps)
    for stage in model.stages:
        x = stage.downsample(x)
        for block in stage.blocks:
            attention = next(found)
            assert attention.shape == (2, block.attn.num_heads, *x.shape[1:3], *x.shape[1:3])
            assert (attention[1] - brute_force(block, x)).abs().max() <= 1e-6
            assert (attention.sum((4, 5)) - 1).abs().max() < 1e-5
            x = block(x)


# --- rollout and influence ----------------------------------------------------------------


def rollout_by_matrices(model, images):
    """Block after block, with a matrix of all tokens for each step; in float64."""
    maps = attention_maps(model, images)
    B, _, H0, W0 = maps[0].shape[:4]
    reached, (H, W) = torch.eye(H0 * W0, dtype=torch.float64).expand(B, -1, -1), (H0, W0)
    for attention in maps:
        if attention.shape[2:4] != (H, W):
            merging = torch.zeros(*attention.shape[2:4], H, W, dtype=torch.float64)
            for y, x in product(range(H), range(W)):
                merging[y // 2, x // 2, y, x] = 1
            merging = (merging / merging.sum((2, 3), keepdim=True)).flatten(2).flatten(0, 1)
            reached, (H, W) = merging @ reached, attention.shape[2:4]
        step = attention.double().mean(1).reshape(B, H * W, H * W)
        reached = (torch.eye(H * W) + step) / 2 @ reached
    return reached.view(B, H, W, H0, W0)


@pytest.mark.parametrize("size", [*SIZES, (5, 7), (2, 2)])
def test_rollout_is_the_product_of_whole_matrices(model, size):
    images = torch.randn(2, 3, *size)
    found, expected = rollout(model, images), rollout_by_matrices(model, images)
    assert found.shape == expected.shape and model.training
    assert (found - expected).abs().max() < 1e-6 and (found.sum((3, 4)) - 1).abs().max() < 1e-5


def test_rollout_and_influence_of_what_is_wrapped_or_in_half_precision(model):
    images, labels = torch.randn(2, 3, 16, 16), torch.tensor([4, 2])
    flow, felt = rollout(model, images), influence(model, images, labels)
    for wrapped in (torch.nn.DataParallel(model), torch.compile(model)):
        assert torch.equal(rollout(wrapped, images), flow) and len(attention_maps(wrapped, images)) == 4
        assert torch.equal(influence(wrapped, images, labels), felt)
    model.half()
    found = rollout(model, images.half())
    assert found.dtype == torch.float32 and (found - flow).abs().max() < 0.01
    found = influence(model, images.half(), labels)
    assert found.dtype == torch.float32 and (found - felt).abs().max() < 0.1 * felt.max()


def by_differences(function, image, step=1e-5):
    """(3, h, w) -> (K, 3, h, w): the Jacobian of (B, 3, h, w) -> (B, K), every value moved there and back."""
    moves = step * torch.eye(image.numel(), dtype=image.dtype).view(-1, *image.shape)
    with torch.no_grad():
        change = function(image + moves) - function(image - moves)
    return (change / (2 * step)).T.unflatten(1, image.shape)


@pytest.mark.parametrize("place", [(0, 0), (2, 1)])
def test_influence_is_the_norm_of_the_jacobian_by_differences(model, place):
    model.double()
    images, labels = torch.randn(2, 3, 12, 10, dtype=torch.float64), torch.tensor([3, 7])
    found = influence(model, images, token=place)
    jacobian = by_differences(lambda x: model.eval().forward_features(x)[:, place[0], place[1]], images[1])
    assert found.shape == (2, 12, 10) and (found[1] - jacobian.norm(dim=(0, 1))).abs().max() < 1e-6
    logits = influence(model.train(), images, labels)
    assert model.training and not images.requires_grad and model.head.weight.grad is None
    jacobian = by_differences(lambda x: model.eval()(x)[:, [7]], images[1])
    assert (logits[1] - jacobian[0].norm(dim=0)).abs().max() < 1e-6


def test_probes_estimate_the_influence_of_a_token(model):
    images = torch.randn(1, 3, 16, 16)
    exact, found = (influence(model, images, token=(1, 2), probes=n) ** 2 for n in (None, 150))
    assert ((found - exact).abs() / exact).max() < 0.9 and (found.sum() / exact.sum() - 1).abs() < 0.2
    assert torch.equal(found, influence(model, images, token=(1, 2), probes=150) ** 2)


def test_influence_of_nothing_of_two_things_and_of_a_token_that_is_not_there_is_refused(model):
    images, labels = torch.randn(1, 3, 16, 16), torch.tensor([1])
    for options in ({}, {"labels": labels, "token": (0, 0)}):
        with pytest.raises(ValueError, match="give either the classes"):
            influence(model, images, **options)
    for token in ((4, 0), (0, -1)):
        with pytest.raises(ValueError, match="in the last map of 4 x 4 tokens"):
            influence(model, images, token=token)


# --- maps of classes, features --------------------------------------------------------------


def test_the_weights_are_large_enough_to_show_a_missing_shift(model):
    images = torch.randn(1, 3, 16, 16)
    right = attention_maps(model, images)[1]
    model.stages[0].blocks[1].shift_size = 0
    assert (attention_maps(model, images)[1] - right).abs().max() > 0.1


def test_the_mean_of_a_class_map_and_the_bias_are_the_logit(model):
    images, labels = torch.randn(3, 3, 20, 12), torch.tensor([1, 9, 0])
    with torch.no_grad():
        logits = model.eval()(images).gather(1, labels[:, None])[:, 0]
    found = class_map(model, images, labels)
    assert found.shape == (3, 5, 3)
    assert (found.mean((1, 2)) + model.head.bias[labels] - logits).abs().max() < 1e-5


def test_grad_cam_is_the_gradient_times_the_map(model):
    images, labels = torch.randn(2, 3, 16, 16), torch.tensor([3, 7])
    x = model.stages[0](model.patch_embed(images)).detach()
    found = grad_cam(model, images, labels, stage=0)
    assert found.shape == (2, 8, 8) and (found >= 0).all() and found.max() > 0

    def logit(channel_shift):  # of picture 1, with a constant added to each channel of its map
        maps = model.stages[1](x[1:] + channel_shift)
        return model.head(model.norm(maps).mean((1, 2)))[0, 7]

    gradient = torch.autograd.functional.jacobian(logit, torch.zeros(12)) / 64
    assert (found[1] - (x[1] @ gradient).clamp(min=0)).abs().max() < 1e-5
    last = grad_cam(model, images, labels, stage=1)
    assert last.shape == (2, 4, 4)


@pytest.mark.parametrize("stage", [-1, 2])
def test_grad_cam_of_a_stage_that_is_not_there_is_refused(model, stage):
    with pytest.raises(ValueError, match=f"there is no stage {stage}: the model has 2"):
        grad_cam(model, torch.randn(1, 3, 32, 32), torch.tensor([0]), stage)


def test_features_are_what_the_head_reads(model):
    data, _ = load_shapes10(50, 1)
    found = features(model, data, batch_size=16)
    assert found.shape == (50, 24)
    assert (model.head(found) - predict_logits(model, data)).abs().max() < 1e-4
    images = normalize(data.images[:1], data.mean, data.std)
    assert torch.allclose(found[0], model.forward_features(images).mean((0, 1, 2)), atol=1e-5)
