"""Checks of notebook 04: windows, those of another layout, the reverse of rectangular ones, the cost."""

from functools import partial

import torch

from course import figures
from course.check.core import Exercise, numbered, sample_image
from course.check.watch import calls, loops
from swin_cifar import window_partition as package_partition

LOOPS = "You visit the windows in a loop. Asked for are steps that move all of them at once."

# --- window_partition --------------------------------------------------------------------


def _windows_by_loops(x, M):
    H, W = x.shape[1:3]
    cut = [
        x[:, top : top + M, left : left + M].flatten(1, 2)
        for top in range(0, H, M)
        for left in range(0, W, M)
    ]
    return torch.stack(cut, dim=1)


def _batch_inside(x, M):
    """The windows of all pictures, counted through window by window and then read picture by picture."""
    right = _windows_by_loops(x, M)
    return right.transpose(0, 1).reshape(right.shape)


def _sides_for_each_other(x, M):
    B, H, W, C = x.shape
    return x.reshape(B, W // M, M, H // M, M, C).transpose(2, 3).reshape(B, -1, M * M, C)


def _rows_spread(x, M):
    B, H, W, C = x.shape
    return x.reshape(B, M, H // M, M, W // M, C).permute(0, 2, 4, 1, 3, 5).reshape(B, -1, M * M, C)


def _rows_of_windows_mixed(x, M):
    """(B, M, H/M, W/M, M, C), merged in pairs."""
    B, H, W, C = x.shape
    return x.reshape(B, H // M, M, W // M, M, C).transpose(1, 2).reshape(B, -1, M * M, C)


def _swap_within(x, axis, sizes):
    """An axis that counts row by row, counted column by column."""
    return x.unflatten(axis, sizes).transpose(axis, axis + 1).flatten(axis, axis + 1)


def _draw_windows(function):
    picture = sample_image().permute(1, 2, 0)  # (32, 32, 3)
    cut = function(picture[None], 8)[0]  # (16, 64, 3)
    figure, axes = figures.panels(4, 4, size=0.9)
    for number, (ax, window) in enumerate(zip(axes, cut)):
        figures.draw_picture(ax, window.view(8, 8, 3).permute(2, 0, 1), str(number))
    return figure, "A picture cut by the function into 16 windows of 8 by 8 pixels, numbered row by row."


window_partition = Exercise(
    "window_partition",
    answer=_windows_by_loops,
    cases=lambda: {
        "a square map": (numbered(1, 4, 4, 2), 2),
        "a map wider than high": (numbered(1, 4, 6, 2), 2),
        "two pictures, higher than wide": (numbered(2, 6, 4, 3), 2),
        "M = 3": (numbered(2, 9, 12, 5), 3),
    },
    mistakes={
        "The shape is right, but no number has moved: each 'window' is a run of the map's rows. Which "
        "two axes must change places before the last reshape?": (
            lambda x, M: x.reshape(len(x), -1, M * M, x.shape[3])
        ),
        "The windows are listed column by column. They come row by row.": (
            lambda x, M: _swap_within(_windows_by_loops(x, M), 1, (x.shape[1] // M, x.shape[2] // M))
        ),
        "The tokens inside each window are listed column by column. They come row by row.": (
            lambda x, M: _swap_within(_windows_by_loops(x, M), 2, (M, M))
        ),
        "The windows are scrambled: not the row and the column inside a window are merged last, but two "
        "axes that do not belong together. Name your six axes before and after they move.": (
            _rows_of_windows_mixed
        ),
        "The tokens of a window lie far apart in the map. Row y is row y % M of window-row y // M: is H "
        "split in this order?": _rows_spread,
        "H and W have changed places: how many window-rows are there, and how many window-columns? On a "
        "square map nobody sees it.": _sides_for_each_other,
        "The windows of different pictures are mixed: the batch must stay the first axis when axes are "
        "merged.": _batch_inside,
        "The windows of all pictures are in one axis, (B·nW, N, C). Here the pictures stay apart: (B, nW, "
        "N, C).": (lambda x, M: _windows_by_loops(x, M).flatten(0, 1)),
        "You return (B, N, nW, C): the windows come before their tokens.": (
            lambda x, M: _windows_by_loops(x, M).transpose(1, 2)
        ),
        "The windows are right, but their rows and columns are still axes of their own. Merge them: N = "
        "M·M tokens.": (lambda x, M: _windows_by_loops(x, M).unflatten(2, (M, M))),
    },
    forbidden={
        "It is made by the package's `window_partition`: write it yourself.": calls(package_partition),
        LOOPS: loops,
    },
    picture=_draw_windows,
    axes="(B, nW, N, C)",
    piece=True,
)

# --- partition_channels_first ------------------------------------------------------------


def _partition_by_loops(x, M):
    B, C, H, W = x.shape
    windows = [
        [[x[:, :, top + i, left + j] for i in range(M) for j in range(M)] for left in range(0, W, M)]
        for top in range(0, H, M)
    ]
    return torch.stack([torch.stack(window, dim=1) for row in windows for window in row], dim=1)


def _no_transpose(x, M):
    B, C, H, W = x.shape
    return x.permute(0, 2, 3, 1).reshape(B, -1, M * M, C)


def _only_reshaped(x, M):
    B, C, H, W = x.shape
    return x.reshape(B, H * W // M**2, M * M, C)


def _channels_not_moved(x, M):
    """The windows are right, but each (C, N) block is only read as (N, C)."""
    windows = _partition_by_loops(x, M)
    return windows.transpose(2, 3).reshape(windows.shape)


def _split_other_way(x, M):
    B, C, H, W = x.shape
    x = x.reshape(B, C, M, H // M, M, W // M).permute(0, 3, 5, 2, 4, 1)
    return x.reshape(B, -1, M * M, C)


def _columns_first(x, M):
    B, C, H, W = x.shape
    windows = _partition_by_loops(x, M).unflatten(1, (H // M, W // M))
    return windows.transpose(1, 2).flatten(1, 2)


def _tokens_columns_first(x, M):
    return _partition_by_loops(x, M).unflatten(2, (M, M)).transpose(2, 3).flatten(2, 3)


def _draw_partition(function):
    windows = function(sample_image()[None], 8)[0]  # (16, 64, 3)
    figure, axes = figures.panels(4, 4, size=0.9)
    for number, (ax, window) in enumerate(zip(axes, windows)):
        figures.draw_picture(ax, window.view(8, 8, 3).permute(2, 0, 1), str(number))
    return (
        figure,
        "The 16 windows of 8 by 8 pixels that the function cuts from a picture, numbered row by row.",
    )


partition_channels_first = Exercise(
    "partition_channels_first",
    answer=_partition_by_loops,
    cases=lambda: {
        "a square map": (numbered(1, 2, 4, 4), 2),
        "a map wider than high": (numbered(1, 2, 4, 6), 2),
        "two pictures, higher than wide": (numbered(2, 3, 6, 4), 2),
        "M = 3": (numbered(1, 5, 9, 12), 3),
    },
    mistakes={
        "The channels are where they should be, but a transpose is missing: each "
        "'window' is a run of the map's rows, and tokens of neighbouring windows are "
        "mixed.": _no_transpose,
        "The shape is right, but no number has moved. Where must the channels go, and "
        "which axes belong together?": _only_reshaped,
        "The windows are right, but inside each the numbers are in the order (C, N) and "
        "only read as (N, C). Reading in another shape moves nothing.": _channels_not_moved,
        "The channels still stand before the tokens: (B, nW, C, N).": (
            lambda x, M: _partition_by_loops(x, M).transpose(2, 3)
        ),
        "The tokens of a window lie far apart in the map. Row y is row y % M of "
        "window-row y // M: is H split in this order?": _split_other_way,
        "The windows are numbered column by column. They come row by row.": _columns_first,
        "The tokens inside each window are numbered column by column. They come row by "
        "row.": _tokens_columns_first,
    },
    forbidden={LOOPS: loops},
    picture=_draw_partition,
    axes="(B, nW, N, C)",
)

# --- window_for_budget -------------------------------------------------------------------


def _cost(side, C, M):
    """Counted, not by the formula: four matrices per token, two products per pair."""
    pairs = (side // M) ** 2 * (M * M) * (M * M)
    return side * side * 4 * C * C + pairs * 2 * C


def _largest(candidates, fits):
    return max((M for M in candidates if fits(M)), default=0)


def _divisors(side):
    return [M for M in range(1, side + 1) if side % M == 0]


def _window_for_budget(side, C, budget):
    return _largest(_divisors(side), lambda M: _cost(side, C, M) <= budget)


def _in_windows(side, C, M, square=True, matrices=True):
    return (4 * side**2 * C**2 if matrices else 0) + 2 * M ** (2 if square else 1) * side**2 * C


def _budget(side, C, budget, cost=_in_windows, candidates=_divisors, strict=False):
    """With a mistake, if asked for."""
    limit = budget - 1 if strict else budget
    return _largest(candidates(side), lambda M: cost(side, C, M) <= limit)


def _powers_of_two(side):
    return [M for M in _divisors(side) if M & (M - 1) == 0]


def _draw_budget(function):
    budgets = [_cost(24, 96, 1) + step * (_cost(24, 96, 24) - _cost(24, 96, 1)) // 60 for step in range(61)]
    line = {"M": ([budget / 1e6 for budget in budgets], [function(24, 96, budget) for budget in budgets])}
    figure = figures.plot_curves(line, "budget (millions of multiply-adds)", "largest M, 24 × 24 tokens")
    return figure, "A staircase: the largest window side that a growing budget allows, up to 24."


window_for_budget = Exercise(
    "window_for_budget",
    answer=_window_for_budget,
    cases=lambda: {
        "a budget that is met exactly": (12, 8, _cost(12, 8, 4)),
        "a little less": (12, 8, _cost(12, 8, 4) - 1),
        "a large budget": (12, 8, 10**9),
        "room for M = 6": (12, 8, _cost(12, 8, 6) + 100),
        "room for M = 7, which does not divide 16": (16, 8, _cost(16, 8, 8) - 100),
        "room for no window": (12, 8, _cost(12, 8, 1) - 1),
    },
    mistakes={
        "You count attention between all pairs of tokens of the map. In windows a token "
        "attends to M·M tokens.": (
            partial(_budget, cost=lambda side, C, M: 4 * side**2 * C**2 + 2 * side**4 * C)
        ),
        "You count M keys for each token. How many tokens has a window?": partial(
            _budget, cost=partial(_in_windows, square=False)
        ),
        "You count the pairs only. The four C x C matrices have a price as well.": partial(
            _budget, cost=partial(_in_windows, matrices=False)
        ),
        "M must divide the side of the map: for some budgets you choose windows that do not fit.": (
            partial(_budget, candidates=lambda side: range(1, side + 1))
        ),
        "A window that uses up the budget exactly is allowed, but you refuse it.": partial(
            _budget, strict=True
        ),
        "You return the smallest window that the budget allows; asked for is the largest.": (
            lambda side, C, budget: min(
                (M for M in _divisors(side) if _cost(side, C, M) <= budget), default=0
            )
        ),
        "You only try powers of two. 12 is also divided by 3, 6 and 12.": partial(
            _budget, candidates=_powers_of_two
        ),
        "You stop at windows of half the side. One window that covers the map is allowed, too.": (
            partial(_budget, candidates=lambda side: _divisors(side)[:-1])
        ),
    },
    picture=_draw_budget,
)

# --- reverse_rectangles ------------------------------------------------------------------


def _reverse_by_loops(windows, height, width, H, W):
    B, nW, N, C = windows.shape
    x = windows.new_zeros(B, H, W, C)
    for number in range(nW):
        top, left = number // (W // width) * height, number % (W // width) * width
        for token in range(N):
            x[:, top + token // width, left + token % width] = windows[:, number, token]
    return x


def _reverse_no_transpose(windows, height, width, H, W):
    return windows.reshape(windows.shape[0], H, W, -1)


def _sides_swapped(windows, height, width, H, W):
    x = windows.reshape(windows.shape[0], H // width, W // height, width, height, -1)
    return x.transpose(2, 3).reshape(windows.shape[0], H, W, -1)


def _counts_swapped(windows, height, width, H, W):
    """As many window-rows as there are window-columns, and the other way round."""
    x = windows.reshape(windows.shape[0], W // width, H // height, height, width, -1)
    return x.transpose(2, 3).reshape(windows.shape[0], H, W, -1)


def _windows_columns_first(windows, height, width, H, W):
    x = windows.unflatten(1, (W // width, H // height)).transpose(1, 2).flatten(1, 2)
    return _reverse_by_loops(x, height, width, H, W)


def _tokens_transposed(windows, height, width, H, W):
    x = windows.unflatten(2, (width, height)).transpose(2, 3).flatten(2, 3)
    return _reverse_by_loops(x, height, width, H, W)


def _draw_reverse(function):
    pixels = sample_image().permute(1, 2, 0)
    windows = [
        pixels[top : top + 8, left : left + 16].flatten(0, 1) for top in range(0, 32, 8) for left in (0, 16)
    ]
    windows = torch.stack(windows)[None]  # (1, 8, 128, 3)
    figure, axes = figures.panels(1, 3, size=2.6)
    map_back = function(windows, 8, 16, 32, 32)[0].permute(2, 0, 1)
    figures.draw_picture(axes[0], windows[0].flatten(0, 1).view(32, 32, 3).permute(2, 0, 1), "only reshaped")
    figures.draw_picture(axes[1], map_back, "yours")
    figures.draw_picture(axes[2], map_back, "its windows of 8 × 16")
    figures.draw_windows(axes[2], [(i, i + 8) for i in range(0, 32, 8)], [(0, 16), (16, 32)])
    return figure, "Windows only reshaped to a map; the map that the function makes; and its eight windows."


reverse_rectangles = Exercise(
    "reverse_rectangles",
    answer=_reverse_by_loops,
    cases=lambda: {
        "square windows, a square map": (numbered(1, 4, 4, 2), 2, 2, 4, 4),
        "square windows, a map wider than high": (numbered(1, 6, 4, 2), 2, 2, 4, 6),
        "windows wider than high": (numbered(1, 6, 8, 2), 2, 4, 6, 8),
        "two pictures, windows higher than wide": (numbered(2, 4, 6, 3), 3, 2, 6, 4),
        "windows of 2 x 3 in a map of 12 x 6": (numbered(1, 12, 6, 2), 2, 3, 12, 6),
    },
    mistakes={
        "The shape is right, but no number has moved: every window has become a run of "
        "rows. Which two axes must change places?": _reverse_no_transpose,
        "Height and width of the window have changed places.": _sides_swapped,
        "The numbers of window-rows and of window-columns have changed places: how many "
        "windows lie above each other?": _counts_swapped,
        "You lay the windows out column by column. They come row by row.": _windows_columns_first,
        "The tokens of each window are laid out column by column. They come row by row.": _tokens_transposed,
        "The map is transposed: you return (B, W, H, C).": (
            lambda *inputs: _reverse_by_loops(*inputs).transpose(1, 2)
        ),
    },
    forbidden={LOOPS: loops},
    picture=_draw_reverse,
    axes="(B, H, W, C)",
)
