"""Each layer against its definition, written out another way."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from oracles import attend, enlarge_weights
from swin_cifar import MLP, DropPath, PatchEmbed, PatchMerging, WindowAttention, shifted_window_mask
from swin_cifar.layers import FastLayerNorm, FastLinear


@pytest.mark.parametrize("convolves", [False, True])
def test_linear_is_the_map_of_nn_linear(monkeypatch, convolves):
    """With the products of any processor."""
    called = []
    convolution = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda *inputs: called.append(1) or convolution(*inputs))
    monkeypatch.setattr("swin_cifar.layers._CONVOLVES", convolves)
    layer, x = FastLinear(6, 5), torch.randn(2, 3, 4, 6)
    layer(x)
    assert bool(called) == convolves
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


def test_linear_is_a_convolution_in_float32_alone(monkeypatch):
    layer, x = FastLinear(6, 5), torch.randn(2, 3, 4, 6)
    monkeypatch.setattr("swin_cifar.layers._CONVOLVES", True)
    monkeypatch.setattr(F, "conv2d", lambda *_: pytest.fail("a convolution"))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer.bfloat16()(x.bfloat16()).shape == (2, 3, 4, 5)


def test_patch_embed_is_one_linear_map_of_every_patch():
    layer = enlarge_weights(PatchEmbed(4, 3, 8))
    images = torch.randn(2, 3, 8, 12)
    weight = layer.proj.weight.flatten(1)
    tokens = layer(images)
    assert tokens.shape == (2, 2, 3, 8)
    for y in range(2):
        for x in range(3):
            patch = images[:, :, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].flatten(1)
            expected = F.layer_norm(
                patch @ weight.T + layer.proj.bias, (8,), layer.norm.weight, layer.norm.bias
            )
            torch.testing.assert_close(tokens[:, y, x], expected)


@pytest.mark.parametrize(("h", "w", "H", "W"), [(32, 30, 8, 8), (30, 32, 8, 8), (1, 1, 1, 1), (5, 4, 2, 1)])
def test_patch_embed_pads_each_side_by_itself(h, w, H, W):
    layer = PatchEmbed(4, 3, 8)
    images = torch.randn(1, 3, h, w)
    padded = torch.zeros(1, 3, 4 * H, 4 * W)
    padded[:, :, :h, :w] = images
    assert layer(images).shape == (1, H, W, 8)
    assert torch.equal(layer(images), layer(padded))


@pytest.mark.parametrize(("H", "W"), [(4, 6), (5, 3), (1, 1)])
def test_patch_merging_gathers_column_by_column(H, W):
    layer = enlarge_weights(PatchMerging(3))
    x = torch.randn(2, H, W, 3)
    merged = layer(x)
    assert merged.shape == (2, (H + 1) // 2, (W + 1) // 2, 6)
    for i in range(merged.shape[1]):
        for j in range(merged.shape[2]):
            parts = [
                x[:, y, z] if y < H and z < W else torch.zeros(2, 3)
                for z in (2 * j, 2 * j + 1)
                for y in (2 * i, 2 * i + 1)
            ]
            expected = layer.reduction.weight @ layer.norm(torch.cat(parts, dim=1)).T
            torch.testing.assert_close(merged[:, i, j], expected.T)


@pytest.fixture
def attention():
    return enlarge_weights(WindowAttention(12, 3, 2))


def test_attention_equals_loops_over_queries_and_heads(attention):
    x = torch.randn(2, 2, 9, 12)
    out = attention(x)
    places = [(i // 3, i % 3) for i in range(9)]
    for b in range(2):
        for w in range(2):
            expected = torch.stack(attend(attention, list(x[b, w]), places))
            torch.testing.assert_close(out[b, w].double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("masked", [False, True])
def test_both_implementations_of_attention_agree(attention, masked):
    x = torch.randn(2, 4, 9, 12)
    mask = shifted_window_mask(5, 6, 3, 1) if masked else None
    out, weights = attention.explicit_attention(x, mask)
    assert (out - attention.fused_attention(x, mask)).abs().max() <= 1e-5
    assert torch.equal(out, attention(x, mask))  # on CPU
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 2, 9))
    if masked:
        assert weights.masked_fill(mask[:, None], 0).abs().max() == 0


def test_fused_attention_has_the_same_gradients(attention):
    x, mask = torch.randn(2, 4, 9, 12), shifted_window_mask(5, 6, 3, 1)
    upstream = torch.randn(2, 4, 9, 12)
    gradients = []
    for function in (
        lambda: attention.explicit_attention(x, mask)[0],
        lambda: attention.fused_attention(x, mask),
    ):
        attention.zero_grad()
        (function() * upstream).sum().backward()
        gradients.append([p.grad.clone() for p in attention.parameters()])
    for explicit, fused in zip(*gradients):
        torch.testing.assert_close(explicit, fused, atol=1e-5, rtol=1e-5)


def test_derived_buffers_stay_out_of_the_state_dict(attention):
    assert set(attention.state_dict()) == {
        "qkv.weight", "qkv.bias", "proj.weight", "proj.bias", "relative_position_bias_table",
    }  # fmt: skip


def test_mlp_works_on_each_token_by_itself():
    layer, x = MLP(4, 16), torch.randn(2, 3, 3, 4)
    expected = layer.fc2.weight @ F.gelu(layer.fc1.weight @ x[1, 2, 0] + layer.fc1.bias) + layer.fc2.bias
    torch.testing.assert_close(layer(x)[1, 2, 0], expected)


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    x = torch.ones(20_000, 2, 3)
    dropped = DropPath(0.25)(x)
    per_sample = dropped.flatten(1)
    assert (per_sample == per_sample[:, :1]).all()
    assert per_sample.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert per_sample.mean().item() == pytest.approx(1, abs=0.02)


def test_drop_path_is_off_in_evaluation():
    x = torch.randn(50, 4)
    assert torch.equal(DropPath(0.9).eval()(x), x)


def test_layer_norm_answers_in_the_dtype_of_its_input():
    ours, x = enlarge_weights(FastLayerNorm(16)), torch.randn(4, 16)
    plain = nn.LayerNorm(16)
    plain.load_state_dict(ours.state_dict())
    assert torch.equal(ours(x), plain(x))
    with torch.autocast("cpu", torch.bfloat16):
        half = ours(x.bfloat16())
        assert half.dtype == torch.bfloat16
        assert ours(x).dtype == torch.float32
    torch.testing.assert_close(half.float(), plain(x), atol=0.05, rtol=0.02)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: PatchEmbed()(torch.zeros(3, 32, 32)), ValueError, r"\(B, 3, h, w\)"),
        (lambda: PatchEmbed()(torch.zeros(1, 1, 32, 32)), ValueError, r"\(B, 3, h, w\)"),
        (lambda: PatchEmbed()(torch.zeros(1, 3, 8, 8, dtype=torch.uint8)), TypeError, "normalize"),
        (lambda: PatchMerging(4)(torch.zeros(1, 4, 4, 8)), ValueError, r"\(B, H, W, 4\)"),
        (lambda: PatchMerging(4)(torch.zeros(1, 16, 4)), ValueError, r"\(B, H, W, 4\)"),
        (lambda: WindowAttention(10, 2, 3), ValueError, "does not divide"),
        (lambda: WindowAttention(4, 0, 2), ValueError, "at least 1"),
        (lambda: WindowAttention(4, 2, 2)(torch.zeros(1, 3, 9, 4)), ValueError, r"nW, 4, 4"),
        (lambda: WindowAttention(4, 2, 2)(torch.zeros(1, 3, 4, 8)), ValueError, r"nW, 4, 4"),
        (
            lambda: WindowAttention(4, 2, 2)(torch.zeros(1, 3, 4, 4), torch.ones(2, 4, 4, dtype=torch.bool)),
            ValueError,
            r"bool mask \(3, 4, 4\)",
        ),
        (
            lambda: WindowAttention(4, 2, 2)(torch.zeros(1, 3, 4, 4), torch.zeros(3, 4, 4)),
            ValueError,
            "bool mask",
        ),
        (lambda: DropPath(1.0), ValueError, r"\[0, 1\)"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
