"""Checks of notebook 06: reading a bias table, the index of rectangular windows, another window size."""

from functools import partial

import torch
import torch.nn.functional as F

from course import figures
from course.check.core import Exercise
from course.check.watch import loops

# --- favourite_offset --------------------------------------------------------------------


def _favourite_by_loops(table):
    M = (round(len(table) ** 0.5) + 1) // 2
    offsets = [(dy, dx) for dy in range(1 - M, M) for dx in range(1 - M, M)]
    return max(zip(table.tolist(), offsets))[1]


def _place(table, number):
    """-> dy, dx of a row of the table."""
    side = round(len(table) ** 0.5)
    return number // side - side // 2, number % side - side // 2


def _not_centred(table):
    side = round(len(table) ** 0.5)
    return divmod(table.argmax().item(), side)


def _wrong_digits(table):
    """Divided by M instead of 2M - 1."""
    M = (round(len(table) ** 0.5) + 1) // 2
    row, column = divmod(table.argmax().item(), M)
    return row - (M - 1), column - (M - 1)


def _centred_by_M(table):
    dy, dx = _place(table, table.argmax().item())
    return dy - 1, dx - 1


def _tables():
    def table(M, dy, dx, lowest):
        side = 2 * M - 1
        values = torch.randn(side, side).clamp(-2, 2)
        values[dy + M - 1, dx + M - 1] = 3.0
        values[-dy + M - 2, dx + M - 1] = lowest
        return (values.flatten(),)

    tables = {"M = 2": table(2, 0, 1, -2.5), "M = 4": table(4, -3, 1, -2.5)}
    return tables | {"M = 3, a strongly negative bias": table(3, 1, -2, -4.0), "M = 7": table(7, 2, 5, -4.0)}


def _draw_favourite(function):
    (table,) = _tables()["M = 4"]
    dy, dx = function(table)
    figure, (ax,) = figures.panels(1, 1, size=3.6)
    figures.draw_bias_table(ax, table, f"yours: dy = {dy}, dx = {dx}", numbers="{:.1f}")
    figures.draw_mark(ax, 3 - dy, 3 - dx, colour=figures.COLOURS[5])
    return (
        figure,
        "A bias table around its query, with the largest number framed, and the offset found for it.",
    )


favourite_offset = Exercise(
    "favourite_offset",
    answer=_favourite_by_loops,
    cases=_tables,
    mistakes={
        "Your offsets are never negative. They run from -(M - 1) to M - 1.": _not_centred,
        "dy and dx have changed places. Which of them is the leading digit of the number?": (
            lambda table: _place(table, table.argmax().item())[::-1]
        ),
        "You search for the largest absolute value. A strongly negative bias says 'do not attend to it'.": (
            lambda table: _place(table, table.abs().argmax().item())
        ),
        "You return the offset with the smallest bias. A query attends most where the bias is largest.": (
            lambda table: _place(table, table.argmin().item())
        ),
        "The signs are flipped: you return key minus query. The offset is query minus key.": (
            lambda table: tuple(-n for n in _place(table, table.argmax().item()))
        ),
        "A digit runs over all values of an offset, and these are more than M.": _wrong_digits,
        "Both are too small by 1: the offset (0, 0) is in the middle of the table.": _centred_by_M,
    },
    picture=_draw_favourite,
)

# --- index_of_rectangle ------------------------------------------------------------------


def _index_by_list(height, width):
    """Number the offsets in order, then look every pair up."""
    offsets = [(dy, dx) for dy in range(1 - height, height) for dx in range(1 - width, width)]
    places = [(y, x) for y in range(height) for x in range(width)]
    return torch.tensor([[offsets.index((a - c, b - d)) for c, d in places] for a, b in places])


def _index(height, width, factor=None, major="dy", sign=1, shifted=True, tokens_per_row=None, added=None):
    """With a mistake, if asked for."""
    token = torch.arange(height * width)
    y, x = token // (tokens_per_row or width), token % (tokens_per_row or width)
    dy, dx = sign * (y[:, None] - y[None, :]), sign * (x[:, None] - x[None, :])
    if shifted:
        dy, dx = dy + (height - 1 if added is None else added), dx + (width - 1 if added is None else added)
    if major == "dx":
        return (2 * height - 1) * dx + dy
    return (2 * width - 1 if factor is None else factor) * dy + dx


def _without_brackets(height, width):
    dx = _index(height, width, factor=0)
    dy = _index(height, width, factor=1) - dx
    return dy * 2 * width - 1 + dx


def _draw_index(function):
    figure, axes = figures.panels(1, 2, size=3.2)
    index = function(2, 4)
    figures.draw_heat(axes[0], index, "yours: 8 queries, 8 keys", numbers="{:.0f}")
    figures.draw_heat(
        axes[1], index[5].view(2, 4), "query 5 in its window of 2 × 4", limit=20, numbers="{:.0f}"
    )
    figures.draw_mark(axes[1], 1, 1)
    return (
        figure,
        "The index of a window of 2 by 4 tokens as a matrix, and the line of one query as a window.",
    )


index_of_rectangle = Exercise(
    "index_of_rectangle",
    answer=_index_by_list,
    cases=lambda: {
        "2 x 2": (2, 2),
        "2 x 3": (2, 3),
        "4 x 2": (4, 2),
        "a single row of 5": (1, 5),
    },
    mistakes={
        "Different offsets share a number: in a window of 2 x 2, 9 offsets share 5 "
        "numbers, as dy + dx does. dy must be the leading digit.": partial(_index, factor=1),
        "dy is multiplied by the number of values that dy takes. The leading digit "
        "needs room for all values of the other one.": lambda height, width: _index(
            height, width, factor=2 * height - 1
        ),
        "Python reads a * 2 * b - 1 as (a * 2 * b) - 1. Brackets are missing around the "
        "number that dy is multiplied by.": _without_brackets,
        "dy is multiplied by the width. An offset dx takes more values than the window has columns.": (
            lambda height, width: _index(height, width, factor=width)
        ),
        "The offset is reversed: it is query minus key. Which of them belongs to the rows of the matrix?": (
            partial(_index, sign=-1)
        ),
        "Height and width have changed places. The window has `height` rows of `width` tokens.": (
            lambda height, width: _index(width, height)
        ),
        "Every offset has a number of its own, but dx is the leading digit. It should be dy.": (
            partial(_index, major="dx")
        ),
        "Some numbers are negative, and a negative row number reads a table from its "
        "end. What makes dy and dx start at 0?": partial(_index, shifted=False),
        "You find the row and column of a token by dividing by the height. How many "
        "tokens stand in one row?": (lambda height, width: _index(height, width, tokens_per_row=height)),
        "The same amount is added to dy and to dx. In a rectangle they begin at different numbers.": (
            lambda height, width: _index(height, width, added=max(height, width) - 1)
        ),
    },
    forbidden={"You visit the pairs in a loop. Asked for is a way to number all of them at once.": loops},
    picture=_draw_index,
    axes="(N, N)",
)

# --- resize_table ------------------------------------------------------------------------


def _resize_by_loops(table, M, m):
    rows = []
    for dy in range(1 - m, m):
        for dx in range(1 - m, m):
            known = [max(-(M - 1), min(M - 1, n)) for n in (dy, dx)]
            rows.append(table[(known[0] + M - 1) * (2 * M - 1) + known[1] + M - 1])
    return torch.stack(rows)


def _as_square(table, M):
    return table.view(2 * M - 1, 2 * M - 1, -1)


def _first_rows(table, M, m):
    return table[: (2 * m - 1) ** 2]


def _corner(table, M, m):
    return _as_square(table, M)[: 2 * m - 1, : 2 * m - 1].flatten(0, 1)


def _zeros_outside(table, M, m):
    return F.pad(_as_square(table, M), (0, 0, m - M, m - M, m - M, m - M)).flatten(0, 1)


def _stretched(table, M, m, mode):
    square = _as_square(table, M).permute(2, 0, 1)[None]
    options = {} if mode == "nearest" else {"align_corners": mode == "corners"}
    mode = "nearest" if mode == "nearest" else "bilinear"
    return (
        F.interpolate(square, size=(2 * m - 1, 2 * m - 1), mode=mode, **options)[0]
        .permute(1, 2, 0)
        .flatten(0, 1)
    )


def _heads_mixed(table, M, m):
    heads = table.shape[1]
    square = table.reshape(heads, 2 * M - 1, 2 * M - 1)
    take = (torch.arange(1 - m, m)).clamp(1 - M, M - 1) + M - 1
    return square[:, take][:, :, take].reshape(heads, -1).T


def _multiplier_forgotten(table, M, m):
    steps = torch.arange(1 - m, m).clamp(1 - M, M - 1) + M - 1
    return table[(steps[:, None] + steps[None, :]).flatten()]


def _heads_first(table, M, m):
    return _resize_by_loops(table, M, m).T


def _draw_resize(function):
    generator = torch.Generator().manual_seed(1)
    table = torch.randn(25, 1, generator=generator)
    figure, axes = figures.panels(1, 3, size=3.0)
    for ax, m, title in zip(axes, (2, 3, 5), ("yours, m = 2", "the table, M = 3", "yours, m = 5")):
        values = table if m == 3 else function(table, 3, m)
        figures.draw_bias_table(ax, values[:, 0], title, limit=2.5)
    return (
        figure,
        "A bias table for windows of side 3 in the middle; cut down for side 2, and extended for side 5.",
    )


resize_table = Exercise(
    "resize_table",
    answer=_resize_by_loops,
    cases=lambda: {
        "the same window": (torch.randn(25, 2), 3, 3),
        "a smaller window": (torch.randn(49, 3), 4, 2),
        "a larger window": (torch.randn(9, 2), 2, 4),
        "one head, a little larger": (torch.randn(25, 1), 3, 4),
    },
    mistakes={
        "You take the first rows of the table. The offset (0, 0) is in its middle, and "
        "a row of offsets has another length in the new table.": _first_rows,
        "You cut from the corner of the square of offsets. Where in this square is (0, 0)?": _corner,
        "Offsets that the old table does not know get 0. They should get the bias of "
        "the nearest offset it knows.": (_zeros_outside),
        "You stretch the table, so the offset (0, 1) gets the bias of another offset. "
        "One step must remain one step.": lambda table, M, m: _stretched(table, M, m, "nearest"),
        "You stretch the table and mix neighbouring biases. Every known offset keeps its own.": (
            lambda table, M, m: _stretched(table, M, m, "pixels")
        ),
        "You stretch the table from corner to corner and mix its biases. Every known offset keeps its own.": (
            lambda table, M, m: _stretched(table, M, m, "corners")
        ),
        "dy + dx is the number of another offset: dy is the leading digit. By what is it multiplied?": (
            _multiplier_forgotten
        ),
        "The heads are mixed up: the head is the last axis of the table, and reading it "
        "in another shape does not move it to the front.": _heads_mixed,
        "The heads are the first axis of your result. They come last: one row per offset.": _heads_first,
    },
    picture=_draw_resize,
    axes="((2m-1)², heads)",
)
