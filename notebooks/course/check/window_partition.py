"""Checks of notebook 04: windows, cut and put back; those of a grid; rectangular ones; a budget of pairs."""

from functools import partial

import torch

from course import figures
from course.check.core import Exercise, numbered, sample_image
from course.check.watch import calls, loops
from swin_cifar import window_partition as package_partition
from swin_cifar import window_reverse as package_reverse

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

# --- window_reverse ----------------------------------------------------------------------


def _map_by_loops(windows, M, H, W):
    return _reverse_by_loops(windows, M, M, H, W)


def _split_as_the_map(windows, M, H, W):
    """The lines of `window_partition`, with another name for the input."""
    x = windows.reshape(len(windows), H // M, M, W // M, M, -1)
    return x.transpose(2, 3).reshape(len(windows), H, W, -1)


def _merged(windows, M, H, W, order):
    """Split rightly, then the axes in this order: 1, 2 which window; 3, 4 which token in it."""
    x = windows.reshape(len(windows), H // M, W // M, M, M, -1)
    return x.permute(0, *order, 5).reshape(len(windows), H, W, -1)


def _pictures_mixed(windows, M, H, W):
    """Read as if the first windows of all pictures came first."""
    B, nW, N, C = windows.shape
    return _map_by_loops(windows.reshape(nW, B, N, C).transpose(0, 1), M, H, W)


def _draw_map(function):
    pixels = sample_image().permute(1, 2, 0)[None]  # (1, 32, 32, 3)
    windows = _windows_by_loops(pixels, 8)
    views = {"windows, only reshaped": windows.view(32, 32, 3), "put back": function(windows, 8, 32, 32)[0]}
    darker = windows.clone()
    darker[:, [0, 2, 5, 7, 8, 10, 13, 15]] *= 0.4
    views["eight windows darker"] = function(darker, 8, 32, 32)[0]
    figure, axes = figures.panels(1, 3, size=2.6)
    for ax, (title, view) in zip(axes, views.items()):
        figures.draw_picture(ax, view.permute(2, 0, 1), title)
    return figure, (
        "Sixteen windows of 8 by 8 pixels: only reshaped they are stripes; put back by the function they are "
        "the picture of a star; with eight of them darkened before, a chessboard of dark and bright squares."
    )


window_reverse = Exercise(
    "window_reverse",
    answer=_map_by_loops,
    cases=lambda: {
        "a square map": (numbered(1, 4, 4, 2), 2, 4, 4),
        "a map wider than high": (numbered(1, 6, 4, 2), 2, 4, 6),
        "two pictures, higher than wide": (numbered(2, 8, 4, 3), 2, 8, 4),
        "M = 3": (numbered(2, 12, 9, 5), 3, 9, 12),
        "one window": (numbered(3, 1, 9, 2), 3, 3, 3),
    },
    mistakes={
        "The shape is right, but no number has moved: each window has become a run of the map's rows. Which "
        "two axes must change places before the last reshape?": (
            lambda windows, M, H, W: windows.reshape(len(windows), H, W, -1)
        ),
        "You split as for a map, into (H/M, M, W/M, M). But nW was merged from window-rows and "
        "window-columns, N from rows and columns inside: in which order do these four stand here?": (
            _split_as_the_map
        ),
        "The numbers of window-rows and of window-columns have changed places: how many windows lie above "
        "each other? On a square map nobody sees it.": (
            lambda windows, M, H, W: _merged(windows, M, W, H, (1, 3, 2, 4)).reshape(len(windows), H, W, -1)
        ),
        "The rows of different windows take turns in your map. Row y of the map is row y % M of window-row "
        "y // M: which of these two stands first when they are merged?": partial(_merged, order=(3, 1, 4, 2)),
        "Window-rows and window-columns have changed places with each other, and each window is still a run "
        "of the map's rows. H is merged from two axes: which two?": partial(_merged, order=(2, 1, 3, 4)),
        "The map is scrambled: H is merged from window-row and row inside, W from window-column and column "
        "inside. Name your six axes before and after they move.": partial(_merged, order=(1, 4, 3, 2)),
        "The windows are right, but laid out column by column. They come row by row.": (
            lambda windows, M, H, W: _map_by_loops(_swap_within(windows, 1, (W // M, H // M)), M, H, W)
        ),
        "The tokens of each window are laid out column by column: each window is mirrored at its diagonal.": (
            lambda windows, M, H, W: _map_by_loops(_swap_within(windows, 2, (M, M)), M, H, W)
        ),
        "The windows of different pictures are mixed: the batch must stay the first axis.": _pictures_mixed,
        "The whole map is transposed: you return (B, W, H, C).": (
            lambda *inputs: _map_by_loops(*inputs).transpose(1, 2)
        ),
        "All tokens are in their places, but H and W are still two axes each. Merge them: (B, H, W, C).": (
            lambda *inputs: _map_by_loops(*inputs).unflatten(2, (-1, inputs[1])).unflatten(1, (-1, inputs[1]))
        ),
    },
    forbidden={
        "It is made by the package's `window_reverse`: write it yourself.": calls(package_reverse),
        LOOPS: loops,
    },
    picture=_draw_map,
    axes="(B, H, W, C)",
    piece=True,
)

# --- grid_partition ----------------------------------------------------------------------


def _grid_by_slices(x, M):
    down, right = x.shape[1] // M, x.shape[2] // M
    groups = [x[:, i::down, j::right].flatten(1, 2) for i in range(down) for j in range(right)]
    return torch.stack(groups, dim=1)


def _every_mth(x, M):
    """As many groups as a window has tokens, read in the shape that is asked for."""
    B, H, W, C = x.shape
    x = x.reshape(B, H // M, M, W // M, M, C).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(B, -1, M * M, C)


def _steps_swapped(x, M):
    B, H, W, C = x.shape
    x = x.reshape(B, M, W // M, M, H // M, C).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(B, -1, M * M, C)


def _draw_groups(function):
    groups = function(sample_image().permute(1, 2, 0)[None], 8)[0]  # (16, 64, 3)
    figure, axes = figures.panels(4, 4, size=0.9)
    for number, (ax, group) in enumerate(zip(axes, groups)):
        figures.draw_picture(ax, group.view(8, 8, 3).permute(2, 0, 1), str(number))
    return figure, (
        "The 16 groups of a picture, 8 by 8 pixels each: 16 small copies of the whole picture, with the star "
        "in all of them. Sixteen windows would be 16 different parts of it."
    )


grid_partition = Exercise(
    "grid_partition",
    answer=_grid_by_slices,
    cases=lambda: {
        "a square map": (numbered(1, 4, 4, 2), 2),
        "a map wider than high": (numbered(1, 4, 6, 2), 2),
        "two pictures, higher than wide": (numbered(2, 8, 4, 3), 2),
        "M = 3": (numbered(1, 9, 12, 5), 3),
    },
    mistakes={
        "Those are windows: the tokens of each lie side by side. In a group they lie far apart.": (
            _windows_by_loops
        ),
        "The shape is right, but no number has moved. Split H and W, then move axes.": (
            lambda x, M: x.reshape(len(x), -1, M * M, x.shape[3])
        ),
        "You take every M-th row. The M rows of a group are spread over all of H: how far apart are they?": (
            _every_mth
        ),
        "The steps down and to the right have changed places. On a square map nobody sees it.": (
            _steps_swapped
        ),
        "You return (B, N, nW, C): the groups come before their tokens.": (
            lambda x, M: _grid_by_slices(x, M).transpose(1, 2)
        ),
        "The groups are numbered column by column. They come row by row.": (
            lambda x, M: _swap_within(_grid_by_slices(x, M), 1, (x.shape[1] // M, x.shape[2] // M))
        ),
        "The tokens inside each group are listed column by column. They come row by row.": (
            lambda x, M: _swap_within(_grid_by_slices(x, M), 2, (M, M))
        ),
    },
    forbidden={"You visit the groups in a loop. Asked for are steps that move all of them at once.": loops},
    picture=_draw_groups,
    axes="(B, nW, N, C)",
)

# --- window_for_budget -------------------------------------------------------------------


def _pairs(H, W, M):
    """Counted window by window."""
    return sum((M * M) ** 2 for _ in range(H // M) for _ in range(W // M))


def _fitting(H, W):
    return [M for M in range(1, min(H, W) + 1) if H % M == 0 and W % M == 0]


def _window_for_budget(H, W, budget):
    return _budget(H, W, budget, _pairs)


def _budget(H, W, budget, pairs=lambda H, W, M: H * W * M**2, candidates=_fitting):
    return max((M for M in candidates(H, W) if pairs(H, W, M) <= budget), default=0)


def _up_to_half(H, W):
    return [M for M in _fitting(H, W) if M <= min(H, W) // 2]


def _draw_budget(function):
    budgets = [576 + step * (576**2 - 576) // 240 for step in range(241)]
    line = {
        "M": ([budget / 1000 for budget in budgets], [function(24, 24, budget) for budget in budgets]),
    }
    figure = figures.plot_curves(line, "budget (thousands of pairs)", "largest M, 24 × 24 tokens")
    return figure, (
        "A staircase: with a budget of 576 pairs M is 1, with 83 thousand 12, and only with all 332 "
        "thousand 24."
    )


window_for_budget = Exercise(
    "window_for_budget",
    answer=_window_for_budget,
    cases=lambda: {
        "a budget that is met exactly": (12, 12, _pairs(12, 12, 4)),
        "one pair less": (12, 12, _pairs(12, 12, 4) - 1),
        "a large budget": (12, 12, 10**9),
        "room for M = 6": (12, 24, _pairs(12, 24, 6) + 100),
        "room for M = 7, which does not divide 16": (16, 16, _pairs(16, 16, 8) - 100),
        "sides with few common divisors": (8, 12, 10**6),
        "a map higher than wide": (24, 12, _pairs(24, 12, 6)),
        "room for no window": (12, 12, 143),
    },
    mistakes={
        "You count the pairs between all tokens of the map. In windows a token attends to M·M tokens.": (
            partial(_budget, pairs=lambda H, W, M: (H * W) ** 2)
        ),
        "You let a token attend to M others. How many tokens has its window?": (
            partial(_budget, pairs=lambda H, W, M: H * W * M)
        ),
        "You count the pairs of one window. How many windows are there?": (
            partial(_budget, pairs=lambda H, W, M: M**4)
        ),
        "A pair has an order, and a token attends to itself, too: n tokens make n·n pairs.": (
            partial(_budget, pairs=lambda H, W, M: H * W * (M**2 - 1) // 2)
        ),
        "You count H·H tokens. A map need not be square.": partial(
            _budget, pairs=lambda H, W, M: H * H * M**2
        ),
        "M must divide the sides of the map: for some budgets you choose windows that do not fit.": (
            partial(_budget, candidates=lambda H, W: range(1, min(H, W) + 1))
        ),
        "M must divide both sides of the map, not one of them.": (
            partial(_budget, candidates=lambda H, W: [M for M in range(1, H + 1) if H % M == 0])
        ),
        "A budget that is used up to the last pair is kept, but you refuse it.": (
            lambda H, W, budget: _budget(H, W, budget - 1)
        ),
        "You return the smallest window that the budget allows; asked for is the largest.": (
            lambda H, W, budget: min((M for M in _fitting(H, W) if _pairs(H, W, M) <= budget), default=0)
        ),
        "You only try powers of two. 12 is also divided by 3, 6 and 12.": (
            partial(_budget, candidates=lambda H, W: [M for M in _fitting(H, W) if M & (M - 1) == 0])
        ),
        "You stop at windows of half the side. A window as large as the map is allowed, too.": (
            partial(_budget, candidates=_up_to_half)
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
