"""Checks of notebook 08: DropPath, block, stage, the whole model; then counting, deepening, a branch."""

from functools import cache, partial

import torch
import torch.nn.functional as F

from course import figures, package_pieces
from course.check.core import Exercise, Symptom, Wrong, explain, numbered, sample_images
from course.check.watch import calls, loops
from course.pieces import NOTEBOOKS
from swin_cifar.checkpoint import load_checkpoint
from swin_cifar.data import normalize
from swin_cifar.layers import DropPath
from swin_cifar.model import SwinStage, SwinTransformer, SwinTransformerBlock, create_model


def _large(module):
    """Weights large enough that a forgotten bias, norm or table shows."""
    for name, parameter in module.named_parameters():
        if name.endswith("relative_position_bias_table"):
            parameter.data.normal_(std=2.0)
        elif parameter.ndim == 1:
            parameter.data.add_(torch.randn_like(parameter) * 0.3)
        elif name.endswith(("qkv.weight", "head.weight")):
            parameter.data.mul_(2)
    return module.eval()


# --- drop_path ---------------------------------------------------------------------------


def call_drop_path(function, x, drop_prob, training):
    """What was done with the samples, in numbers that do not depend on how it was drawn."""
    found = function(x, drop_prob, training)
    if not isinstance(found, torch.Tensor) or found.shape != x.shape:
        raise Wrong(explain(found, x, "(B, ...)"))
    factors = found.float() / x.float()
    share = (factors == 0).float().mean().item()
    spreads = [(axis, (factors.amax(axis) - factors.amin(axis)).max()) for axis in range(x.ndim)]
    axes = [str(axis) for axis, spread in spreads if spread > 2e-2]
    near = [p for p in (0.0, drop_prob, 1 - drop_prob, 1.0) if abs(p - share) < 0.1]
    return {
        "the type of the numbers": str(found.dtype),
        "the random draw": f"one for each index of {_axes_in_words(axes)}" if axes else ONE_DRAW,
        "the samples": f"x times {_levels(factors, 3 if x.dtype == torch.float32 else 2)}",
        "the share of the numbers that are dropped": near[0] if near else round(share, 2),
    }


ONE_DRAW = "one for all samples, or none"


def _axes_in_words(axes):
    return f"axis {axes[0]}" if len(axes) == 1 else f"the axes {' and '.join(axes)}"


def _levels(factors, digits):
    """The different factors in words. Those that differ by the rounding of bfloat16 are one."""
    levels = []
    for value in factors.unique().tolist():  # sorted
        if not levels or abs(value - levels[-1]) > 0.02 * abs(value):
            levels.append(value)
    words = [f"{value:.{digits}g}" for value in levels]
    return " or ".join(words) if len(words) < 4 else f"{len(words)} different numbers"


def _drop_path_by_cases(x, drop_prob, training):
    drawn = torch.rand(len(x)) < drop_prob
    if not training:
        return x
    return torch.stack([0 * sample if gone else sample / (1 - drop_prob) for sample, gone in zip(x, drawn)])


def _drop(x, p, training, draws=lambda x: [len(x)] + [1] * (x.ndim - 1), factor=None, swap=False, kind=None):
    """With a mistake, if asked for."""
    if not training or p == 0:
        return x
    keep = torch.empty(draws(x)).bernoulli_(p if swap else 1 - p)
    return x * (keep * (1 / (1 - p) if factor is None else factor(p))).to(kind or x.dtype)


def _classic(x, p, training):
    return _drop(x, p, training, factor=lambda p: 1) if training else x * (1 - p)


def _scaled_twice(x, p, training):
    return _drop(x, p, training) if training else x * (1 - p)


def _drawn_once(found, x, drop_prob, training):
    return found["the random draw"] == ONE_DRAW and (training or found["the samples"] == "x times 1")


def _draw_drop_path(function):
    pictures = sample_images()[:8] / 2
    after = function(pictures, 0.4, True)
    figure, axes = figures.panels(2, 8, size=1.3)
    for ax, image in zip(axes, [*pictures, *after.clamp(0, 1)]):
        figures.draw_picture(ax, image)
    axes[0].set_ylabel("x", fontsize=12)
    axes[8].set_ylabel("yours", fontsize=12)
    dropped = sum(not image.any() for image in after)
    return figure, (
        f"Eight pictures and below them the results for drop_prob = 0.4: {dropped} are black, "
        "the others brighter by the factor 1.67."
    )


def _samples(*shape):
    return 1 + numbered(*shape) / 100


drop_path = Exercise(
    "drop_path",
    answer=_drop_path_by_cases,
    cases=lambda: {
        "maps of 400 pictures in training": (_samples(400, 2, 3, 4), 0.2, True),
        "vectors (B, C) in training": (_samples(400, 6), 0.75, True),
        "numbers of the type bfloat16": (_samples(400, 1, 2, 3).bfloat16(), 0.75, True),
        "drop_prob 0": (_samples(5, 2, 3, 4), 0.0, True),
        "evaluation": (_samples(5, 2, 3, 4), 0.2, False),
    },
    call=call_drop_path,
    mistakes={
        "Nothing is ever dropped. In training each sample is dropped with the probability drop_prob.": (
            lambda x, p, training: x
        ),
        "Single numbers are dropped, as Dropout does it. DropPath draws once for each sample: either all of "
        "its numbers are 0, or none.": F.dropout,
        "Every token is drawn by itself. Draw once for each sample.": partial(
            _drop, draws=lambda x: [*x.shape[:-1], 1]
        ),
        "Every channel is drawn by itself. Draw once for each sample.": partial(
            _drop, draws=lambda x: [len(x)] + [1] * (x.ndim - 2) + [x.shape[-1]]
        ),
        "You draw once for the whole batch: all samples share one fate. Draw once for each sample.": Symptom(
            _drawn_once
        ),
        "In evaluation something is dropped as well. Then every sample keeps its branch.": (
            lambda x, p, training: _drop(x, p, True)
        ),
        "In evaluation x is multiplied by 1 - drop_prob. That belongs to another convention: here the "
        "kept samples are divided in training, and evaluation changes nothing.": _classic,
        "In evaluation x is multiplied by 1 - drop_prob, and in training the kept samples are divided by it. "
        "One of the two is enough: here evaluation changes nothing.": _scaled_twice,
        "Training and evaluation have changed places.": lambda x, p, training: _drop(x, p, not training),
        "The kept samples are not divided by 1 - drop_prob: the mean gets too small.": partial(
            _drop, factor=lambda p: 1
        ),
        "The kept samples are multiplied by 1 - drop_prob instead of divided.": partial(
            _drop, factor=lambda p: 1 - p
        ),
        "drop_prob is the probability to be dropped; you keep with this probability. Which of the two does "
        "your random number want?": partial(_drop, swap=True),
        "You keep with the probability drop_prob, and divide by it. It is the probability to be dropped.": (
            partial(_drop, swap=True, factor=lambda p: 1 / max(p, 1e-9))
        ),
        "The kept samples are divided by drop_prob, the probability to be dropped.": partial(
            _drop, factor=lambda p: 1 / max(p, 1e-9)
        ),
        "The result is float32 where x is bfloat16: draw numbers of x's type. On a GPU they would also "
        "be on the wrong device.": lambda x, p, training: (
            _drop(x, p, training, kind=torch.float32) if training and p else x
        ),
    },
    forbidden={
        "The package's DropPath does the work: write it yourself.": calls(
            DropPath.forward, package_pieces.drop_path
        ),
        "You visit the samples in a loop. Asked for are steps for all of them at once.": loops,
    },
    picture=_draw_drop_path,
    axes="(B, ...)",
    piece=True,
)

# --- block -------------------------------------------------------------------------------


def _call_block(function, x, layer):
    """Where DropPath is at work, all pictures are the same: what can become of one?"""
    found = function(x, layer)
    if layer.drop_path.drop_prob == 0:
        return found
    if not isinstance(found, torch.Tensor) or found.shape != x.shape:
        raise Wrong(explain(found, x, "(B, H, W, C)"))
    kinds = []
    for each in found:
        if len(kinds) < 9 and all((each - kind).abs().max() > 1e-3 for kind in kinds):
            kinds.append(each)
    kinds.sort(key=lambda kind: kind.flatten()[0].item())
    return {"different results for 128 equal pictures": len(kinds), "the results": kinds}


def _layer(shift=0, rate=0.0):
    return _large(SwinTransformerBlock(12, 3, window_size=4, shift_size=shift, drop_path=rate))


def _equal_pictures():
    return torch.randn(1, 4, 4, 12).repeat(128, 1, 1, 1)


def _attend(x, layer, shift=None, back=None, mask=True, bias=True):
    M, attn = layer.window_size, layer.attn
    shift = layer.shift_size if shift is None else shift
    windows, allowed = package_pieces.to_windows(x, M, shift)
    table = attn.relative_position_bias() * bias
    allowed = allowed if mask else None
    windows = package_pieces.attention(windows, attn.qkv, attn.proj, attn.num_heads, table, allowed)
    return package_pieces.from_windows(windows, M, shift if back is None else back, *x.shape[1:3])


def _block(x, layer, attend=_attend, norms=(True, True), added=(True, True), dropped=(True, True)):
    """With a mistake, if asked for."""
    y = layer.norm1(x) if norms[0] else x
    y = attend(y, layer)
    x = (layer.drop_path(y) if dropped[0] else y) + added[0] * x
    y = layer.mlp(layer.norm2(x) if norms[1] else x)
    return (layer.drop_path(y) if dropped[1] else y) + added[1] * x


def _normalised_first(x, layer):
    x = layer.norm1(x)
    x = layer.norm2(x + layer.drop_path(_attend(x, layer)))
    return x + layer.drop_path(layer.mlp(x))


def _normalised_last(x, layer):
    x = layer.norm1(x + layer.drop_path(_attend(x, layer)))
    return layer.norm2(x + layer.drop_path(layer.mlp(x)))


def _side_by_side(x, layer):
    return _block(x, layer, added=(True, False)) * 0 + (
        x + layer.drop_path(_attend(layer.norm1(x), layer)) + layer.drop_path(layer.mlp(layer.norm2(x)))
    )


def _mlp_first(x, layer):
    x = x + layer.drop_path(layer.mlp(layer.norm2(x)))
    return x + layer.drop_path(_attend(layer.norm1(x), layer))


def _norms_swapped(x, layer):
    x = x + layer.drop_path(_attend(layer.norm2(x), layer))
    return x + layer.drop_path(layer.mlp(layer.norm1(x)))


def _one_norm(x, layer):
    x = x + layer.drop_path(_attend(layer.norm1(x), layer))
    return x + layer.drop_path(layer.mlp(layer.norm1(x)))


def _sums_dropped(x, layer):
    x = layer.drop_path(x + _attend(layer.norm1(x), layer))
    return layer.drop_path(x + layer.mlp(layer.norm2(x)))


def _first_sum_dropped(x, layer):
    x = layer.drop_path(x + _attend(layer.norm1(x), layer))
    return x + layer.drop_path(layer.mlp(layer.norm2(x)))


def _second_sum_dropped(x, layer):
    x = x + layer.drop_path(_attend(layer.norm1(x), layer))
    return layer.drop_path(x + layer.mlp(layer.norm2(x)))


def _first_normalised(x, layer):
    x = layer.norm1(x)
    x = x + layer.drop_path(_attend(x, layer))
    return x + layer.drop_path(layer.mlp(layer.norm2(x)))


def _second_normalised(x, layer):
    x = layer.norm2(x + layer.drop_path(_attend(layer.norm1(x), layer)))
    return x + layer.drop_path(layer.mlp(x))


def _always_drops(x, layer):
    return _block(x, layer.train())


def _always_drops_one(x, layer, first):
    """One branch goes through DropPath as in training, whatever the layer says."""
    always = partial(package_pieces.drop_path, drop_prob=layer.drop_path.drop_prob, training=True)
    drops = (always, layer.drop_path) if first else (layer.drop_path, always)
    x = x + drops[0](_attend(layer.norm1(x), layer))
    return x + drops[1](layer.mlp(layer.norm2(x)))


def _reached(changed_by, H, W, token):
    """Which tokens of the result change when one token of a random (H, W) map does?"""
    x = torch.randn(1, H, W, 12)
    other = x.clone()
    other[0, token[0], token[1]] += torch.randn(12)
    return (changed_by(x) - changed_by(other)).abs().amax(-1)[0] > 1e-6


def _draw_reached(titles, functions):
    """-> figure, and how many tokens each function reaches from one."""
    figure, axes = figures.panels(1, len(functions), size=2.8)
    counts = []
    for ax, title, function in zip(axes, titles, functions):
        changed = _reached(function, 16, 16, (6, 5))
        counts.append(int(changed.sum()))
        figures.draw_picture(ax, sample_images()[5], f"{title}: {counts[-1]} tokens")
        figures.draw_changed(ax, changed, (6, 5), unit=2)
    return figure, counts


def _draw_block(function):
    layers = [_layer(shift) for shift in (0, 2)]
    functions = [partial(lambda layer, x: function(x, layer), layer) for layer in layers]
    figure, counts = _draw_reached(("shift 0", "shift 2"), functions)
    return figure, (
        f"A map of 16 by 16 tokens. When the token with the star changes, {counts[0]} results of your block "
        f"change without a shift, and {counts[1]} with shift 2: its window, which lies elsewhere."
    )


block = Exercise(
    "block",
    answer=_block,
    cases=lambda: {
        "regular windows": (torch.randn(2, 8, 12, 12), _layer()),
        "shifted windows": (torch.randn(2, 12, 8, 12), _layer(shift=2)),
        "a map to pad": (torch.randn(1, 7, 10, 12), _layer(shift=2)),
        "a map that one window covers": (torch.randn(2, 4, 4, 12), _layer(shift=2)),
        "DropPath in training": (_equal_pictures(), _layer(rate=0.4).train()),
        "DropPath in evaluation": (_equal_pictures(), _layer(rate=0.4)),
    },
    call=_call_block,
    mistakes={
        "The result of attention replaces x. It is added to x: the first residual connection.": partial(
            _block, added=(False, True)
        ),
        "The result of the MLP is returned alone. It is added to what attention has left: the second "
        "residual connection.": partial(_block, added=(True, False)),
        "Both residual connections are missing: each branch is added to the map that it has read.": partial(
            _block, added=(False, False)
        ),
        "The first line of equation 3 adds to norm1 of the map. LayerNorm belongs to the branch: the sum "
        "begins with z itself.": _first_normalised,
        "The second line of equation 3 adds to norm2 of the map. LayerNorm belongs to the branch: the sum "
        "begins with what attention has left.": _second_normalised,
        "You add to the normalised map. LayerNorm belongs to the branch: the sum begins with z itself.": (
            _normalised_first
        ),
        "You normalise after the addition (post-norm, as in the first Transformer). In Swin each layer reads "
        "a normalised copy, and the sum stays as it is.": _normalised_last,
        "The MLP reads what attention has read. It reads the sum of the first line of equation 3: one branch "
        "after the other.": _side_by_side,
        "The MLP comes first. Attention is the first line of equation 3.": _mlp_first,
        "norm1 and norm2 have changed places.": _norms_swapped,
        "norm1 is used twice. The MLP has a LayerNorm of its own.": _one_norm,
        "Attention reads z itself, not norm1 of it.": partial(_block, norms=(False, True)),
        "The MLP reads the map itself, not norm2 of it.": partial(_block, norms=(True, False)),
        "Both layers read the map without LayerNorm.": partial(_block, norms=(False, False)),
        "The mask of `to_windows` is not used: tokens attend across the seam, and to padding.": partial(
            _block, attend=partial(_attend, mask=False)
        ),
        "The relative position bias is missing from the scores.": partial(
            _block, attend=partial(_attend, bias=False)
        ),
        "Nothing is ever shifted: the layer says by how much, `layer.shift_size`.": partial(
            _block, attend=partial(_attend, shift=0)
        ),
        "The map is not shifted back: results are added to tokens they do not belong to.": partial(
            _block, attend=partial(_attend, back=0)
        ),
        "DropPath is missing: in training a branch is dropped at random, before it is added.": partial(
            _block, dropped=(False, False)
        ),
        "Only the branch of the MLP goes through DropPath. Both do.": partial(_block, dropped=(False, True)),
        "Only the branch of attention goes through DropPath. Both do.": partial(
            _block, dropped=(True, False)
        ),
        "DropPath is applied to the sum, so that z itself can be lost. Only a branch may be dropped.": (
            _sums_dropped
        ),
        "In the first line DropPath is applied to the sum, so that z itself can be lost. Only the branch of "
        "attention may be dropped.": _first_sum_dropped,
        "In the second line DropPath is applied to the sum, so that what attention has left can be lost. "
        "Only the branch of the MLP may be dropped.": _second_sum_dropped,
        "In evaluation branches are dropped as well: hand on `layer.training`.": _always_drops,
        "In evaluation the branch of attention is dropped as well: hand on `layer.training`.": partial(
            _always_drops_one, first=True
        ),
        "In evaluation the branch of the MLP is dropped as well: hand on `layer.training`.": partial(
            _always_drops_one, first=False
        ),
        "The MLP is missing: your block ends after attention.": (
            lambda x, layer: x + layer.drop_path(_attend(layer.norm1(x), layer))
        ),
    },
    forbidden={
        "The package's block does the work: write it yourself.": calls(
            SwinTransformerBlock.forward, package_pieces.block
        ),
        "`window_attention` of the package does half the work: it takes three steps, which are pieces that "
        "you know.": calls(SwinTransformerBlock.window_attention),
    },
    picture=_draw_block,
    axes="(B, H, W, C)",
    piece=True,
)

# --- stage -------------------------------------------------------------------------------


def _stage_layer(depth, dim=12, downsample=False):
    return _large(SwinStage(dim, depth, 3, window_size=4, downsample=downsample))


def _call_stage(function, x, layer):
    """What stops in the first block for its number of channels is said in words."""
    first, given = layer.blocks[0], []
    dim = first.attn.qkv.in_features
    handles = [
        module.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0].shape[-1]))
        for module in (first, first.norm1)
    ]
    try:
        return function(x, layer)
    except Exception:
        if given and given[0] != dim:
            raise Wrong(
                f"the first block gets tokens of {given[0]} channels, but its weights are for {dim}. What "
                "comes before the blocks?"
            ) from None
        raise
    finally:
        for handle in handles:
            handle.remove()


def _stage(x, layer, chosen=lambda blocks: list(blocks), on=True):
    """With a mistake, if asked for."""
    x = layer.downsample(x)
    for member in chosen(layer.blocks):
        x = member(x) if on else x
    return x


def _all_read_the_start(x, layer, joined=lambda results: results[-1]):
    x = layer.downsample(x)
    return joined([member(x) for member in layer.blocks])


def _residual_stage(x, layer):
    start = layer.downsample(x)
    return start + _stage(x, layer)


def _draw_stage(function):
    torch.manual_seed(0)
    layers = [_stage_layer(depth) for depth in (1, 2, 4)]
    functions = [partial(lambda layer, x: function(x, layer), layer) for layer in layers]
    figure, counts = _draw_reached(("1 block", "2 blocks", "4 blocks"), functions)
    return figure, (
        "A map of 16 by 16 tokens. The token with the star changes, and so do results of your stage: "
        f"{counts[0]} with one block, {counts[1]} with two, {counts[2]} with four."
    )


stage = Exercise(
    "stage",
    answer=_stage,
    cases=lambda: {
        "a first stage, without merging": (torch.randn(2, 6, 8, 12), _stage_layer(2)),
        "merging, then two blocks": (torch.randn(2, 8, 12, 12), _stage_layer(2, 24, True)),
        "odd sides, three blocks": (torch.randn(1, 7, 9, 12), _stage_layer(3, 24, True)),
        "no merging, four blocks": (torch.randn(2, 8, 8, 12), _stage_layer(4)),
    },
    call=_call_stage,
    mistakes={
        "The blocks change nothing: is the result of each given to the next, and the last one returned?": (
            partial(_stage, on=False)
        ),
        "Only the result of the first block is returned. Does `return` stand inside the loop?": partial(
            _stage, chosen=lambda blocks: blocks[:1]
        ),
        "The last block is left out.": partial(_stage, chosen=lambda blocks: list(blocks)[:-1]),
        "The first block is left out.": partial(_stage, chosen=lambda blocks: list(blocks)[1:]),
        "Every block reads the same map, and only the last result is returned. Each reads the result of the "
        "one before.": _all_read_the_start,
        "The results of the blocks are added up. Each block reads the result of the one before.": partial(
            _all_read_the_start, joined=sum
        ),
        "The blocks run in the opposite order.": partial(_stage, chosen=lambda blocks: list(blocks)[::-1]),
        "The first block runs again and again. Every block has weights of its own.": partial(
            _stage, chosen=lambda blocks: [blocks[0]] * len(blocks)
        ),
        "You add the map from before the blocks once more. The residual connections are inside the blocks.": (
            _residual_stage
        ),
    },
    forbidden={
        "The package's stage does the work: write it yourself.": calls(
            SwinStage.forward, package_pieces.stage
        )
    },
    picture=_draw_stage,
    axes="(B, H', W', C')",
    piece=True,
)

# --- forward -----------------------------------------------------------------------------


def _small_model(*depths):
    sizes = dict(embed_dim=12, depths=depths, num_heads=[3] * len(depths), num_classes=5)
    return _large(create_model("nano", **sizes))


def _call_forward(function, images, model):
    """What stops in the head for its number of channels is said in words."""
    given = []
    handle = model.head.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0].shape))
    try:
        return function(images, model)
    except Exception:
        C = model.head.in_features
        if given and given[-1][-1:] != (C,):
            raise Wrong(
                f"the head gets a tensor {tuple(given[-1])}, but its weights are for {C} channels. The map "
                "is (B, H, W, C): over which axes does the mean go?"
            ) from None
        raise
    finally:
        handle.remove()


def _forward(images, model, embed=lambda model, images: model.patch_embed(images), answer=None, stages=None):
    """With a mistake, if asked for."""
    x = embed(model, images)
    for member in list(model.stages)[stages or slice(None)]:
        x = member(x)
    return model.head(model.norm(x).mean(dim=(1, 2))) if answer is None else answer(model, x)


def _without_its_norm(model, images):
    P = model.patch_embed.patch_size
    images = F.pad(images, (0, -images.shape[3] % P, 0, -images.shape[2] % P))
    return model.patch_embed.proj(images).permute(0, 2, 3, 1)


def _draw_forward(function):
    checkpoint = load_checkpoint(NOTEBOOKS.parent / "checkpoints" / "nano_cifar10.pt")
    model = checkpoint.model.eval()
    images = normalize(255 * sample_images(), checkpoint.dataset["mean"], checkpoint.dataset["std"])
    with torch.no_grad():
        expected, found = model(images), function(images, model)
    pairs = {"a trained model": (expected, found)}
    figure = figures.plot_agreement(pairs, "logit of the package", "yours minus this")
    figure.axes[0].set_ylim(-0.1, 0.1)
    return figure, (
        f"The {expected.numel()} logits of a trained model for {len(images)} pictures, yours minus the "
        f"package's: the largest difference is {(found - expected).abs().max():.5f}."
    )


forward = Exercise(
    "forward",
    answer=_forward,
    cases=lambda: {
        "two stages": (torch.randn(3, 3, 32, 32), _small_model(2, 2)),
        "one picture, wider than high": (torch.randn(1, 3, 16, 48), _small_model(2, 2)),
        "sides that the patch does not divide": (torch.randn(2, 3, 30, 21), _small_model(2, 2)),
        "three stages": (torch.randn(2, 3, 64, 32), _small_model(2, 2, 2)),
    },
    call=_call_forward,
    mistakes={
        "The last LayerNorm, `model.norm`, is missing.": partial(
            _forward, answer=lambda model, x: model.head(x.mean(dim=(1, 2)))
        ),
        "You normalise the mean. LayerNorm comes first, for every token, then the mean.": partial(
            _forward, answer=lambda model, x: model.head(model.norm(x.mean(dim=(1, 2))))
        ),
        "You take the largest number of each channel. Asked for is the mean over the tokens.": partial(
            _forward, answer=lambda model, x: model.head(model.norm(x).amax(dim=(1, 2)))
        ),
        "You add up the tokens, and do not divide by their number.": partial(
            _forward, answer=lambda model, x: model.head(model.norm(x).sum(dim=(1, 2)))
        ),
        "Only the first token reaches the head. Asked for is the mean over all of them.": partial(
            _forward, answer=lambda model, x: model.head(model.norm(x)[:, 0, 0])
        ),
        "The mean goes over the pictures of the batch as well: each has an answer of its own.": partial(
            _forward,
            answer=lambda model, x: model.head(model.norm(x).mean(dim=(0, 1, 2))).expand(len(x), -1),
        ),
        "You return one answer per token, (B, H, W, classes). Where is the mean?": partial(
            _forward, answer=lambda model, x: model.head(model.norm(x))
        ),
        "You return the mean of the tokens, before the head.": partial(
            _forward, answer=lambda model, x: model.norm(x).mean(dim=(1, 2))
        ),
        "You return probabilities. Asked for are the logits; softmax belongs to the loss.": partial(
            _forward, answer=lambda model, x: model.head(model.norm(x).mean(dim=(1, 2))).softmax(dim=1)
        ),
        "You return the logarithms of probabilities. Asked for are the logits; log_softmax belongs to the "
        "loss.": partial(
            _forward, answer=lambda model, x: model.head(model.norm(x).mean(dim=(1, 2))).log_softmax(dim=1)
        ),
        "You return the number of the class. Asked for are the logits, one for each class.": partial(
            _forward, answer=lambda model, x: model.head(model.norm(x).mean(dim=(1, 2))).argmax(dim=1)
        ),
        "The patch embedding is more than its convolution: a LayerNorm follows. `model.patch_embed` does "
        "both.": partial(_forward, embed=_without_its_norm),
    },
    forbidden={
        "The package's model does the work: write the steps yourself.": calls(
            SwinTransformer.forward,
            SwinTransformer.stage_maps,
            SwinTransformer.forward_features,
            SwinTransformer.forward_head,
            package_pieces.forward,
        )
    },
    picture=_draw_forward,
    axes="(B, classes)",
    piece=True,
)

# --- count_parameters --------------------------------------------------------------------


def _count_parameters(C, depths, num_heads, M, P, classes):
    """Built on the device "meta", and counted."""
    with torch.device("meta"):
        model = create_model(
            "nano",
            **dict(embed_dim=C, depths=depths, num_heads=num_heads, window_size=M, patch_size=P),
            num_classes=classes,
        )
    return sum(parameter.numel() for parameter in model.parameters())


def _count(C, depths, num_heads, M, P, classes, less=lambda c, heads: 0, double=True, end=0, merging=None):
    """With a mistake, if asked for: `less` in each block, `end` once, `merging` in each merging."""
    total = 3 * P * P * C + 3 * C
    for i, (depth, heads) in enumerate(zip(depths, num_heads)):
        c = C * 2**i if double else C
        table = (2 * M - 1) ** 2 * heads
        total += depth * (12 * c * c + 13 * c + table - less(c, heads))
        total += (2 * c * c + 4 * c - (merging(c) if merging else 0)) * (i > 0)
    return total + 2 * c + c * classes + classes - (end(C, c, classes) if end else 0)


def _table_less(rows):
    return lambda *inputs: _count(
        *inputs, less=lambda c, heads: ((2 * inputs[3] - 1) ** 2 - rows(inputs[3])) * heads
    )


def _draw_counts(function):
    names = ("swin_t", "swin_s", "swin_b", "swin_l")
    sizes = ((96, 6, 3), (96, 18, 3), (128, 18, 4), (192, 18, 6))
    counts = [
        function(C, (2, 2, depth, 2), (heads, 2 * heads, 4 * heads, 8 * heads), 7, 4, 1000) / 1e6
        for C, depth, heads in sizes
    ]
    figure, axes = figures.panels(1, 1, size=4)
    axes[0].barh(names[::-1], counts[::-1], color=figures.COLOURS[0])
    axes[0].set_yticks(range(4), names[::-1])
    axes[0].set_xlabel("million parameters", fontsize=13)
    for y, count in enumerate(counts[::-1]):
        axes[0].text(count, y, f" {count:.1f}", va="center", fontsize=12)
    axes[0].set_xlim(0, max(counts) * 1.25)
    said = ", ".join(f"{name} {count:.1f}" for name, count in zip(names, counts))
    return figure, f"The million parameters of the paper's models, by your count: {said}."


count_parameters = Exercise(
    "count_parameters",
    answer=_count_parameters,
    cases=lambda: {
        "one stage": (8, (2,), (2,), 4, 2, 10),
        "two stages, as in nano": (48, (2, 2), (3, 6), 4, 4, 10),
        "three stages, 7 classes": (24, (1, 3, 2), (2, 3, 6), 3, 2, 7),
        "Swin-T": (96, (2, 2, 6, 2), (3, 6, 12, 24), 7, 4, 1000),
    },
    mistakes={
        "All stages have the same number of channels. It doubles from stage to stage.": partial(
            _count, double=False
        ),
        "The bias tables are missing: one number for each offset and head, in every block.": _table_less(
            lambda M: 0
        ),
        "The bias table has a row for each offset in a window, not for each token. How many offsets are "
        "there along one axis?": _table_less(lambda M: M * M),
        "The bias table has a row for each offset, not for each pair of tokens: pairs share.": _table_less(
            lambda M: M**4
        ),
        "Each head has a column of its own in the bias table; you count one.": lambda *inputs: _count(
            *inputs, less=lambda c, heads: (2 * inputs[3] - 1) ** 2 * (heads - 1)
        ),
        "The layer `qkv` has a bias: 3 · c numbers in each block.": partial(
            _count, less=lambda c, heads: 3 * c
        ),
        "The linear layers of the blocks have biases: qkv, proj, fc1 and fc2.": partial(
            _count, less=lambda c, heads: 9 * c
        ),
        "The two LayerNorms of each block are missing: a weight and a bias for each channel.": partial(
            _count, less=lambda c, heads: 4 * c
        ),
        "The merging has no bias in its linear layer (notebook 03).": partial(_count, merging=lambda c: -c),
        "The LayerNorm of the merging is missing. It works on four tokens side by side.": partial(
            _count, merging=lambda c: 4 * c
        ),
        "The mergings are missing.": partial(_count, merging=lambda c: 2 * c * c + 4 * c),
        "The LayerNorm of the patch embedding is missing.": partial(_count, end=lambda C, c, classes: 2 * C),
        "The last LayerNorm, before the head, is missing.": partial(_count, end=lambda C, c, classes: 2 * c),
        "The head has a bias: one number for each class.": partial(_count, end=lambda C, c, classes: classes),
    },
    forbidden={
        "The model is built and its weights are counted. Asked for is the count by formula.": calls(
            SwinTransformer.__init__, create_model
        )
    },
    picture=_draw_counts,
)

# --- deepen ------------------------------------------------------------------------------

SILENT = ("attn.proj.weight", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias")


def _depths(weights):
    places = {tuple(map(int, n.split(".")[1:4:2])) for n in weights if ".blocks." in n}
    return [sum(place[0] == stage for place in places) for stage in range(1 + max(places)[0])]


_loadable = cache(_small_model)


def _call_deepen(function, weights, stage):
    """The deeper model's logits, and which tensors of its new blocks are 0."""
    depths = _depths(weights)
    found = function(dict(weights), stage)
    if not isinstance(found, dict):
        raise Wrong(explain(found, {}))
    depths[stage] += 2
    model = _loadable(*depths)
    missing = [name for name in model.state_dict() if name not in found]
    unknown = [name for name in found if name not in model.state_dict()]
    if missing or unknown:
        words = f"`{missing[0]}` is missing" if missing else f"there is no place for `{unknown[0]}`"
        raise Wrong(f"{words} in a model with {depths} blocks in its stages")
    try:
        model.load_state_dict(found)
    except RuntimeError as error:
        raise Wrong(f"the deeper model cannot load them: {str(error).splitlines()[-1].strip()}") from None
    with torch.no_grad():
        logits = model(numbered(2, 3, 16, 16).sin())
    starts = [f"stages.{stage}.blocks.{depths[stage] - n}." for n in (2, 1)]
    silent = [name for name, tensor in found.items() if name.startswith(tuple(starts)) and not tensor.any()]
    return {
        "the logits": logits,
        "the tensors of the new blocks that are all 0": sorted(silent),
        "what the new blocks were copied from": [_fingerprint(found, start) for start in starts],
    }


def _deepen(weights, stage, silent=SILENT, source=lambda number, depth: number):
    """With a mistake, if asked for."""
    depth = _depths(weights)[stage]
    new = dict(weights)
    for number in range(depth, depth + 2):
        start, copied = (
            f"stages.{stage}.blocks.{number}.",
            f"stages.{stage}.blocks.{source(number - 2, depth)}.",
        )
        for name, tensor in weights.items():
            if name.startswith(copied):
                rest = name.removeprefix(copied)
                new[start + rest] = torch.zeros_like(tensor) if rest in silent else tensor
    return new


def _fingerprint(weights, start):
    """A sum over those tensors of a block that are to be copied."""
    return sum(t.sum() for n, t in weights.items() if n.startswith(start) and not n.endswith(SILENT))


class _Everything:
    def __contains__(self, name):
        return True


def _draw_deepen(function):
    model = _small_model(2, 2)
    images = (sample_images() - 0.5) / 0.3
    deeper = _small_model(2, 4)
    deeper.load_state_dict(function(model.state_dict(), 1))
    with torch.no_grad():
        pairs = {"2 blocks more": (model(images), deeper(images))}
    figure = figures.plot_agreement(pairs, "logit before", "after minus before")
    largest = (pairs["2 blocks more"][1] - pairs["2 blocks more"][0]).abs().max()
    figure.axes[0].set_ylim(-0.1, 0.1)
    return figure, (
        f"The logits of the deeper model minus those before: the largest difference is {largest:.4f}."
    )


deepen = Exercise(
    "deepen",
    answer=_deepen,
    cases=lambda: {
        "the second of two stages": (_small_model(2, 2).state_dict(), 1),
        "the first of three stages": (_small_model(4, 2, 2).state_dict(), 0),
        "a stage of twelve blocks": (_small_model(12).state_dict(), 0),
    },
    call=_call_deepen,
    mistakes={
        "The new blocks are copies that change the map as the old ones do: the logits are others. When is "
        "what a branch adds 0?": partial(_deepen, silent=()),
        "The biases of the layers that end the branches are not 0 yet: every token gets them.": partial(
            _deepen, silent=("attn.proj.weight", "mlp.fc2.weight")
        ),
        "The branch of attention adds nothing, but that of the MLP does.": partial(
            _deepen, silent=("attn.proj.weight", "attn.proj.bias")
        ),
        "The branch of the MLP adds nothing, but that of attention does.": partial(
            _deepen, silent=("mlp.fc2.weight", "mlp.fc2.bias")
        ),
        "You have set the first layer of each branch to 0. What comes after it still has a bias.": partial(
            _deepen, silent=("attn.qkv.weight", "attn.qkv.bias", "mlp.fc1.weight", "mlp.fc1.bias")
        ),
        "Setting both LayerNorms to 0 is not enough: biases of the layers after them remain.": partial(
            _deepen, silent=("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias")
        ),
        "All tensors of the new blocks are 0. The logits stay, but such a block can hardly learn: most of "
        "its gradients are 0. Set only the last layer of each branch to 0.": partial(
            _deepen, silent=_Everything()
        ),
        "Both new blocks are copies of the last block. Asked for are copies of the last two, in order.": (
            partial(_deepen, source=lambda number, depth: depth - 1)
        ),
        "The new blocks are copies of the first two of the stage. Asked for are the last two.": partial(
            _deepen, source=lambda number, depth: number + 2 - depth
        ),
    },
    picture=_draw_deepen,
)

# --- add_branch --------------------------------------------------------------------------


class _Branch:
    """A layer that works on each picture by itself, and remembers how many it was given."""

    def __init__(self):
        self.pictures = 0

    def __call__(self, x):
        self.pictures += len(x)
        return 2 * x.flip(-1) + 1


def _call_with_branch(function, x, kept, p):
    branch = _Branch()
    out = function(x, branch, kept, p)
    return None if out is None else {"the result": out, "pictures that the branch worked on": branch.pictures}


def _add_branch_by_loop(x, branch, kept, p):
    return torch.cat(
        [x[i : i + 1] + (branch(x[i : i + 1]) / (1 - p) if kept[i] else 0) for i in range(len(x))]
    )


def _add_branch(x, branch, kept, p, factor=None, stays=True, of=lambda kept: kept, all_of_it=False):
    """With a mistake, if asked for."""
    kept = of(kept)
    out = x.clone() if stays else torch.zeros_like(x)
    results = branch(x)[kept] if all_of_it else branch(x[kept])
    out[kept] = x[kept] + results * (1 / (1 - p) if factor is None else factor(p))
    return out


def _all_scaled(x, branch, kept, p):
    out = x.clone()
    out[kept] = (x[kept] + branch(x[kept])) / (1 - p)
    return out


def _sorted(x, branch, kept, p):
    return torch.cat([x[kept] + branch(x[kept]) / (1 - p), x[~kept]])


def _only_kept(x, branch, kept, p):
    return x[kept] + branch(x[kept]) / (1 - p)


def _branch_alone(x, branch, kept, p, scale=True):
    out = x.clone()
    out[kept] = branch(x[kept]) / (1 - p if scale else 1)
    return out


def _draw_branch(function):
    pictures = sample_images()[:6] / 2
    kept = torch.tensor([True, False, True, True, False, True])
    out = function(pictures, lambda x: 0.3 * torch.ones_like(x), kept, 0.25)
    figure, axes = figures.panels(2, 6, size=1.4)
    for ax, image in zip(axes, [*pictures, *out]):
        figures.draw_picture(ax, image.clamp(0, 1))
    axes[0].set_ylabel("x", fontsize=12)
    axes[6].set_ylabel("yours", fontsize=12)
    return (
        figure,
        "Six pictures, and below them the results: brighter where the branch, a constant, was added.",
    )


def _bools(*values):
    return torch.tensor(values, dtype=torch.bool)


add_branch = Exercise(
    "add_branch",
    answer=_add_branch_by_loop,
    cases=lambda: {
        "maps of 4 pictures, 2 kept": (1 + numbered(4, 2, 3, 4), _bools(1, 0, 0, 1), 0.25),
        "vectors of 5 pictures, 4 kept": (torch.randn(5, 6), _bools(0, 1, 1, 1, 1), 0.2),
        "all kept": (torch.randn(3, 2, 2, 4), _bools(1, 1, 1), 0.4),
        "none kept": (torch.randn(3, 2, 2, 4), _bools(0, 0, 0), 0.4),
    },
    call=_call_with_branch,
    mistakes={
        "The numbers are right, but the branch has worked on all pictures. Give it only "
        "those that are kept: then stochastic depth also saves time.": partial(_add_branch, all_of_it=True),
        "The branch is not divided by 1 - p.": partial(_add_branch, factor=lambda p: 1),
        "The branch is multiplied by 1 - p instead of divided.": partial(_add_branch, factor=lambda p: 1 - p),
        "The branch is divided by p, the probability to be dropped.": partial(
            _add_branch, factor=lambda p: 1 / p
        ),
        "A picture whose branch is dropped has become 0. Only the branch is dropped: x itself stays.": (
            partial(_add_branch, stays=False)
        ),
        "x itself is divided by 1 - p as well. Only the branch is.": _all_scaled,
        "A kept picture becomes its branch alone. The branch is added to x.": _branch_alone,
        "A kept picture becomes its branch alone. The branch is divided by 1 - p, and added to x.": partial(
            _branch_alone, scale=False
        ),
        "The wrong pictures get the branch: True in `kept` means keep.": partial(
            _add_branch, of=lambda kept: ~kept
        ),
        "The pictures have changed their order: the kept ones come first.": _sorted,
        "Only the kept pictures are returned. The others stay unchanged.": _only_kept,
        "All pictures get the branch, also those where `kept` is False.": partial(
            _add_branch, of=torch.ones_like
        ),
    },
    picture=_draw_branch,
    axes="(B, ...)",
)
