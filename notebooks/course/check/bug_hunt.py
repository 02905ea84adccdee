"""Checks of notebook 14: the three tools of the hunt, two functions to repair, and a test to write.

The checks know incomplete repairs; the test is tried on a right mask and wrong ones. What a drawn case
asks for is checked in course/hunt.py.
"""

import math
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F

from course import figures, hunt
from course.check.core import Exercise, Symptom, as_tensor, sample_image
from course.check.shifted_windows import large_attention, true_windows
from course.check.watch import calls
from swin_cifar.config import SwinConfig
from swin_cifar.inspection import block_attention
from swin_cifar.model import SwinTransformer, SwinTransformerBlock
from swin_cifar.windows import shifted_window_mask, window_partition, window_reverse

# --- shapes_of ---------------------------------------------------------------------------


def _model(depths):
    heads = tuple(2 for _ in depths)
    return SwinTransformer(SwinConfig(16, 2, 3, 4, depths, heads, 2)).requires_grad_(False)


def _shapes(model, images, first=True, merging="after the first stage", cut=slice(None)):
    """With a mistake, if asked for."""
    x = model.patch_embed(images)
    shapes = [x.shape] if first else []
    for i, stage in enumerate(model.stages):
        x = stage.downsample(x)
        if merging == "in each" or (i > 0 and merging == "after the first stage"):
            shapes.append(x.shape)
        for block in stage.blocks:
            x = block(x)
            shapes.append(x.shape)
    return [tuple(shape)[cut] for shape in shapes]


def _shapes_by_hooks(model, images):
    """Each layer notes what it gives, while the model runs."""
    layers, shapes = [model.patch_embed], []
    for i, stage in enumerate(model.stages):
        layers += [*([stage.downsample] if i else []), *stage.blocks]
    hooks = [
        layer.register_forward_hook(lambda *args: shapes.append(tuple(args[2].shape))) for layer in layers
    ]
    model(images)
    for hook in hooks:
        hook.remove()
    return shapes


def _draw_shapes(function):
    shapes = function(_model((2, 2)), torch.zeros(1, 3, 18, 22))
    figure, axes = figures.panels(1, len(shapes), size=1.9)
    for i, (ax, (_, H, W, C)) in enumerate(zip(axes, shapes)):
        canvas = torch.zeros(9, 11)
        rows, columns = torch.arange(H)[:, None], torch.arange(W)
        canvas[:H, :W] = 1 + (rows + columns) % 2  # a chequered map
        ax.imshow(canvas.numpy(), cmap="Purples", vmin=0, vmax=4)
        ax.set_title(f"{i}: {H} × {W}, C = {C}", fontsize=12)
        ax.axis("off")
    return figure, "Six maps: three of 9 by 11 tokens with 4 channels, three of 5 by 6 tokens with 8."


shapes_of = Exercise(
    "shapes_of",
    answer=_shapes_by_hooks,
    cases=lambda: {
        "one block, then two": (_model((1, 2)), torch.randn(2, 3, 12, 8)),
        "three stages, odd sides": (_model((2, 1, 1)), torch.randn(1, 3, 18, 10)),
    },
    mistakes={
        "The first shape is missing: the one after the patch embedding.": partial(_shapes, first=False),
        "The shapes after the mergings are missing.": partial(_shapes, merging="never"),
        "There is a shape too many at the first stage: it has no merging, its `downsample` does nothing.": (
            partial(_shapes, merging="in each")
        ),
        "These are the shapes after the whole stages. Asked for is each merging and each block.": (
            lambda model, images: [tuple(x.shape) for x in model.stage_maps(images)]
        ),
        "The number of pictures is missing in each shape.": partial(_shapes, cut=slice(1, None)),
        "The channels are missing in each shape.": partial(_shapes, cut=slice(0, 3)),
        "The pictures are no map: the first shape is that after the patch embedding.": (
            lambda model, images: [tuple(images.shape), *_shapes(model, images)]
        ),
        "The logits are no map: the last shape is that after the last block.": (
            lambda model, images: [*_shapes(model, images), tuple(model(images).shape)]
        ),
    },
    forbidden={"It is made by the course's `hunt.shapes_of`: write it yourself.": calls(hunt.shapes_of)},
    picture=_draw_shapes,
)

# --- differing ---------------------------------------------------------------------------


def _by_largest_difference(steps, right_steps, x):
    """First all right outputs, then the steps one by one."""
    outputs = [x]
    for _, right in right_steps:
        outputs.append(right(outputs[-1]))
    return [
        step[0] for step, x, wanted in zip(steps, outputs, outputs[1:]) if not _is_near(step[1], x, wanted)
    ]


def _is_near(step, x, wanted):
    try:
        found = step(x)
    except RuntimeError:
        return False
    return found.shape == wanted.shape and (found - wanted).abs().max().item() <= 1e-4  # not with nan


def _same(found, wanted):
    return found.shape == wanted.shape and torch.allclose(found, wanted, atol=1e-4)


def _compared(steps, right_steps, x, same=_same, fed="right", stop=False, named="name", want=False):
    """With a mistake, if asked for."""
    names, start, own = [], x, x
    for i, ((name, step), (_, right)) in enumerate(zip(steps, right_steps)):
        wanted = right(x)
        found = step(own if fed == "own" else x)
        own = found
        if same(found, wanted) == want:
            names.append(i if named == "number" else name)
            if stop:
                break
        x = start if fed == "first" else wanted
    return names


def _double(x):
    return 2 * x


def _plus(x):
    return x + torch.arange(x.shape[-1])


def _turned(x):
    return x.roll(1, 1)


def _turned_back(x):
    return x.roll(-1, 1)


def _fails(x):
    raise RuntimeError("the sizes of x and y must match")


def _steps(*functions):
    names = ("embed", "block", "merge", "norm")
    return list(zip(names, functions))


def _draw_differing(function):
    right = _steps(_double, _turned, _plus, _double)
    wrong = {
        "block": _steps(_double, _turned_back, _plus, _double),
        "merge": _steps(_double, _turned, _turned, _double),
        "norm": _steps(_double, _turned, _plus, _plus),
    }
    figure, (ax,) = figures.panels(1, 1, size=3)
    figure.set_size_inches(6, 2.6)
    found = [
        [float(name in function(steps, right, torch.randn(2, 3))) for name, _ in right]
        for steps in wrong.values()
    ]
    figures.draw_heat(ax, torch.tensor(found), "which steps differ", numbers="{:.0f}")
    ax.set_xticks(range(4), [name for name, _ in right], fontsize=12)
    ax.set_yticks(range(3), [f"wrong {name}" for name in wrong], fontsize=12)
    return figure, "Three programs with one wrong step each; in each row a 1 stands below that step alone."


def _differing_cases():
    x = torch.randn(2, 3)
    right = _steps(_double, _turned, _plus, _turned_back)
    return {
        "steps that are alike": (right, list(right), x),
        "one wrong step of four": (_steps(_double, _turned_back, _plus, _turned_back), right, x),
        "two wrong steps": (_steps(_plus, _turned, _double, _turned_back), right, x),
        "rounding": (_steps(lambda x: x * (2 + 1e-6), _turned, _plus, _turned_back), right, x),
        "another shape": (
            _steps(_double, _turned, _plus, lambda x: _turned_back(x)[:1]),
            _steps(_double, _turned, _plus, lambda x: _turned_back(x)[:1].expand(2, 3)),
            x,
        ),
        "nan": (_steps(_double, lambda x: x / 0 * 0, _plus, _turned_back), right, x),
        "differences of both signs": (
            _steps(_double, lambda x: _turned(x) + torch.tensor([1.0, -1.0, 0.0]), _plus, _turned_back),
            *(right, x),
        ),
        "smaller numbers": (_steps(_double, _turned, lambda x: _plus(x) - 1, _turned_back), right, x),
        "a step that is wrong for large numbers": (
            _steps(_double, lambda x: _turned(x).clamp(max=3), _plus, _turned_back),
            *(right, torch.linspace(-2, 2, 6).view(2, 3)),
        ),
        "a step that fails": (_steps(_double, _turned, _fails, _turned_back), right, x),
    }


differing = Exercise(
    "differing",
    answer=_by_largest_difference,
    cases=_differing_cases,
    mistakes={
        "Each step gets what the wrong steps before it have made. So what comes after the first wrong step "
        "differs as well, even if it is right: hand the right output on.": partial(_compared, fed="own"),
        "Each step gets x, the input of the first. Hand on what the right step has made.": (
            partial(_compared, fed="first")
        ),
        "It stops at the first step that differs. There may be more.": partial(_compared, stop=True),
        "Asked for are names, not numbers.": partial(_compared, named="number"),
        "These are the steps that agree. Asked for are the others.": partial(_compared, want=True),
        "It asks for equality to the last bit. Two programs may add up in another order: allow 1e-4.": (
            partial(_compared, same=torch.equal)
        ),
        "Only shapes are compared.": partial(_compared, same=lambda a, b: a.shape == b.shape),
        "nan is taken for right: `nan > 1e-4` is False.": partial(
            _compared, same=lambda a, b: a.shape == b.shape and not (a - b).abs().max() > 1e-4
        ),
        "Another shape is taken for right, where broadcasting makes it fit.": partial(
            _compared, same=lambda a, b: bool(((a - b).abs() < 1e-4).all())
        ),
        "Another shape, and nan, are taken for right.": partial(
            _compared, same=lambda a, b: not (a - b).abs().max() > 1e-4
        ),
        "Differences of both signs cancel out: take their size before you take a mean or a sum.": partial(
            _compared, same=lambda a, b: a.shape == b.shape and bool((a - b).mean().abs() < 1e-4)
        ),
        "A number that is too small is taken for right: take the size of the difference.": partial(
            _compared, same=lambda a, b: a.shape == b.shape and bool(((a - b) < 1e-4).all())
        ),
    },
    forbidden={"It is made by the course's `hunt.differing`: write it yourself.": calls(hunt.differing)},
    picture=_draw_differing,
)

# --- changed_by --------------------------------------------------------------------------


def _token_by_token(function, x, token):
    """Another token in its place; then every output by itself."""
    others = x.index_put([torch.tensor(i) for i in (0, *token)], torch.randn(x.shape[-1]))
    before, after = function(x)[0], function(others)[0]
    H, W = before.shape[:2]
    changed = [
        [max(map(abs, (before[i, j] - after[i, j]).tolist())) > 1e-5 for j in range(W)] for i in range(H)
    ]
    return torch.tensor(changed)


def _changes(function, x, token, change="noise", seen="any"):
    """With a mistake, if asked for."""
    other, (row, column) = x.clone(), token
    noise = torch.randn(x.shape[-1])
    if change == "constant":
        other[0, row, column] += 1
    elif change == "row":
        other[0, row] += noise
    elif change == "swapped":
        other[0, column, row] += noise
    elif change == "channel":
        other[0, row, column, 0] += 1
    else:
        other[0, row, column] += noise
    difference = function(other) - function(x)
    if seen == "input":
        difference = other - x
    if seen == "sum":
        return difference.sum(dim=-1)[0].abs() > 1e-5
    if seen == "first":
        return difference[0, ..., 0].abs() > 1e-5
    if seen == "all":
        return (difference.abs() > 1e-5).all(dim=-1)[0]
    if seen == "up":
        return (difference > 1e-5).any(dim=-1)[0]
    changed = (difference.abs() > 1e-5).any(dim=-1)[0]
    return ~changed if seen == "others" else changed


def _below(x):
    """Each output is the token and the one above it, normalised."""
    x = F.layer_norm(x, x.shape[-1:])
    return x + x.roll(1, 1)


def _pairs(x):
    """Four channels: what is left of each token, with both signs, and nothing twice."""
    left = x.roll(1, 2).abs().sum(dim=-1, keepdim=True)
    return torch.cat([0 * left, left, -left, 0 * left], dim=-1)


def _later(x):
    """The larger the first channel of a token, the smaller that of the token two rows below it."""
    return F.pad(-x.roll(2, 1)[..., :1].abs(), (0, 3))


def _attends(shift):
    return _large_block(shift).window_attention


def _draw_changes(function):
    figure, axes = figures.panels(1, 3, size=2.6)
    x, token = torch.randn(1, 8, 8, 8), (2, 4)
    functions = {"no shift": _attends(0), "shift 2": _attends(2), "one row below, too": _below}
    for ax, (name, each) in zip(axes, functions.items()):
        figures.draw_picture(ax, sample_image(), name)
        figures.draw_changed(ax, function(each, x, token), token, unit=4)
    return figure, "A changed token and the outputs that change: 16 of its window, 16 of another, and 2."


changed_by = Exercise(
    "changed_by",
    answer=_token_by_token,
    cases=lambda: {
        "windows without shift": (_attends(0), torch.randn(1, 8, 12, 8), (1, 6)),
        "windows with shift": (_attends(2), torch.randn(1, 8, 12, 8), (7, 2)),
        "a function with a norm": (_below, torch.randn(1, 6, 8, 4), (2, 5)),
        "a function of both signs": (_pairs, torch.randn(1, 6, 8, 4), (4, 1)),
        "a function that falls": (_later, torch.full((1, 6, 8, 4), 2.0), (3, 0)),
    },
    mistakes={
        "The same number is added to all channels. A LayerNorm takes it away again: add noise.": partial(
            _changes, change="constant"
        ),
        "The whole row is changed. Asked for is one token.": partial(_changes, change="row"),
        "Row and column of the token have changed places.": partial(_changes, change="swapped"),
        "You compare the inputs. Asked for are the outputs of the function.": partial(_changes, seen="input"),
        "Differences of both signs cancel out: take their size before you add them up.": partial(
            _changes, seen="sum"
        ),
        "Only the first channel of the outputs is looked at.": partial(_changes, seen="first"),
        "An output counts only if all its channels change. One is enough.": partial(_changes, seen="all"),
        "What becomes smaller is not seen: take the size of the difference.": partial(_changes, seen="up"),
        "These are the outputs that stay. Asked for are the others.": partial(_changes, seen="others"),
    },
    forbidden={"It is made by the course's `hunt.changed_by`: write it yourself.": calls(hunt.changed_by)},
    picture=_draw_changes,
    axes="(H, W)",
)

# --- additive_mask -----------------------------------------------------------------------


def _regions(H, W, M, shift):
    """(nW, N): the number of each token's region, nine of them."""
    regions = torch.zeros(1, H, W, 1)
    bounds = slice(0, -M), slice(-M, -shift), slice(-shift, None)
    for i, (rows, columns) in enumerate(product(bounds, bounds)):
        regions[:, rows, columns] = i
    return window_partition(regions, M)[0, :, :, 0]


def _differences(H, W, M, shift):
    windows = _regions(H, W, M, shift)
    return windows[:, None, :] - windows[:, :, None]


def _added(number):
    """A mask that adds this number where the regions differ."""
    return lambda *sizes: torch.where(_differences(*sizes) != 0, number, 0.0)


def _only(axis):
    """The mask of a map that moves along one axis alone."""

    def mask(H, W, M, shift):
        rows, columns = (torch.arange(n) >= n - shift for n in (H, W))  # wrapped around?
        around = rows[:, None].expand(H, W) if axis == "rows" else columns.expand(H, W)
        windows = window_partition(around[None, :, :, None], M)[0, :, :, 0]  # (nW, N)
        return torch.where(windows[:, None, :] != windows[:, :, None], -math.inf, 0.0)

    return mask


def _mask_case(H, W, M, shift):
    """With three kinds of scores: usual ones, large ones, and as bad as floats can be."""
    usual, other = torch.randn(2, H * W // M**2, M * M, M * M)
    worst = torch.where(shifted_window_mask(H, W, M, shift), -3e38, 3e38)
    return H, W, M, shift, torch.stack([usual, 200 * other, worst])


def _weights(function, H, W, M, shift, scores):
    """(3, nW, N, N): the mask added to each kind of scores, after the softmax."""
    added = function(H, W, M, shift)
    true_or_false = isinstance(added, torch.Tensor) and added.dtype == torch.bool  # there are words for it
    dtype = torch.bool if true_or_false else torch.float32
    return (scores + as_tensor(added, scores.shape[1:], "(nW, N, N)", dtype)).softmax(dim=-1)


def _is_soft(found, H, W, M, shift, scores):
    """Are allowed pairs left alone, and forbidden ones only made smaller?"""
    forbidden = ~shifted_window_mask(H, W, M, shift)
    added = found[0].log() - scores[0]  # up to one number for each query, which the softmax does not see
    added -= added.amax(dim=-1, keepdim=True)
    return bool((added[~forbidden] > -0.01).all() and (added[forbidden] < -0.01).all())


def _is_very_soft(found, H, W, M, shift, scores):
    """Does it show even with usual scores?"""
    seen = found[0][~shifted_window_mask(H, W, M, shift)].max() > 1e-6
    return bool(seen) and _is_soft(found, H, W, M, shift, scores)


def _draw_weights(function):
    weights = function(8, 8, 4, 2).softmax(dim=-1)
    figure, axes = figures.panels(1, 4, size=2.5)
    for number, ax in enumerate(axes):
        figures.draw_mask(ax, weights[number] > 0, step=4, title=f"window {number}")
    return figure, "Keys with weight in four windows: all; fine squares; two large squares; both together."


additive_mask = Exercise(
    "additive_mask",
    answer=lambda *sizes: torch.zeros(()).where(shifted_window_mask(*sizes), -math.inf),
    cases=lambda: {
        "a square map": _mask_case(8, 8, 4, 2),
        "a map wider than high, shift 1": _mask_case(8, 12, 4, 1),
        "windows of 3, shift 2, all with scores of every size": _mask_case(9, 6, 3, 2),
    },
    mistakes={
        "The weights are nan. Two ways lead there: 0 times infinity, and a query whose keys are all "
        "forbidden.": Symptom(lambda found, *_: bool(found.isnan().any())),
        "The forbidden pairs get all the weight, and the allowed ones none: a token attends only to tokens "
        "to which it must not attend, and not even to itself.": _added(255.0),
        "A forbidden key has a small handicap only, and still gets weight. After the softmax its weight must "
        "be 0, whatever the scores.": Symptom(_is_very_soft),
        "It works while the scores are small. Where a forbidden score is large enough, it makes up for what "
        "you add, and gets weight again (notebook 07: a soft mask).": Symptom(_is_soft),
        "What you add depends on which region has the larger number: a pair is forbidden in one direction, "
        "and favoured in the other.": lambda *sizes: -255 * _differences(*sizes),
        "Of each pair only one direction is forbidden: the other of the two still attends.": (
            lambda *sizes: torch.where(_differences(*sizes) > 0, -math.inf, 0.0)
        ),
        "The rows are kept apart. Tokens left and right of the seam between columns still attend to each "
        "other.": _only("rows"),
        "The columns are kept apart. Tokens above and below the seam between rows still attend to each "
        "other.": _only("columns"),
        "No pair is forbidden: tokens that are not neighbours in the picture attend to each other.": (
            _added(0.0)
        ),
    },
    picture=_draw_weights,
    axes="(kind of scores, nW, N, N)",
    call=_weights,
)

# --- received_attention ------------------------------------------------------------------


def _received(block, x, back="right", over="queries", heads="mean"):
    """With a mistake, if asked for."""
    H, W, M, shift = *x.shape[1:3], block.window_size, block.shift_size
    windows, mask = block.to_windows(block.norm1(x))
    weights = block.attn.explicit_attention(windows, mask)[1]  # (B, nW, heads, N, N)
    weights = weights.mean(dim=2) if heads == "mean" else weights.sum(dim=2)
    received = weights.sum(dim=2 if over == "queries" else 3)  # (B, nW, N)
    if back == "right":
        return block.from_windows(received[..., None], H, W)[..., 0]
    if back == "too early":
        received = received.roll((shift, shift), dims=(1, 2))
    x = window_reverse(received[..., None], M, H, W)[..., 0]
    moves = {"the wrong way": (-shift, -shift), "covered, too": (shift, shift), "rows": (shift, 0)}
    moves["always 2"] = 2, 2
    return x.roll(moves.get(back, (0, 0)), dims=(1, 2))


def _large_block(shift):
    block = SwinTransformerBlock(8, 2, window_size=4, shift_size=shift).requires_grad_(False)
    block.attn = large_attention(8, 4, 2)
    return block


def _draw_received(function):
    x = torch.randn(1, 8, 8, 8)
    figure, axes = figures.panels(1, 2, size=2.8)
    for ax, shift in zip(axes, (0, 2)):
        bounds = true_windows(8, 4, shift)
        figures.draw_attention(
            ax, 255 * sample_image(), function(_large_block(shift), x)[0], f"shift {shift}"
        )
        figures.draw_windows(ax, bounds, bounds, unit=4, numbers=False)
    return figure, "The attention that each token receives, with the true windows, without and with a shift."


received_attention = Exercise(
    "received_attention",
    answer=lambda block, x: block_attention(block, x).mean(dim=1).sum(dim=(1, 2)),
    cases=lambda: {
        "a block without shift": (_large_block(0), torch.randn(1, 8, 8, 8)),
        "shift 2": (_large_block(2), torch.randn(1, 8, 8, 8)),
        "shift 1, two pictures, wider than high": (_large_block(1), torch.randn(2, 8, 12, 8)),
        "a map one window high": (_large_block(2), torch.randn(1, 4, 8, 8)),
        "a map one window wide": (_large_block(2), torch.randn(1, 8, 4, 8)),
    },
    mistakes={
        "The numbers are right and lie at wrong places: what token (2, 2) receives in the block with shift 2 "
        "stands at (0, 0).": partial(_received, back="never"),
        "The numbers move away from their places: they were 2 tokens too far, now they are 4.": (
            partial(_received, back="the wrong way")
        ),
        "Where one window covers a side of the map, nothing was moved along that side, so nothing must be "
        "undone there.": partial(_received, back="covered, too"),
        "You move the numbers by 2, whatever the block. Each block has a shift of its own.": (
            partial(_received, back="always 2")
        ),
        "You move the numbers while they lie in windows. There, axis 1 counts windows and axis 2 tokens: "
        "these are not rows and columns.": partial(_received, back="too early"),
        "The rows are right now. The columns are not.": partial(_received, back="rows"),
        "Every token has 1.0: that is what it *gives*, a sum over its keys. What it receives is a sum over "
        "the queries.": partial(_received, over="keys"),
        "The heads are added up. Asked for is their mean.": partial(_received, heads="sum"),
    },
    picture=_draw_received,
    axes="(B, H, W)",
    call=lambda function, block, x: as_tensor(function(block, x), x.shape[:3], "(B, H, W)"),
)

# --- assert_mask ------------------------------------------------------------------------


def _other_mask(allowed):
    """allowed(differences, H, W, M, shift) -> the pairs that may attend; as a mask."""
    return lambda *sizes: torch.where(allowed(_differences(*sizes), *sizes), 0.0, -math.inf)


def _sides_exchanged(H, W, M, shift):
    return _added(-math.inf)(W, H, M, shift)


def _column_by_column(H, W, M, shift):
    """Each window is right, and stands at the place of another."""
    mask = _added(-math.inf)(H, W, M, shift)
    return mask.unflatten(0, (H // M, W // M)).transpose(0, 1).flatten(0, 1)


def _corner_only(H, W, M, shift):
    mask = torch.zeros(H * W // M**2, M * M, M * M)
    mask[-1] = _added(-math.inf)(H, W, M, shift)[-1]
    return mask


MASKS = {  # name: (mask, what is said of a test that lets it through)
    "right": (
        _added(-math.inf),
        "It rejects the right mask. Try it on the one of your `additive_mask`, or of its solution.",
    ),
    "as found": (
        _added(255.0),
        "It lets the mask as found through, with +255. What are the weights after the softmax?",
    ),
    "no mask": (_added(0.0), "It lets a mask through that forbids nothing. Which pairs must be forbidden?"),
    "flipped": (
        _other_mask(lambda different, *_: different != 0),
        "It lets a mask through in which allowed and forbidden have changed places.",
    ),
    "only itself": (
        _other_mask(
            lambda different, *_: torch.eye(different.shape[-1], dtype=torch.bool).expand_as(different)
        ),
        "It lets a mask through that is too strict: each token attends to itself alone. Which others are "
        "allowed?",
    ),
    "rows only": (
        _only("rows"),
        "It lets a mask through that forgets the columns: tokens left and right of the seam attend to each "
        "other.",
    ),
    "columns only": (
        _only("columns"),
        "It lets a mask through that forgets the rows: tokens above and below the seam attend to each other.",
    ),
    "one direction": (
        _other_mask(lambda different, *_: different <= 0),
        "It lets a mask through that forbids one direction of each pair only.",
    ),
    "corner only": (
        _corner_only,
        "It lets a mask through that is right in the last window and forbids nothing in the others.",
    ),
    "soft": (
        _added(-20.0),
        "It lets a soft mask through, of -20. Which weight does it leave to a forbidden key, and which "
        "is asked for?",
    ),
    "always shift 1": (
        lambda H, W, M, shift: _added(-math.inf)(H, W, M, 1),
        "It lets a mask through that is right for shift 1 only. Ask for other shifts, too.",
    ),
    "always shift 2": (
        lambda H, W, M, shift: _added(-math.inf)(H, W, M, 2),
        "It lets a mask through that is right for shift 2 only. Ask for other shifts, too.",
    ),
    "sides exchanged": (
        _sides_exchanged,
        "It lets a mask through that takes H for W and W for H. On a square map that is no mistake.",
    ),
    "column by column": (
        _column_by_column,
        "It lets a mask through whose windows come column by column. Each is right, at the place of another.",
    ),
}


def _assert_mask(mask):
    for H, W, M, shift in ((8, 12, 4, 2), (9, 6, 3, 1)):
        allowed = shifted_window_mask(H, W, M, shift)
        assert torch.equal(mask(H, W, M, shift), torch.where(allowed, 0.0, -math.inf))


def _rejected(function, masks):
    """{name of a mask: does the test reject it?}"""

    def rejects(mask):
        try:
            function(mask)
        except AssertionError:
            return True
        return False

    return {name: rejects(mask) for name, mask in masks.items()}


def _lets_through(name):
    """A test that is right but for one mask, as a mistake."""
    return Symptom(lambda found, masks: found[name] == (name == "right"))


def _draw_masks(function):
    figure, axes = figures.panels(7, 2, size=2)
    figure.set_size_inches(9, 7)
    masks = {name: mask for name, (mask, _) in MASKS.items()}
    for ax, (name, rejected) in zip(axes, _rejected(function, masks).items()):
        windows = (masks[name](8, 12, 4, 1).softmax(dim=-1) > 0).float()  # (6, N, N)
        strip = F.pad(windows, (0, 1), value=0.5).transpose(0, 1).flatten(1)
        figures.draw_mask(ax, strip, step=16, title=f"{name}: {'rejected' if rejected else 'accepted'}")
        ax.set(xlabel="", ylabel="", xticks=[], yticks=[])
    return (
        figure,
        "The right mask is accepted, thirteen wrong ones are rejected; each with six windows in a row.",
    )


assert_mask = Exercise(
    "assert_mask",
    answer=_assert_mask,
    cases=lambda: {
        "the right mask and thirteen wrong ones": ({name: mask for name, (mask, _) in MASKS.items()},)
    },
    mistakes={
        "It lets every mask through. A test must raise an AssertionError (`assert`), to return False does "
        "not count.": Symptom(lambda found, masks: not any(found.values())),
        **{words: _lets_through(name) for name, (_, words) in MASKS.items()},
    },
    picture=_draw_masks,
    call=_rejected,
)
