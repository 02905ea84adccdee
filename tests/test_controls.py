"""Maps against their controls, attention split in its parts, and rollout: each against a slower way."""

import math
from itertools import product

import pytest
import torch
from torch import nn

from course import content, controls
from course.check.look_inside import _rollout_by_loops
from course.controls import CONTROLS, compare
from course.figures import plot_falls, plot_groups
from course.studies import student_t
from oracles import CONFIG, SIZES
from swin_cifar.inspection import attention_maps, walk


class Sum(nn.Module):
    """Logit 0 is the weighted sum of the red pixels, logit 1 is 0: what each pixel is worth is known."""

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def forward(self, images):
        value = (images[:, 0] * self.weights).sum((1, 2))
        return torch.stack([value, torch.zeros_like(value)], dim=1)


# --- compare -----------------------------------------------------------------------------


def test_what_a_token_is_worth_is_measured():
    images = torch.rand(40, 3, 8, 8)
    worth = images[:, 0].unfold(1, 2, 2).unfold(2, 2, 2).sum((3, 4))  # (40, 4, 4)
    found = compare(Sum(torch.ones(8, 8)), images, torch.zeros(40, dtype=torch.long), worth, 3, "worth")
    best = worth.flatten(1).topk(3).values.sum(1)
    assert (found.falls["map"] - best).abs().max() < 1e-5
    assert found.pictures == 40 and found.left_out == 0 and found.tokens == 16
    assert found.shown() and "shown" in found.conclusion() and "not shown" not in found.conclusion()
    for control in CONTROLS:
        more = found.falls["map"] - found.falls[control]
        mean, half = found.difference(control)
        assert mean == pytest.approx(more.mean().item(), abs=1e-6)
        assert half == pytest.approx(student_t(39) * more.std().item() / math.sqrt(40), abs=1e-6)
        assert (more > -1e-5).all()
    assert len(found.report().splitlines()) == 3 + 6 + 2


def test_the_same_map_for_every_picture_is_its_own_control_and_shows_nothing():
    weights = torch.rand(8, 8)
    images = 1 + torch.rand(30, 3, 8, 8)
    values = weights.expand(30, 8, 8)  # the best that there is, but without a look at the picture
    found = compare(Sum(weights), images, torch.zeros(30, dtype=torch.long), values, 9)
    assert found.difference("fixed") == (0, 0) and found.best() in ("fixed", "another's")
    assert not found.shown() and found.conclusion().endswith("not shown")
    assert found.difference("random")[0] > 0  # against a random set it would have been "shown"


def test_a_map_by_chance_shows_nothing_and_accuracy_is_counted():
    torch.manual_seed(1)
    images, labels = torch.randn(200, 3, 8, 8), torch.zeros(200, dtype=torch.long)
    found = compare(Sum(torch.ones(8, 8)), images, labels, torch.rand(200, 8, 8), 16)
    assert not found.shown() and not found.shown("accuracy")
    assert torch.equal(found.right["nothing"], images[:, 0].sum((1, 2)) > 0)
    mean, _ = found.difference("centre", "accuracy")
    right = found.right["centre"].double() - found.right["map"].double()
    assert mean == pytest.approx(right.mean().item())


def test_pictures_whose_top_is_not_defined_are_left_out_and_counted():
    values = torch.rand(10, 4, 4)
    values[3] = 0  # nothing marked
    values[7] = torch.tensor([5.0, 4, 3, 0]).repeat_interleave(4).view(4, 4)  # four, eight, twelve
    images, labels = torch.rand(10, 3, 8, 8), torch.zeros(10, dtype=torch.long)
    found = compare(Sum(torch.ones(8, 8)), images, labels, values, 4)
    assert (found.left_out, found.pictures) == (1, 9)
    found = compare(Sum(torch.ones(8, 8)), images, labels, values, 6)
    assert (found.left_out, found.pictures) == (2, 8)
    assert "8 pictures, 2 left out: ties" in found.report()
    with pytest.raises(ValueError, match="only 0 of 10 maps have a top 4"):
        compare(Sum(torch.ones(8, 8)), images, labels, torch.zeros(10, 4, 4), 4)


@pytest.mark.parametrize(("H", "W", "k"), [(4, 4, 4), (3, 5, 7), (8, 8, 16)])
def test_controls_have_the_same_size_and_do_not_look(H, W, k):
    values = torch.rand(20, H, W)
    sets = controls.controls(values, k)
    assert sets.keys() == CONTROLS.keys()
    marked = controls.top(values, k)
    for name, chosen in sets.items():
        assert chosen.shape == (20, H, W) and (chosen.sum((1, 2)) == k).all(), name
    assert torch.equal(sets["another's"], torch.stack([marked[i - 1] for i in range(20)]))
    average = values.mean(0).flatten()
    assert (average[sets["fixed"][7].flatten()].min() >= average[~sets["fixed"][7].flatten()].max()).all()
    assert torch.equal(sets["fixed"][0], sets["fixed"][19])
    for one, moved in zip(marked, sets["moved"]):  # some step, not none, leads from one to the other
        steps = [s for s in product(range(H), range(W)) if torch.equal(one.roll(s, (0, 1)), moved)]
        assert any(s != (0, 0) for s in steps)
    if (H, W) == (8, 8):
        assert sets["centre"][0, 2:6, 2:6].all()
    assert torch.equal(sets["random"], controls.controls(values, k)["random"])  # the seed decides


@pytest.mark.parametrize(
    ("size", "grid", "unit"),
    [(32, 4, 8), (26, 13, 2), (26, 7, 4), (26, 4, 8), (11, 6, 2), (6, 2, 4), (30, 4, 8), (18, 3, 8)],
)
def test_the_pixels_of_a_token_become_grey(size, grid, unit):
    """Also where the tokens of a padded map happen to divide the side: 6 pixels, 3 patches, 2 tokens."""
    images, marked = torch.ones(1, 3, size, size), torch.zeros(1, grid, grid, dtype=torch.bool)
    marked[0, 1, -1] = True
    grey = controls.paint_grey(images, marked, CONFIG) == 0
    expected = torch.zeros(size, size, dtype=torch.bool)
    expected[unit : 2 * unit, (grid - 1) * unit :] = True
    assert torch.equal(grey[0, 1], expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"values": torch.rand(4, 16)}, "expected values"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, "expected values"),
        ({"k": 16}, "k must lie between 1 and 15"),
        ({"values": torch.full((4, 4, 4), math.nan)}, "not finite"),
        ({"values": torch.rand(4, 5, 5)}, "does not fit"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, says):
    given = {"values": torch.rand(4, 4, 4), "labels": torch.zeros(4, dtype=torch.long), "k": 4} | change
    with pytest.raises(ValueError, match=says):
        compare(Sum(torch.ones(8, 8)), torch.rand(4, 3, 8, 8), **given)


def test_the_figure_hatches_what_the_map_does_not_beat():
    weights = torch.rand(8, 8)
    images = 1 + torch.rand(30, 3, 8, 8)
    found = compare(Sum(weights), images, torch.zeros(30, dtype=torch.long), weights.expand(30, 8, 8), 9, "m")
    (ax,) = plot_falls([found]).axes
    bars = dict(zip(found.falls, ax.patches))
    assert bars["map"].get_width() == pytest.approx(found.falls["map"].mean().item())
    hatched = {name for name, bar in bars.items() if bar.get_hatch()}
    beaten = {name for name in CONTROLS if found.difference(name)[0] - found.difference(name)[1] > 0}
    assert hatched == CONTROLS.keys() - beaten and "fixed" in hatched and "random" in beaten
    assert ax.get_title() == "m, 9 of 64 grey: not shown"


def test_groups_of_bars():
    (ax,) = plot_groups({"one": {"a": (1, 0.5), "b": (2, 0)}, "two": {"a": (3, 0), "b": (4, 1)}}, "y").axes
    assert [bar.get_height() for bar in ax.patches] == [1, 3, 2, 4]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


# --- content and bias --------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_the_parts_of_attention_have_one_part_of_the_score_each(model, size):
    images = torch.randn(2, 3, *size)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    parts, maps = content.parts_of_attention(model, images), attention_maps(model, images)
    assert model.training and all(
        torch.equal(value, state[name]) for name, value in model.state_dict().items()
    )
    for part, m in zip(parts, maps, strict=True):
        assert torch.equal(part["attention"], m)
        seen = m > 0
        assert torch.equal(part["bias alone"][0], part["bias alone"][1])
        both = part["bias alone"] * part["q·k alone"]  # exp(a) exp(b) = exp(a + b)
        both = both / both.sum((4, 5), keepdim=True)
        assert (both - m).abs().max() < 1e-5
        assert torch.equal(part["q·k alone"] > 0, seen)


def test_total_variation():
    p = torch.tensor([0.5, 0.5, 0, 0]).view(1, 1, 2, 2)
    q = torch.tensor([0, 0.5, 0.25, 0.25]).view(1, 1, 2, 2)
    assert content.total_variation(p, q).tolist() == [[0.5]]
    assert content.total_variation(p, p).tolist() == [[0]]
    assert content.total_variation(p, torch.tensor([0, 0, 0.5, 0.5]).view(1, 1, 2, 2)).tolist() == [[1]]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("way", content.WAYS)
@torch.no_grad()
def test_in_replaced_attention_only_the_weights_are_others(model, number, way):
    """The output of the block, computed from maps of weights: its tokens before, times these weights."""
    model.eval()
    images, others = torch.randn(3, 3, 16, 16), torch.randn(5, 3, 16, 16)
    before = model(images)
    block, x, plain = list(walk(model, images))[number]
    part = content.parts_of_attention(model, images)[number]
    seen = (part["attention"] > 0).float()
    weights = {
        "average": content.parts_of_attention(model, others)[number]["attention"].mean(0, keepdim=True),
        "another's": part["attention"].roll(1, 0),
        "bias alone": part["bias alone"],
        "q·k alone": part["q·k alone"],
        "equal": seen / seen.sum((4, 5), keepdim=True),
    }[way]
    v = block.attn.qkv(block.norm1(x)).chunk(3, dim=-1)[2].unflatten(3, (block.attn.num_heads, -1))
    out = torch.einsum("bhyxuv,buvhd->byxhd", weights.expand_as(part["attention"]), v).flatten(3)
    expected = x + block.attn.proj(out)
    expected = expected + block.mlp(block.norm2(expected))
    with content.replaced_attention(model, block, way, others):
        found = block(x)
        changed = model(images)
    assert (found - expected).abs().max() < 1e-4
    assert (found - plain).abs().max() > 1e-3 and (changed - before).abs().max() > 1e-4
    assert torch.equal(model(images), before) and "forward" not in vars(block.attn)


@pytest.mark.parametrize(("way", "says"), [("no", "way must be one of"), ("average", "needs `others`")])
def test_another_way_to_replace_attention_is_refused(model, way, says):
    block = model.stages[0].blocks[0]
    with pytest.raises(ValueError, match=says), content.replaced_attention(model, block, way):
        pass


# --- rollout -----------------------------------------------------------------------------


def test_rollout_through_shift_and_merging_is_that_of_every_path(model):
    maps = attention_maps(model, torch.randn(2, 3, 16, 16))
    found = content.rollout(maps)
    assert found.shape == (2, 4, 4, 8, 8) and (found.sum((3, 4)) - 1).abs().max() < 1e-5
    assert (found - _rollout_by_loops(maps)).abs().max() < 1e-6


def test_rollout_of_odd_maps_keeps_the_sum(model):
    found = content.rollout(attention_maps(model, torch.randn(1, 3, 11, 26)))
    assert found.shape == (1, 3, 7, 6, 13) and (found.sum((3, 4)) - 1).abs().max() < 1e-5
