"""Checks of notebook 03: the gather undone, and a mean that does not count the padding."""

from functools import partial

import torch
import torch.nn.functional as F

from course import figures
from course.check.core import Exercise, numbered, sample_image

PLACES = ((0, 0), (1, 0), (0, 1), (1, 1))  # (row, column): top-left, bottom-left, top-right, bottom-right

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
