"""Checks of notebook 14: six functions to repair, and a test to write.

The checks know the code as found, and incomplete repairs; the test is tried on a right mask and wrong ones.
"""

import math
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F

from course import figures
from course.check.core import Exercise, Symptom, as_tensor, numbered, sample_image
from course.check.shifted_windows import large_attention, true_windows
from swin_cifar.inspection import block_attention
from swin_cifar.model import SwinTransformerBlock
from swin_cifar.windows import relative_position_index, shifted_window_mask, window_partition, window_reverse

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

# --- drop_branch -------------------------------------------------------------------------


def _drop(x, drop_prob, training, in_evaluation="nothing", divide=True, drawn="samples", share=None):
    """With a mistake, if asked for."""
    keep = 1 - drop_prob
    if drop_prob == 0:
        return x
    if not training and in_evaluation != "drops":
        return x * keep if in_evaluation == "scales" else x
    samples = (len(x), *[1] * (x.ndim - 1))
    shape = {"samples": samples, "seed": samples, "batch": [1] * x.ndim, "numbers": x.shape}[drawn]
    generator = torch.Generator().manual_seed(0) if drawn == "seed" else None
    kept = torch.rand(shape, generator=generator) < (drop_prob if share == "p" else keep)
    return x * kept / (keep if divide else 1)


def _describe_drop(function, x, drop_prob, training):
    """What can be said of 20 calls, whichever samples were dropped."""
    outs = [as_tensor(function(x, drop_prob, training), x.shape, "(B, ...)") for _ in range(20)]
    factors = (torch.stack(outs) / x).flatten(2)  # (20, B, n)
    kept = factors != 0
    drawn = "for each sample"
    if (kept != kept[:, :, :1]).any():
        drawn = "for single numbers"
    elif kept.all() or not kept.any():
        drawn = "all alike"
    elif (kept == kept[:, :1]).all():
        drawn = "once for the whole batch"
    elif (kept == kept[:1]).all():
        drawn = "the same in every call"
    dropped, wanted = 1 - kept.double().mean().item(), drop_prob * training
    return {
        "what is dropped is drawn": drawn,
        "factors of the branches": sorted({round(f, 3) for f in factors.unique().tolist()}),
        "the share of dropped samples": (
            "-"
            if drawn == "once for the whole batch"
            else "as asked for"
            if abs(dropped - wanted) < 0.06
            else "too large"
            if dropped > wanted
            else "too small"
        ),
    }


def _draw_drop(function):
    figure, axes = figures.panels(2, 1, size=2.2)
    figure.set_size_inches(8, 2.6)
    for ax, training in zip(axes, (True, False)):
        factors = function(torch.ones(16, 1, 1, 1), 0.25, training).view(1, 16)
        title = f"{'training' if training else 'evaluation'}: the factor of each of 16 branches"
        figures.draw_heat(ax, factors, title, limit=1.4, numbers="{:.2f}")
    return figure, "In training some of 16 branches have the factor 0, the others 1.33; in evaluation all 1."


drop_branch = Exercise(
    "drop_branch",
    answer=_drop,
    cases=lambda: {
        "evaluation, p = 0.25": (torch.rand(1000, 1, 2, 3) + 1, 0.25, False),
        "training, p = 0.25": (torch.rand(1000, 1, 2, 3) + 1, 0.25, True),
        "training, p = 0.5, branches (B, C)": (torch.rand(1000, 3) + 1, 0.5, True),
        "training, p = 0": (torch.rand(8, 2, 2, 2) + 1, 0.0, True),
    },
    mistakes={
        "In evaluation, too, whole branches disappear: the same picture gets another answer each time.": (
            partial(_drop, in_evaluation="drops")
        ),
        "Now it is the other way round: evaluation drops branches, and training none.": (
            lambda x, p, training: _drop(x, p, not training, in_evaluation="drops") if not training else x
        ),
        "In evaluation the branches are made smaller. In training the kept ones have been made larger "
        "already: on average both are equal without that.": partial(_drop, in_evaluation="scales"),
        "Nothing is ever dropped, in training neither: that is no repair, it switches the layer off.": (
            lambda x, p, training: x.clone()
        ),
        "In training the kept branches keep their size. On average the sum is smaller than in evaluation.": (
            partial(_drop, divide=False)
        ),
        "One random draw decides for the whole batch. Each sample needs a draw of its own.": partial(
            _drop, drawn="batch"
        ),
        "Every call drops the same samples. Each call must draw anew, and only the user sets a seed.": (
            partial(_drop, drawn="seed")
        ),
        "The shares have changed places: the share p of the samples is kept, and the others are "
        "dropped.": partial(_drop, share="p"),
        "Single numbers are dropped: that is dropout. DropPath drops the branch of a whole sample.": (
            partial(_drop, drawn="numbers")
        ),
    },
    picture=_draw_drop,
    call=_describe_drop,
)

# --- pad_to_windows ----------------------------------------------------------------------


def _pad_by_glueing(x, M):
    for dim in (1, 2):
        missing = math.ceil(x.shape[dim] / M) * M - x.shape[dim]
        shape = [*x.shape[:dim], missing, *x.shape[dim + 1 :]]
        x = torch.cat([x, x.new_zeros(shape)], dim=dim)
    return x


def _pad_by(rows, columns, before=False):
    """rows(n, M), columns(n, M): how many are added."""

    def pad(x, M):
        H, W = x.shape[1:3]
        down, across = rows(H, M), columns(W, M)
        return F.pad(x, (0, 0, across, 0, down, 0) if before else (0, 0, 0, across, 0, down))

    return pad


def _too_many(n, M):
    return M - n % M


def _enough(n, M):
    return -n % M


def _pad_swapped(x, M):
    H, W = x.shape[1:3]
    return F.pad(x, (0, 0, 0, -H % M, 0, -W % M))


def _pad_channels(x, M):
    H, W = x.shape[1:3]
    return F.pad(x, (0, -W % M, 0, -H % M))


def _pad_alike(axis):
    """What one axis needs, along both."""
    return lambda x, M: F.pad(x, (0, 0, 0, -x.shape[axis] % M, 0, -x.shape[axis] % M))


def _pad_both_or_none(x, M):
    H, W = x.shape[1:3]
    return _pad_by(_too_many, _too_many)(x, M) if H % M or W % M else x


def _draw_padded(function):
    figure, axes = figures.panels(1, 3, size=2.6)
    for ax, (H, W) in zip(axes, ((8, 8), (8, 6), (5, 7))):
        tokens = (
            sample_image()[:, : 4 * H, : 4 * W].permute(1, 2, 0).unflatten(1, (W, 4)).unflatten(0, (H, 4))
        )
        padded = function(tokens.transpose(1, 2).flatten(2)[None], 4)[0]  # a token is 4 x 4 pixels
        Hp, Wp = padded.shape[:2]
        pixels = padded.view(Hp, Wp, 4, 4, 3).transpose(1, 2).reshape(4 * Hp, 4 * Wp, 3).permute(2, 0, 1)
        figures.draw_picture(ax, pixels, f"{H} × {W} → {Hp} × {Wp}")
        figures.draw_grid(ax, Hp // 4, Wp // 4, unit=16)
    return figure, "Maps of 8 by 8, 8 by 6 and 5 by 7 tokens, padded to 8 by 8; the first stays as it is."


pad_to_windows = Exercise(
    "pad_to_windows",
    answer=_pad_by_glueing,
    cases=lambda: {
        "both sides fit": (numbered(1, 8, 4, 2), 4),
        "the height fits": (numbered(1, 8, 5, 2), 4),
        "the width fits": (numbered(2, 5, 8, 3), 4),
        "no side fits": (numbered(1, 7, 11, 2), 5),
        "a square that does not fit": (numbered(1, 7, 7, 2), 4),
    },
    mistakes={
        "A side that is full already grows by a whole window: windows with nothing in them are "
        "computed.": _pad_by(_too_many, _too_many),
        "Full columns are left alone now. Full rows still grow.": _pad_by(_too_many, _enough),
        "Full rows are left alone now. Full columns still grow.": _pad_by(_enough, _too_many),
        "If only one of the two sides fits, that side still grows: each side needs a test of its own.": (
            _pad_both_or_none
        ),
        "Rows get what is missing in the columns. With which axis does F.pad begin?": _pad_swapped,
        "You add what sticks out, the remainder. Asked for is what is missing up to a full window.": (
            _pad_by(lambda n, M: n % M, lambda n, M: n % M)
        ),
        "The channels grow, too: F.pad begins with the last axis, and that is C.": _pad_channels,
        "Both sides get what is missing in the rows.": _pad_alike(1),
        "Both sides get what is missing in the columns.": _pad_alike(2),
        "The zeros stand above and left. They belong below and right.": (
            _pad_by(_enough, _enough, before=True)
        ),
        "Tokens are cut off: the result is smaller than the map.": (
            lambda x, M: x[:, : x.shape[1] // M * M, : x.shape[2] // M * M]
        ),
        "Nothing is padded, and a map that M does not divide cannot be cut into windows.": (
            lambda x, M: x.clone()
        ),
    },
    picture=_draw_padded,
    axes="(B, H, W, C)",
)

# --- bias_per_head -----------------------------------------------------------------------


def _bias_by_loops(table, M):
    heads = table.shape[1]
    bias = torch.zeros(heads, M * M, M * M)
    for i, j in product(range(M * M), repeat=2):
        dy, dx = i // M - j // M, i % M - j % M
        bias[:, i, j] = table[(dy + M - 1) * (2 * M - 1) + dx + M - 1]
    return bias


def _add_to_scores(function, table, M):
    """To scores of 0, as the layer does: (N, N) is added to each head, and that is no error."""
    heads, N, added = table.shape[1], M * M, function(table, M)
    if not (isinstance(added, torch.Tensor) and added.shape == (N, N)):
        added = as_tensor(added, (heads, N, N), "(heads, N, N)")
    return torch.zeros(heads, N, N) + added


def _draw_bias(function):
    figure, axes = figures.panels(1, 3, size=2.6)
    bias = function(torch.randn(49, 3), 4)
    for head, ax in enumerate(axes):
        figures.draw_heat(ax, bias[head], f"head {head}", signed=True)
    return figure, "The bias of three heads, 16 by 16 each, from a random table: three different patterns."


bias_per_head = Exercise(
    "bias_per_head",
    answer=_bias_by_loops,
    cases=lambda: {
        "M = 4, 3 heads": (torch.randn(49, 3), 4),
        "M = 2, 5 heads": (torch.randn(9, 5), 2),
        "M = 3, 2 heads": (torch.randn(25, 2), 3),
    },
    mistakes={
        "All heads get the same bias, that of head 0. What the other heads have learned is never read.": (
            lambda table, M: table[:, 0][relative_position_index(M)]
        ),
        "All heads get the same bias, the mean of theirs. Each head has a bias of its own.": (
            lambda table, M: table.mean(dim=1)[relative_position_index(M)]
        ),
        "Each head gets numbers of all heads: a reshape does not move an axis, it only counts on.": (
            lambda table, M: table[relative_position_index(M)].reshape(-1, M * M, M * M)
        ),
        "All heads get one bias that is mixed from several heads: in the flat table, the numbers of one "
        "offset follow each other, head after head.": (
            lambda table, M: table.flatten()[relative_position_index(M)]
        ),
        "Query and key have changed places: a token above is taken for one below.": (
            lambda table, M: table[relative_position_index(M)].permute(2, 1, 0)
        ),
    },
    picture=_draw_bias,
    axes="(heads, N, N)",
    call=_add_to_scores,
)

# --- shifts_of ---------------------------------------------------------------------------


def _shifts_if(goes):
    """goes(H, W, M) -> does the map move? Along both axes alike."""
    return lambda H, W, M, shift: (shift, shift) if goes(H, W, M) else (0, 0)


def _draw_shifts(function):
    figure, axes = figures.panels(1, 3, size=2.6)
    for ax, (H, W) in zip(axes, ((8, 8), (4, 8), (4, 4))):
        rows, columns = (true_windows(n, 4, s) for n, s in zip((H, W), function(H, W, 4, 2)))
        figures.draw_picture(ax, sample_image()[:, : 4 * H, : 4 * W], f"{H} × {W} tokens")
        figures.draw_windows(ax, rows, columns, unit=4, numbers=False)
    return figure, "The true windows: nine on 8 by 8 tokens, three side by side on 4 by 8, one on 4 by 4."


shifts_of = Exercise(
    "shifts_of",
    answer=lambda H, W, M, shift: tuple(shift * int(math.ceil(n / M) > 1) for n in (H, W)),
    cases=lambda: {
        "8 x 8 tokens, M = 4": (8, 8, 4, 2),
        "one window, 4 x 4": (4, 4, 4, 2),
        "one window high, 4 x 8": (4, 8, 4, 2),
        "one window wide, 12 x 4": (12, 4, 4, 1),
        "smaller than a window, 3 x 8": (3, 8, 4, 2),
        "one row more, 5 x 4": (5, 4, 4, 2),
        "smaller on both sides, 2 x 3": (2, 3, 4, 2),
        "a block without shift": (8, 8, 4, 0),
        "windows of 3, 4 x 3": (4, 3, 3, 1),
        "windows of 8, 6 x 12": (6, 12, 8, 3),
    },
    mistakes={
        "A map that is exactly one window is shifted: the shift and its mask cut the one window into four "
        "that do not attend to each other.": _shifts_if(lambda H, W, M: min(H, W) >= M),
        "A strip, one window high and two wide, does not move at all: the border between its two windows "
        "stays closed in every block.": _shifts_if(lambda H, W, M: min(H, W) > M),
        "A strip moves along its short side as well, where one window covers it.": (
            _shifts_if(lambda H, W, M: max(H, W) > M)
        ),
        "Each axis by itself is right. But a side of exactly one window is still cut in two.": (
            lambda H, W, M, shift: (shift if H >= M else 0, shift if W >= M else 0)
        ),
        "It is right for windows of 4 only. M has other values, too.": (
            lambda H, W, M, shift: (shift if H > 4 else 0, shift if W > 4 else 0)
        ),
        "The axes have changed places: the height decides about the columns.": (
            lambda H, W, M, shift: (shift if W > M else 0, shift if H > M else 0)
        ),
        "Everything moves, always.": lambda H, W, M, shift: (shift, shift),
        "Nothing moves, ever: without the shift no information passes between windows.": (
            lambda H, W, M, shift: (0, 0)
        ),
    },
    picture=_draw_shifts,
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
