"""Models that begin with other libraries' weights: equal to them, resized as they should be, or refused."""

import pickle
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from oracles import CONFIG, enlarge_weights
from swin_cifar.checkpoint import CheckpointError, save_checkpoint
from swin_cifar.config import SwinConfig
from swin_cifar.model import SwinTransformer
from swin_cifar.pretrained import WeightsError, pretrained_model, resize_patches, resize_table
from swin_cifar.weights import official_state_dict, torchvision_model

# No side is equal to another, so that what is taken for something else cannot fit.
SIZES = SwinConfig(
    image_size=112, patch_size=4, embed_dim=24, depths=(2, 1, 3), num_heads=(2, 4, 6), window_size=7,
    num_classes=5,
)  # fmt: skip


def of_torchvision():
    return enlarge_weights(torchvision_model(SIZES)), lambda model, x: model(x)


def of_timm():
    timm = pytest.importorskip("timm")
    model = timm.models.swin_transformer.SwinTransformer(
        img_size=112, patch_size=4, embed_dim=24, depths=SIZES.depths, num_heads=SIZES.num_heads,
        window_size=7, num_classes=5,
    )  # fmt: skip
    return enlarge_weights(model), lambda model, x: model(x)


def of_hugging_face():
    transformers = pytest.importorskip("transformers")
    config = transformers.SwinConfig(
        image_size=112, patch_size=4, embed_dim=24, depths=list(SIZES.depths),
        num_heads=list(SIZES.num_heads), window_size=7, num_labels=5,
    )  # fmt: skip
    model = transformers.SwinForImageClassification(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (2.0 if "bias_table" in name else 0.2))
    return model, lambda model, x: model(x).logits


def of_hugging_face_4():
    """The names that the published files have."""
    older = {"q_proj": "self.query", "k_proj": "self.key", "v_proj": "self.value", "o_proj": "output.dense",
             "relative_position_bias": "self"}  # fmt: skip
    model, forward = of_hugging_face()

    def rename(name):
        for new, old in older.items():
            name = name.replace(f".attention.{new}.", f".attention.{old}.")
        return name.replace(".mlp.fc1.", ".intermediate.dense.").replace(".mlp.fc2.", ".output.dense.")

    weights = {rename(name): tensor for name, tensor in model.state_dict().items()}
    model.state_dict = lambda: weights
    return model, forward


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
@pytest.mark.parametrize("make", [of_torchvision, of_timm, of_hugging_face, of_hugging_face_4])
def test_a_model_with_another_librarys_weights_is_that_model(make, kind, tmp_path):
    theirs, forward = make()
    path = save(theirs.state_dict(), tmp_path / f"weights.{kind}")
    ours, taken = pretrained_model(path)
    assert ours.config == replace(SIZES, image_size=224, window_size=7)
    assert taken.names == {} and taken.whole == len(ours.state_dict())
    images = torch.randn(2, 3, 112, 112)  # maps of 28, 14 and 7 tokens: nothing is padded
    with torch.no_grad():
        expected, found = forward(theirs.eval(), images), ours.eval()(images)
    assert expected.std() > 0.1
    assert (found - expected).abs().max() <= 1e-5


def save(weights, path):
    weights = {name: tensor.clone().contiguous() for name, tensor in weights.items()}
    if path.suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(weights, path)
    else:
        torch.save(weights, path)
    return path


def test_microsofts_layout_with_its_wrapper_and_buffers(tmp_path):
    model = enlarge_weights(SwinTransformer(SIZES)).eval()
    content = official_state_dict(model)
    content["model"]["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 49, 49)
    content["model"]["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49)
    path = tmp_path / "swin.pth"
    torch.save(content | {"epoch": torch.tensor(3)}, path)
    found, taken = pretrained_model(path)
    images = torch.randn(1, 3, 112, 112)
    assert torch.equal(found.eval()(images), model(images)) and taken.layout == "Microsoft"


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_are_taken_off(prefix, tmp_path, capsys):
    model = SwinTransformer(SIZES)
    content = {"state_dict": {prefix + name: tensor for name, tensor in model.state_dict().items()}}
    torch.save(content, tmp_path / "wrapped.pt")
    found, _ = pretrained_model(tmp_path / "wrapped.pt")
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), model.parameters()))
    said = capsys.readouterr().out
    assert "'state_dict'" in said and "off the names" in said


# --- another head, window, patch, number of channels ----------------------------------------


@pytest.fixture
def path(tmp_path):
    torch.save(enlarge_weights(torchvision_model(SIZES)).state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def test_other_classes_get_a_new_head_and_everything_else_is_taken(path):
    same, _ = pretrained_model(path)
    other, taken = pretrained_model(path, num_classes=3)
    assert taken.names == {"new": ["head.weight", "head.bias"]} and other.head.out_features == 3
    for (name, a), b in zip(same.named_parameters(), other.parameters()):
        assert name.startswith("head.") or torch.equal(a, b), name
    assert "new" in str(taken) and "head.weight, head.bias" in str(taken)


def test_weights_without_a_head_get_one(path, tmp_path):
    weights = {n: t for n, t in torch.load(path).items() if not n.startswith("head.")}
    torch.save(weights, tmp_path / "features.pt")
    model, taken = pretrained_model(tmp_path / "features.pt", num_classes=3)
    assert taken.names == {"new": ["head.weight", "head.bias"]} and model.head.out_features == 3


def test_a_table_for_another_window_is_a_smooth_one_seen_at_other_offsets(path):
    """A table that is a plane over the offsets stays that plane; and the corners stay in their places."""
    offset = torch.linspace(-1, 1, 13)
    plane = torch.stack([offset[:, None].expand(13, 13), offset.expand(13, 13)], dim=-1).view(169, 2)
    found = resize_table(plane, 7).view(7, 7, 2)
    assert (found[..., 0].diff(dim=1).abs().max() < 1e-5) and (found[..., 1].diff(dim=0).abs().max() < 1e-5)
    steps = found[1:-1, 0, 0].diff()  # beside the border bicubic bends it
    assert (steps - steps.mean()).abs().max() < 0.02 and steps.mean() > 0.2
    model, taken = pretrained_model(path, window_size=4)
    assert len(taken.names["resized"]) == 6
    assert model.stages[0].blocks[0].attn.relative_position_bias_table.shape == (49, 2)


def test_a_table_is_resized_as_the_official_code_does_it(path):
    """`load_pretrained` of github.com/microsoft/Swin-Transformer, utils.py."""
    table = torch.load(path)["features.1.0.attn.relative_position_bias_table"]
    L1, heads = table.shape
    S1, S2 = int(L1**0.5), 9
    picture = table.permute(1, 0).view(1, heads, S1, S1)
    expected = F.interpolate(picture, size=(S2, S2), mode="bicubic").view(heads, S2 * S2).permute(1, 0)
    assert torch.equal(resize_table(table, 9), expected)


def test_filters_for_larger_patches_give_the_same_tokens_of_an_enlarged_picture(path):
    filters = torch.randn(24, 3, 4, 4)
    picture = torch.randn(1, 3, 4, 4)
    large = F.interpolate(picture, size=(8, 8), mode="bilinear", antialias=True)
    found = F.conv2d(large, resize_patches(filters, 8))
    assert (found - F.conv2d(picture, filters)).abs().max() < 1e-4
    resample = pytest.importorskip("timm.layers.patch_embed").resample_patch_embed
    expected = resample(filters, [6, 6], interpolation="bilinear", antialias=True)
    assert (resize_patches(filters, 6) - expected).abs().max() < 1e-4


def test_a_model_for_other_patches_and_windows_runs(path):
    model, taken = pretrained_model(path, patch_size=2, window_size=4, image_size=32, num_classes=3)
    assert "patch_embed.proj.weight" in taken.names["resized"]
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 3)


def test_grey_pictures_and_their_three_equal_colours_give_the_same_tokens(path):
    colour, _ = pretrained_model(path)
    grey, _ = pretrained_model(path, in_channels=1)
    picture = torch.randn(1, 1, 8, 8)
    found, expected = grey.patch_embed(picture), colour.patch_embed(picture.expand(-1, 3, -1, -1))
    assert (found - expected).abs().max() < 1e-5
    torch.save(grey.state_dict(), path)
    again, _ = pretrained_model(path, in_channels=3)
    assert (again.patch_embed(picture.expand(-1, 3, -1, -1)) - expected).abs().max() < 1e-5


def test_a_stage_with_a_smaller_window_is_the_same_stage_with_ours(tmp_path):
    """timm and Microsoft shrink the window of a stage whose map is smaller."""
    timm = pytest.importorskip("timm")
    theirs = timm.models.swin_transformer.SwinTransformer(
        img_size=64, patch_size=4, embed_dim=24, depths=(2, 1, 2), num_heads=(2, 4, 6), window_size=8,
        num_classes=5,
    )  # fmt: skip
    enlarge_weights(theirs).eval()
    assert theirs.layers[2].blocks[0].window_size == (4, 4)
    ours, _ = pretrained_model(save(theirs.state_dict(), tmp_path / "weights.pt"))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert (ours.eval()(images) - theirs(images)).abs().max() <= 1e-5


def test_a_checkpoint_of_ours_keeps_its_sizes_its_recipe_and_its_checks(tmp_path):
    config = replace(CONFIG, drop_path_rate=0.3, mlp_ratio=2.7, image_size=20)
    data = {"name": "some", "classes": [str(i) for i in range(10)], "mean": [0.5] * 3, "std": [0.5] * 3}
    path = tmp_path / "ours.pt"
    save_checkpoint(path, SwinTransformer(config).half(), data)
    model, taken = pretrained_model(path)
    assert model.config == config and not taken.names and model.head.weight.dtype == torch.float32
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises((CheckpointError, WeightsError)):
        pretrained_model(path)


# --- what is refused ------------------------------------------------------------------------


class Code:
    def __reduce__(self):
        return print, ("this must not run",)


def weights_of(config=CONFIG):
    return torchvision_model(config).state_dict()


def swin_v2():
    return weights_of() | {"features.1.0.attn.logit_scale": torch.zeros(3)}


def of_resnet():
    return {"conv1.weight": torch.zeros(3), "layer1.0.conv1.weight": torch.zeros(3)}


def with_a_layer_missing():
    weights = weights_of()
    del weights["features.3.1.norm2.weight"]
    return weights


def of_absolute_places():
    return official_state_dict(SwinTransformer(CONFIG))["model"] | {
        "absolute_pos_embed": torch.zeros(1, 4, 12)
    }


def of_windows_that_are_no_squares():
    weights = weights_of()
    tables = {name for name in weights if name.endswith("bias_table")}
    return weights | {name: torch.zeros(13 * 5, weights[name].shape[1]) for name in tables}


def of_numbers_that_are_not_finite():
    return weights_of() | {"features.3.1.norm2.weight": torch.full((24,), torch.nan)}


def with_another_shape():
    return weights_of() | {"features.3.1.norm2.weight": torch.zeros(7)}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (swin_v2, "holds a Swin V2, another architecture"),
        (of_resnet, "holds no Swin of .*, but conv1.weight, layer1.0.conv1.weight"),
        (with_a_layer_missing, "is a Swin of torchvision, but has no features.3.1.norm2.weight"),
        (with_another_shape, r"does not fit: features.3.1.norm2.weight is \(7,\), the model has \(24,\)"),
        (of_absolute_places, "adds an embedding of absolute positions"),
        (of_windows_that_are_no_squares, "has windows or patches that are no squares"),
        (of_numbers_that_are_not_finite, "holds numbers that are not finite, in features.3.1.norm2.weight"),
        (lambda: {0: torch.zeros(1)}, "holds no state dict"),
        (dict, "holds no Swin of .*, but nothing"),
        (lambda: {"epoch": 3}, "holds no state dict: 'epoch' is int"),
        (lambda: [1, 2], "holds list, no state dict"),
        (lambda: Code(), "is no file of weights, or holds code beside them: refused"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_be_begun_with_is_one_line(content, says, tmp_path, capsys):
    path = tmp_path / "file.pt"
    if isinstance(content(), Code):
        path.write_bytes(pickle.dumps(content(), protocol=2))
    else:
        torch.save(content(), path)
    with pytest.raises(WeightsError, match=says) as error:
        pretrained_model(path)
    assert "\n" not in str(error.value) and not capsys.readouterr().out


@pytest.mark.parametrize("name", ["file.pt", "file.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello" * 99])
def test_damaged_files_are_one_line(name, content, tmp_path):
    if name.endswith("safetensors"):
        pytest.importorskip("safetensors")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=f"{name} is (damaged|no file of weights)"):
        pretrained_model(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of weights at"):
        pretrained_model(tmp_path / "nothing.pt")
