"""Checks of notebook 03: merging, the gather undone, and a mean that does not count the padding."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from course import figures, package_pieces
from course.check.core import Exercise, Wrong, numbered, sample_image
from course.check.watch import calls, loops
from swin_cifar import PatchMerging

PLACES = ((0, 0), (1, 0), (0, 1), (1, 1))  # (row, column): top-left, bottom-left, top-right, bottom-right

# --- patch_merging -----------------------------------------------------------------------


def _gathered(x, places=PLACES):
    """By loops: (B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 4C); what lies outside the map is zero."""
    B, H, W, C = x.shape
    out = x.new_zeros(B, (H + 1) // 2, (W + 1) // 2, 4, C)
    for i in range(H):
        for j in range(W):
            out[:, i // 2, j // 2, places.index((i % 2, j % 2))] = x[:, i, j]
    return out.flatten(3)


def _merge(x, norm, reduction, gather=_gathered):
    return reduction(norm(gather(x)))


def _even(x, mode="right, below"):
    """One more row and column where a side is odd; with a mistake, if asked for."""
    h, w = (side % 2 for side in x.shape[1:3])
    if mode == "left, above":
        return F.pad(x, (0, 0, w, 0, h, 0))
    if mode == "dropped":
        return x[:, : x.shape[1] - h, : x.shape[2] - w]
    if mode == "repeated":
        rows, cols = ([*range(n), n - 1][: n + n % 2] for n in x.shape[1:3])
        return x[:, rows][:, :, cols]
    return F.pad(x, (0, 0, 0, w, 0, h))


def _as_read(x):
    """The runs of numbers as they lie in memory."""
    x = _even(x)
    B, H, W, C = x.shape
    return x.reshape(B, H // 2, W // 2, 4 * C)


def _pairs_split_other_way(x):
    x = _even(x)
    H, W = x.shape[1:3]
    above, below = x.split(H // 2, dim=1)
    return torch.cat([half.split(W // 2, dim=2)[side] for side in (0, 1) for half in (above, below)], dim=-1)


def _by_channel(x, places):
    """The four numbers of channel 0, then those of channel 1, ..."""
    return _gathered(x, places).unflatten(-1, (4, -1)).transpose(-1, -2).flatten(-2)


class _Padded(TorchDispatchMode):
    """Keeps the height and width of every map that `F.pad` makes."""

    def __init__(self):
        super().__init__()
        self.sides = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        found = operator(*args, **(kwargs or {}))
        if operator.overloadpacket.__name__ == "constant_pad_nd" and found.ndim == 4:
            self.sides.append(tuple(found.shape[1:3]))
        return found


def _call_merging(function, x, norm, reduction):
    """What stops because the wrong one of the two sides was filled up is said in words."""
    H, W = x.shape[1:3]
    padded = _Padded()
    try:
        with padded:
            return function(x, norm, reduction)
    except Exception:
        if H % 2 != W % 2 and (H + W % 2, W + H % 2) in padded.sides:
            raise Wrong(
                f"F.pad makes a map of {H + W % 2} x {W + H % 2} of one of {H} x {W}, but it is the other "
                "side that is odd. With which axis does F.pad begin?"
            ) from None
        raise


def _draw_pyramid(function):
    """Merged three times: the mean of each square in the first half of the channels, edges in the other."""
    x = sample_image().permute(1, 2, 0)[None]
    figure, axes = figures.panels(1, 4, size=2.6)
    figures.draw_picture(axes[0], x[0].permute(2, 0, 1), "32 × 32 pixels, C = 3")
    for ax in axes[1:]:
        C = x.shape[-1]
        pattern = torch.tensor([[1.0, 1, 1, 1], [-1, -1, 1, 1]]) / 4
        reduction = nn.Linear(4 * C, 2 * C, bias=False).requires_grad_(False)
        reduction.weight.copy_(torch.kron(pattern, torch.eye(C)))
        x = function(x, nn.Identity(), reduction)
        H, W = x.shape[1:3]
        figures.draw_picture(ax, x[0, :, :, :3].clamp(0, 1).permute(2, 0, 1), f"{H} × {W}, C = {2 * C}")
    return figure, (
        "A picture of 32 by 32 pixels, merged by the function once, twice and three times, to 16 by 16, 8 "
        "by 8 and 4 by 4 tokens of 6, 12 and 24 numbers. Without a norm and with weights chosen by hand, "
        "the first three numbers are the mean colour: the same picture, coarser each time."
    )


def _layers(C):
    norm, reduction = nn.LayerNorm(4 * C), nn.Linear(4 * C, 2 * C, bias=False)
    for weight in (norm.weight, norm.bias, reduction.weight):
        weight.data.normal_()  # not 1 and 0, or nobody sees what changes places
    return norm.requires_grad_(False), reduction.requires_grad_(False)


patch_merging = Exercise(
    "patch_merging",
    answer=_merge,
    cases=lambda: {
        "even height and width": (torch.randn(1, 6, 8, 3), *_layers(3)),
        "two maps, higher than wide": (torch.randn(2, 8, 4, 5), *_layers(5)),
        "odd height": (torch.randn(1, 5, 6, 4), *_layers(4)),
        "odd width": (torch.randn(2, 4, 7, 3), *_layers(3)),
        "both odd": (torch.randn(1, 3, 5, 2), *_layers(2)),
        "a single token": (torch.randn(1, 1, 1, 6), *_layers(6)),
    },
    call=_call_merging,
    mistakes={
        "Top-right and bottom-left have changed places: the order goes down first, then right.": (
            partial(_merge, gather=partial(_gathered, places=((0, 0), (0, 1), (1, 0), (1, 1))))
        ),
        "The norm is missing: first gather, then `norm`, then `reduction`.": (
            lambda x, norm, reduction: reduction(_gathered(x))
        ),
        "The last row or column of an odd side is dropped. It must reach the result.": (
            partial(_merge, gather=lambda x: _gathered(_even(x, "dropped")))
        ),
        "The zeros of an odd side stand on the left and above, so all squares have moved. They belong on "
        "the right and below.": partial(_merge, gather=lambda x: _gathered(_even(x, "left, above"))),
        "An odd side is filled up with a copy of its last row or column. It gets zeros.": (
            partial(_merge, gather=lambda x: _gathered(_even(x, "repeated")))
        ),
        "No number has moved: each new token is a run of the map's rows. Two tokens of one square are not "
        "neighbours in a row-by-row list.": partial(_merge, gather=_as_read),
        "You gather tokens that lie half a map apart. The four tokens of a square are neighbours: every "
        "second row and column, from 0 or from 1.": partial(_merge, gather=_pairs_split_other_way),
        "The 4C numbers are sorted by channel: four numbers of channel 0, then four of channel 1. They must "
        "be four whole tokens, one after the other.": (
            partial(_merge, gather=partial(_by_channel, places=((0, 0), (0, 1), (1, 0), (1, 1))))
        ),
        "The 4C numbers go down first, then right, but they are sorted by channel. They must be four whole "
        "tokens, one after the other.": partial(_merge, gather=partial(_by_channel, places=PLACES)),
        "The new map is transposed: the square in row i, column j must become token (i, j).": (
            lambda x, norm, reduction: _merge(x, norm, reduction).transpose(1, 2)
        ),
        "The linear map is missing: your tokens still have 4C numbers.": (
            lambda x, norm, reduction: norm(_gathered(x))
        ),
    },
    forbidden={
        "It is made by the package's `PatchMerging`: write it yourself.": (
            calls(PatchMerging.forward, package_pieces.patch_merging)
        ),
        "You visit the squares in a loop. Asked for are steps that move all of them at once.": loops,
    },
    picture=_draw_pyramid,
    axes="(B, H', W', 2C)",
    piece=True,
)

# --- ungather ----------------------------------------------------------------------------


def _ungather(x, places=PLACES):
    B, H, W, C4 = x.shape
    out = x.new_zeros(B, 2 * H, 2 * W, C4 // 4)
    for (row, column), part in zip(places, x.split(C4 // 4, dim=-1)):
        out[:, row::2, column::2] = part
    return out


def _interleaved(x):
    """Every fourth number is taken for one token."""
    return _ungather(x.unflatten(-1, (-1, 4)).transpose(-1, -2).flatten(-2))


def _quadrants(x):
    a, b, c, d = x.chunk(4, dim=-1)
    return torch.cat([torch.cat([a, c], dim=2), torch.cat([b, d], dim=2)], dim=1)


def _only_reshaped(x):
    B, H, W, C4 = x.shape
    return x.reshape(B, 2 * H, 2 * W, C4 // 4)


def _gather(x):
    return torch.cat([x[:, row::2, column::2] for row, column in PLACES], dim=-1)


def _draw_ungather(function):
    x = _gather(sample_image().permute(1, 2, 0)[None])  # (1, 16, 16, 12)
    figure, axes = figures.panels(1, 5, size=1.7)
    for ax, part, name in zip(axes, x[0].split(3, dim=-1), ("1st", "2nd", "3rd", "4th")):
        figures.draw_picture(ax, part.permute(2, 0, 1), name)
    figures.draw_picture(axes[4], function(x)[0].permute(2, 0, 1), "yours")
    return figure, "Four small pictures, gathered from one, and the picture that the function makes of them."


ungather = Exercise(
    "ungather",
    answer=_ungather,
    cases=lambda: {
        "a square map": (numbered(1, 2, 2, 4),),
        "a map wider than high": (numbered(1, 2, 3, 8),),
        "two pictures, higher than wide": (numbered(2, 3, 1, 12),),
    },
    mistakes={
        "Top-right and bottom-left have changed places: the order goes down first, then right.": (
            partial(_ungather, places=((0, 0), (0, 1), (1, 0), (1, 1)))
        ),
        "The 4C numbers are four tokens one after the other; you take every fourth number for one token.": (
            _interleaved
        ),
        "You lay the four maps side by side. Their tokens belong between each other, in "
        "every second row and column.": _quadrants,
        "The shape is right, but no number has moved. Two tokens of one square are not "
        "neighbours in a row of the result.": _only_reshaped,
        "The order of the four is reversed: the first of them is the top-left one.": (
            partial(_ungather, places=PLACES[::-1])
        ),
    },
    picture=_draw_ungather,
    axes="(B, 2H, 2W, C)",
)

# --- mean_merge --------------------------------------------------------------------------


def _mean_merge(x):
    B, H, W, C = x.shape
    rows = [x[:, top : top + 2] for top in range(0, H, 2)]
    means = [[row[:, :, left : left + 2].mean(dim=(1, 2)) for left in range(0, W, 2)] for row in rows]
    return torch.stack([torch.stack(row, dim=1) for row in means], dim=1)


def _sum_over_squares(x):
    H, W = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, W % 2, 0, H % 2))
    return x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).sum(dim=(2, 4))


def _padding_counts(x):
    return _sum_over_squares(x) / 4


def _last_dropped(x):
    H, W = x.shape[1:3]
    return _padding_counts(x[:, : H // 2 * 2, : W // 2 * 2])


def _zeros_not_counted(x):
    return _sum_over_squares(x) / _sum_over_squares((x != 0).float()).clamp(min=1)


def _one_divisor(x):
    """All squares are divided by the number of real tokens of the last one."""
    H, W = x.shape[1:3]
    return _sum_over_squares(x) / ((2 - H % 2) * (2 - W % 2))


def _draw_mean_merge(function):
    image = sample_image()[:, :27, :31]
    merged = function(image.permute(1, 2, 0)[None])[0].permute(2, 0, 1)
    figure, axes = figures.panels(1, 3, size=2.6)
    figures.draw_picture(axes[0], image, "27 × 31")
    figures.draw_picture(axes[1], merged, "yours, 14 × 16")
    dark = _padding_counts(image.permute(1, 2, 0)[None])[0].permute(2, 0, 1)
    figures.draw_picture(axes[2], dark, "with the padding counted")
    return figure, "A picture; its means of 2 by 2; and the same with dark edges, where the padding counts."


def _with_zero_tokens(*shape):
    x = 1 + numbered(*shape)
    x[:, 0, 0] = 0
    return (x,)


mean_merge = Exercise(
    "mean_merge",
    answer=_mean_merge,
    cases=lambda: {
        "even height and width": _with_zero_tokens(1, 4, 6, 2),
        "odd height": _with_zero_tokens(1, 5, 4, 2),
        "odd width": _with_zero_tokens(2, 2, 7, 3),
        "both odd": _with_zero_tokens(1, 3, 5, 2),
    },
    mistakes={
        "At the right and lower edge the padding is counted: fewer than four tokens are "
        "real there, but you divide by 4.": _padding_counts,
        "The last row or column of an odd side is dropped. It must reach the result.": _last_dropped,
        "This is the sum of the tokens, not their mean.": _sum_over_squares,
        "You count the numbers that are not 0, but a real token may hold zeros. Count places, not values.": (
            _zeros_not_counted
        ),
        "All squares are divided by the same number. Only those at the edge have fewer "
        "real tokens.": _one_divisor,
        "You keep the top-left token of each square and drop the others.": lambda x: x[:, ::2, ::2],
    },
    picture=_draw_mean_merge,
    axes="(B, H', W', C)",
)
