"""The block against brute force in the true windows; the model's shapes, sizes and presets."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from oracles import attention_in_true_windows, enlarge_weights, number_weights, true_windows
from swin_cifar import (
    PatchMerging,
    SwinConfig,
    SwinStage,
    SwinTransformer,
    SwinTransformerBlock,
    create_model,
    load_official_weights,
    load_torchvision_weights,
    official_state_dict,
    torchvision_state_dict,
)
from swin_cifar.config import train_config

sides = st.integers(1, 9)


@st.composite
def geometries(draw):
    M = draw(st.integers(1, 4))
    return draw(sides), draw(sides), M, draw(st.integers(0, M - 1))


def make_block(M, shift, dim=4, heads=2):
    return enlarge_weights(SwinTransformerBlock(dim, heads, M, shift)).eval()


@given(geometries())
def test_attention_equals_brute_force_in_the_true_windows(geometry):
    H, W, M, shift = geometry
    block = make_block(M, shift)
    x = torch.randn(1, H, W, 4)
    with torch.no_grad():
        expected = attention_in_true_windows(block.attn, x, shift)
        assert (block.window_attention(x) - expected).abs().max() <= 1e-5


@given(geometries())
def test_from_windows_undoes_to_windows(geometry):
    H, W, M, shift = geometry
    block = make_block(M, shift)
    x = torch.randn(2, H, W, 4)
    assert torch.equal(block.from_windows(block.to_windows(x)[0], H, W), x)


@given(geometries(), st.data())
def test_a_token_reaches_exactly_the_tokens_of_its_window(geometry, data):
    H, W, M, shift = geometry
    y, x = data.draw(st.integers(0, H - 1)), data.draw(st.integers(0, W - 1))
    block = make_block(M, shift)
    before = torch.randn(1, H, W, 4)
    after = before.clone()
    after[0, y, x] = torch.randn(4)  # noise: LayerNorm would erase a constant
    with torch.no_grad():
        changed = (block(before) - block(after)).abs().amax(-1)[0] > 1e-6
    rows, cols = (
        next(w for w in true_windows(size, M, shift) if w[0] <= at < w[1]) for size, at in ((H, y), (W, x))
    )
    expected = torch.zeros(H, W, dtype=torch.bool)
    expected[slice(*rows), slice(*cols)] = True
    assert torch.equal(changed, expected)


@given(geometries())
def test_what_is_in_the_padding_does_not_matter(geometry):
    H, W, M, shift = geometry
    block = make_block(M, shift)
    x = torch.randn(1, H, W, 4)
    zero_pad = F.pad
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        expected = block.window_attention(x)
        patch.setattr(F, "pad", lambda t, widths: zero_pad(t, widths, value=7.5))
        assert (block.window_attention(x) - expected).abs().max() <= 1e-6


@pytest.mark.parametrize(("H", "W"), [(4, 4), (3, 2), (4, 8), (9, 4)])
def test_an_axis_that_one_window_covers_is_not_shifted(H, W):
    shifted, plain = make_block(4, 2), make_block(4, 0)
    plain.load_state_dict(shifted.state_dict())
    x = torch.randn(1, H, W, 4)
    along_h = torch.cat([shifted(x[:, :, :1]), plain(x[:, :, :1])])
    same = torch.equal(shifted(x), plain(x))
    assert same == (H <= 4 and W <= 4)
    assert torch.equal(*along_h.split(1)) == (H <= 4)


def test_drop_path_acts_on_both_branches_in_training_only():
    block = enlarge_weights(SwinTransformerBlock(4, 2, 2, 0, drop_path=0.5))
    x = torch.randn(1, 4, 4, 4).expand(400, -1, -1, -1)
    kinds = block(x).flatten(1).round(decimals=4).unique(dim=0)
    assert len(kinds) == 4  # attention kept or not, MLP kept or not
    assert len(block.eval()(x).unique(dim=0)) == 1


def test_stage_halves_the_map_and_doubles_the_channels():
    x = torch.randn(2, 9, 6, 8)
    assert SwinStage(16, 2, 2, 3, downsample=True)(x).shape == (2, 5, 3, 16)
    stage = SwinStage(8, 3, 2, 4)
    assert stage(x).shape == x.shape
    assert [block.shift_size for block in stage.blocks] == [0, 2, 0]


def test_stage_maps_are_the_map_of_each_stage_and_the_last_is_normalised():
    model = create_model("mini").eval()
    images = torch.randn(2, 3, 32, 32)
    maps = model.stage_maps(images)
    assert [tuple(m.shape) for m in maps] == [(2, 16, 16, 96), (2, 8, 8, 192), (2, 4, 4, 384)]
    x = model.forward_features(images)
    assert torch.equal(x, model.norm(maps[-1]))
    mean = model.forward_head(x, pre_logits=True)
    assert torch.equal(mean, x.mean((1, 2)))
    assert torch.equal(model.forward_head(x), model.head(mean))
    assert torch.equal(model(images), model.head(mean))


@pytest.mark.parametrize("size", [(1, 1), (7, 50), (32, 30), (33, 32)])
def test_any_picture_size_runs(size):
    model = create_model("nano", window_size=3)
    images = torch.randn(2, 3, *size)
    logits = model(images)
    logits.sum().backward()
    assert logits.shape == (2, 10)
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("swin_t", 28_288_354), ("swin_s", 49_606_258), ("swin_b", 87_768_224), ("swin_l", 196_532_476)],
)
def test_presets_have_the_papers_parameter_counts(name, parameters):
    with torch.device("meta"):
        model = create_model(name)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_drop_path_rates_grow_from_zero_to_the_last_block():
    model = create_model("mini", drop_path_rate=0.3)
    rates = [block.drop_path.drop_prob for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([i / 9 * 0.3 for i in range(10)])


def test_evaluation_is_deterministic_and_training_is_not():
    model = enlarge_weights(create_model("nano", drop_path_rate=0.5))
    images = torch.randn(8, 3, 32, 32)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def test_a_mask_made_in_inference_mode_serves_in_training():
    model, images = create_model("nano", window_size=5), torch.randn(2, 3, 44, 44)
    with torch.inference_mode():
        model(images)
    model(images).sum().backward()


def test_a_copy_gives_the_same_answer():
    model, images = enlarge_weights(create_model("nano")).eval(), torch.randn(2, 3, 32, 32)
    assert torch.equal(copy.deepcopy(model)(images), model(images))


@pytest.mark.slow
def test_the_model_compiles_as_one_graph():
    model, images = enlarge_weights(create_model("nano")), torch.randn(2, 3, 24, 24)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), model(images), atol=1e-5, rtol=1e-5)


def test_a_compiled_block_takes_any_size_in_one_graph():
    block = make_block(3, 1)
    compiled = torch.compile(block, backend="eager", fullgraph=True, dynamic=False)
    for H, W in ((6, 7), (5, 3), (2, 9)):
        x = torch.randn(2, H, W, 4)
        torch.testing.assert_close(compiled(x), block(x), atol=1e-5, rtol=1e-5)


def test_shapes_can_be_traced_without_data():
    with torch.device("meta"):
        logits = create_model("swin_t")(torch.empty(2, 3, 200, 256))
    assert logits.shape == (2, 1000)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: create_model("minni"), "did you mean 'mini'"),
        (lambda: create_model("mini", num_class=3), "did you mean 'num_classes'"),
        (lambda: train_config("nanno"), "did you mean 'nano'"),
        (lambda: train_config("nano", epoch=3), "did you mean 'epochs'"),
        (lambda: create_model("mini", num_heads=(3, 6)), "one entry per stage"),
        (lambda: create_model("mini", num_heads=(5, 6, 12)), "5 does not divide"),
        (lambda: create_model("mini", window_size=0), "window_size must be"),
        (lambda: create_model("mini", embed_dim=9.5), "whole number"),
        (lambda: create_model("mini", depths=(0, 2, 2)), "at least 1"),
        (lambda: create_model("mini", drop_path_rate=1.0), r"\[0, 1\)"),
        (lambda: train_config("nano", epochs=0), "epochs must be at least 1"),
        (lambda: train_config("nano", mixup_prob=0.7, cutmix_prob=0.7), "more than 1"),
        (lambda: train_config("nano", epochs=1.5), "whole number"),
        (lambda: train_config("nano", learning_rate=1e-6), "more than min_learning_rate"),
        (lambda: SwinStage(4, 2, 2, 2, drop_path=[0.1]), "expected 2 drop_path rates"),
        (lambda: SwinTransformerBlock(4, 2, 4, shift_size=4), r"\[0, 4\)"),
        (lambda: SwinTransformerBlock(4, 2, 4, shift_size=-1), r"\[0, 4\)"),
        (lambda: SwinTransformerBlock(4, 2, 4)(torch.zeros(1, 4, 8, 8)), r"\(B, H, W, 4\)"),
        (lambda: create_model("nano")(torch.zeros(3, 32, 32)), r"\(B, 3, h, w\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("name", "logits", "gradient"),
    [("nano", [-0.8869, 0.64008, 0.42588, -0.80891], 20.13652),
     ("mini", [0.94475, 1.00278, -0.64159, -1.26287], 42.41164)],
)  # fmt: skip
def test_the_same_weights_give_the_same_logits_and_gradients_as_ever(name, logits, gradient):
    """As version 0.1.0 gave them, before its rooms were moved."""
    model = number_weights(create_model(name)).eval()
    answer = model(torch.linspace(-2, 2, 4 * 3 * 32 * 32).view(4, 3, 32, 32).sin())
    (answer * torch.linspace(-1, 1, 40).view(4, 10)).sum().backward()
    assert answer[0, :4].tolist() == pytest.approx(logits, abs=2e-5)
    norm = sum(p.grad.square().sum() for p in model.parameters()).sqrt()
    assert norm.item() == pytest.approx(gradient, rel=1e-5)


def test_the_old_name_of_a_preset_works_and_says_so():
    with pytest.warns(FutureWarning, match="^the preset 'base' is called 'mini' now$"):
        model = create_model("base", num_classes=3)
    assert model.config == create_model("mini", num_classes=3).config
    with pytest.warns(FutureWarning):
        assert train_config("base") == train_config("mini")


# --- properties of the whole model, over geometry ---------------------------------------


@st.composite
def small_models(draw):
    """-> a model of any geometry, in double precision and eval mode, and the size of a picture."""
    stages = draw(st.integers(1, 3))
    config = SwinConfig(
        patch_size=draw(st.integers(1, 4)),
        in_channels=draw(st.integers(1, 3)),
        embed_dim=draw(st.sampled_from([4, 8])),
        depths=draw(st.tuples(*[st.integers(1, 3)] * stages)),
        num_heads=draw(st.tuples(*[st.sampled_from([1, 2, 4])] * stages)),
        window_size=draw(st.integers(1, 5)),
        mlp_ratio=draw(st.sampled_from([0.5, 2.0])),
        num_classes=draw(st.integers(1, 4)),
    )
    return enlarge_weights(SwinTransformer(config)).double().eval(), draw(sides) * 3, draw(sides) * 2


@given(small_models(), st.integers(0, 3))
def test_each_picture_of_a_batch_is_answered_by_itself(model_and_size, B):
    model, h, w = model_and_size
    images = torch.randn(B, model.config.in_channels, h, w, dtype=torch.float64)
    with torch.no_grad():
        together = model(images)
        assert together.shape == (B, model.config.num_classes)
        for image, answer in zip(images, together):
            assert (model(image[None])[0] - answer).abs().max() < 1e-9


@given(small_models())
def test_stages_halve_and_double_whatever_the_size(model_and_size):
    model, h, w = model_and_size
    config = model.config
    maps = model.stage_maps(torch.randn(1, config.in_channels, h, w, dtype=torch.float64))
    H, W = -(-h // config.patch_size), -(-w // config.patch_size)
    for x, dim in zip(maps, config.dims, strict=True):
        assert x.shape == (1, H, W, dim)
        H, W = -(-H // 2), -(-W // 2)


@given(small_models(), st.data())
def test_zeros_right_and_below_up_to_a_whole_patch_change_nothing(model_and_size, data):
    model, h, w = model_and_size
    P = model.config.patch_size
    images = torch.randn(1, model.config.in_channels, h, w, dtype=torch.float64)
    right, below = data.draw(st.integers(0, -w % P)), data.draw(st.integers(0, -h % P))
    with torch.no_grad():
        assert (model(F.pad(images, (0, right, 0, below))) - model(images)).abs().max() < 1e-9


@given(small_models())
def test_mirroring_the_picture_is_mirroring_the_weights(model_and_size):
    """Turned over the diagonal: transposed filters, tables and merging give the same answer."""
    model, h, w = model_and_size
    images = torch.randn(1, model.config.in_channels, h, w, dtype=torch.float64)
    turned = copy.deepcopy(model)
    with torch.no_grad():
        turned.patch_embed.proj.weight.copy_(model.patch_embed.proj.weight.transpose(2, 3))
        for mine, other in zip(model.modules(), turned.modules()):
            if hasattr(mine, "relative_position_bias_table"):
                side = 2 * mine.window_size - 1
                table = mine.relative_position_bias_table.unflatten(0, (side, side))
                other.relative_position_bias_table.copy_(table.transpose(0, 1).flatten(0, 1))
            elif isinstance(mine, PatchMerging):  # top-left, bottom-left, top-right, bottom-right
                for new, old in zip((other.norm.weight, other.norm.bias), (mine.norm.weight, mine.norm.bias)):
                    new.copy_(old.unflatten(0, (2, 2, -1)).transpose(0, 1).flatten())
                weight = mine.reduction.weight.unflatten(1, (2, 2, -1))
                other.reduction.weight.copy_(weight.transpose(1, 2).flatten(1))
        assert (turned(images.transpose(2, 3)) - model(images)).abs().max() < 1e-9


@given(small_models())
def test_state_dicts_of_other_libraries_bring_every_weight_back(model_and_size):
    model, h, w = model_and_size
    images = torch.randn(1, model.config.in_channels, h, w, dtype=torch.float64)
    for export, load in (
        (torchvision_state_dict, load_torchvision_weights),
        (official_state_dict, load_official_weights),
    ):
        other = SwinTransformer(model.config).double().eval()
        load(other, export(model))
        with torch.no_grad():
            assert torch.equal(other(images), model(images))


def test_config_survives_json_and_stays_hashable():
    config = SwinConfig(depths=[2, 2], num_heads=[3, 6])
    assert config == SwinConfig(depths=(2, 2), num_heads=(3, 6))
    assert hash(config) == hash(SwinTransformer(config).config)
