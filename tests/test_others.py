"""Models of other libraries as ours: the same answers, attention, gradients, or a line that says why not."""

import copy

import pytest
import torch
from torch import nn

from oracles import enlarge_weights
from swin_cifar import WeightsError, attention_maps, create_model, from_other, influence, rollout
from swin_cifar.variants import ablate
from swin_cifar.weights import official_state_dict, torchvision_model
from test_inspection import rollout_by_matrices
from test_pretrained import SIZES, of_hugging_face, of_hugging_face_4, of_timm, of_torchvision

SIDE = (
    112  # maps of 28, 14 and 7 tokens, windows of 7: shifted, masked, covered by one window; none is padded
)


def of_microsoft():
    """timm's code, which began as Microsoft's, with Microsoft's names."""
    model, forward = of_timm()
    renamed = official_state_dict(from_other(model))
    model.state_dict = lambda: renamed["model"]
    return model, forward


ALL = [of_torchvision, of_timm, of_hugging_face, of_hugging_face_4, of_microsoft]


@pytest.fixture(params=ALL, ids=lambda make: make.__name__)
def pair(request):
    theirs, forward = request.param()
    return theirs, forward, from_other(theirs.eval(), torch.randn(1, 3, SIDE, SIDE))


def test_answers_and_influence_are_those_of_the_other_library(pair):
    theirs, forward, ours = pair
    images, labels = torch.randn(2, 3, SIDE, SIDE), torch.tensor([3, 1])
    assert (ours(images) - forward(theirs, images)).abs().max() <= 1e-5
    jacobian = torch.autograd.functional.jacobian(lambda x: forward(theirs, x)[0, 3], images[:1])
    found, expected = influence(ours, images, labels)[0], jacobian[0].norm(dim=0)
    assert expected.max() > 0 and (found - expected).abs().max() <= 1e-4 * expected.max()
    flow = rollout(ours, images[:1])
    assert flow.shape == (1, 7, 7, 28, 28) and ours.config.image_size == SIDE
    assert (flow - rollout_by_matrices(ours, images[:1])).abs().max() < 1e-6


def test_attention_is_what_hugging_face_gives_for_its_windows():
    theirs, _ = of_hugging_face()
    theirs.eval().set_attn_implementation("eager")
    images = torch.randn(1, 3, SIDE, SIDE)
    with torch.no_grad():
        windows = theirs(images, output_attentions=True).attentions[0]  # of the last block of stage 0
    found = attention_maps(from_other(theirs), images)[1]  # a block that shifts by 3
    assert windows.shape == (16, 2, 49, 49)
    for window, expected in enumerate(windows):
        rows, cols = (((7 * i + torch.arange(7)) + 3) % 28 for i in divmod(window, 4))
        y, x = rows.repeat_interleave(7), cols.repeat(7)
        assert (found[0, :, y, x][:, :, y, x] - expected).abs().max() < 1e-6


def test_the_other_model_stays_as_it_is():
    theirs, _ = of_timm()
    theirs.train().layers[1].eval()
    modes, before = [m.training for m in theirs.modules()], copy.deepcopy(theirs.state_dict())
    random = torch.get_rng_state()
    ours = from_other(theirs)
    assert ours.training and [m.training for m in theirs.modules()] == modes
    assert all(torch.equal(weight, before[name]) for name, weight in theirs.state_dict().items())
    nn.init.zeros_(ours.head.weight)
    assert theirs.head.fc.weight.abs().max() > 0
    assert torch.equal(torch.get_rng_state(), random)
    assert not from_other(theirs.eval()).training


def compiled(model):
    """Which must not be compiled to be looked into: that would take minutes."""
    return torch.compile(model, backend=lambda graph, inputs: pytest.fail("compiled"))


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, compiled, lambda m: compiled(nn.DataParallel(m)), nn.Module.half]
)
def test_wrapped_and_half_models(wrap):
    model, images = enlarge_weights(torchvision_model(SIZES)).eval(), torch.randn(2, 3, SIDE, SIDE)
    expected = model(images)
    wrapped = wrap(model)
    ours = from_other(wrapped, images)
    dtype = next(wrapped.parameters()).dtype
    assert next(ours.parameters()).dtype == dtype
    off = (ours(images.to(dtype)) - expected).abs().max()
    assert off <= (0.05 if dtype == torch.half else 1e-5) * expected.abs().max()


def with_head(head):
    model = enlarge_weights(torchvision_model(SIZES))
    model.head = head
    return model


def of_timm_without(**options):
    timm = pytest.importorskip("timm")
    sizes = {"embed_dim": 24, "depths": (1, 1), "num_heads": (2, 4), "window_size": 7}
    return timm.models.swin_transformer.SwinTransformer(
        **{"img_size": 56, "num_classes": 0} | sizes | options
    )


def of_hugging_face_without():
    transformers = pytest.importorskip("transformers")
    sizes = {"embed_dim": 24, "depths": [1, 1], "num_heads": [2, 4], "window_size": 7, "image_size": 56}
    return transformers.SwinModel(transformers.SwinConfig(**sizes))


@pytest.mark.parametrize(
    "make",
    [
        of_timm_without,
        of_hugging_face_without,
        lambda: with_head(nn.Identity()),
        lambda: with_head(nn.Sequential(nn.Dropout(0.5), nn.Linear(96, 3), nn.GELU())),
    ],
)
def test_models_without_a_head_or_with_another(make):
    theirs = make().eval()
    ours = from_other(theirs)
    images = torch.randn(1, 3, ours.config.image_size, ours.config.image_size)
    with torch.no_grad():
        expected, found = theirs(images), ours(images)
    expected = getattr(expected, "pooler_output", expected)
    assert expected.shape == found.shape and (expected - found).abs().max() <= 1e-5
    assert rollout(ours, images).shape[0] == 1


def of_v2():
    return pytest.importorskip("torchvision").models.swin_v2_t()


def with_a_hook():
    model = create_model("nano")
    model.norm.register_forward_hook(lambda _, inputs, out: out + 1)
    return model


PADDED = (
    "the given SwinTransformer and ours differ by .* to 224 x 256 pixels: the map of 56 x 64 tokens is "
    "padded to windows of 7 x 7, .* multiples of 112 need none"
)


@pytest.mark.parametrize(
    ("make", "size", "says"),
    [
        (lambda: of_torchvision()[0], (224, 256), PADDED),
        (lambda: of_timm_without(img_size=64), None, "to 64 x 64 pixels: the map of 16 x 16"),
        (lambda: ablate(create_model("nano"), "shift"), None, "it computes what its weights do not show"),
        (with_a_hook, None, "the given SwinTransformer and ours differ .* do not show"),
        (of_v2, None, "the given SwinTransformer holds a Swin V2, another architecture"),
        (lambda: of_timm_without(global_pool=""), None, r"answers with \(1, 7, 7, 48\), not with \(1, 48\)"),
        (lambda: nn.Linear(2, 2), None, "the given Linear holds no Swin of .*, but bias, weight"),
        (nn.GELU, None, "the given GELU holds no Swin of .*, but nothing"),
    ],
    ids=["padded", "padded by default", "ablated", "hook", "V2", "a map", "linear", "no weights"],
)  # fmt: skip
def test_what_is_not_the_same_function_is_refused_in_one_line(make, size, says):
    images = torch.randn(1, 3, *size) if size else None
    with pytest.raises(WeightsError, match=says) as error:
        from_other(make(), images)
    assert "\n" not in str(error.value)


def test_a_file_is_pointed_to_its_reader():
    with pytest.raises(TypeError, match=r"expected a model, got str; for a file: pretrained_model\(path\)"):
        from_other("swin.pt")


@pytest.mark.slow
def test_swin_t_at_224_follows_one_token_back_and_no_matrix_is_large(large_tensors):
    timm = pytest.importorskip("timm")
    ours = from_other(enlarge_weights(timm.create_model("swin_tiny_patch4_window7_224")))
    images = torch.randn(1, 3, 224, 224)
    with large_tensors(4e6) as seen:  # attention on the whole first map would have 29 million numbers
        found = rollout(ours, images)
    assert found.shape == (1, 7, 7, 56, 56) and not seen
    held = torch.zeros(1, 7, 7)
    held[0, 2, 5] = 1
    for attention in reversed(attention_maps(ours, images)):
        H = attention.shape[2]
        if H > held.shape[1]:
            held = held.repeat_interleave(2, 1).repeat_interleave(2, 2) / 4
        held = (held + torch.einsum("byx,bhyxuv->buv", held, attention) / attention.shape[1]) / 2
    assert (found[:, 2, 5] - held).abs().max() < 1e-6
