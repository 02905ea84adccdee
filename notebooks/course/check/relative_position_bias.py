"""Checks of notebook 06: the index, reading a bias table, rectangular windows, another window size."""

from functools import partial

import torch
import torch.nn.functional as F

from course import figures
from course.check.core import Exercise
from course.check.watch import calls, loops
from swin_cifar import relative_position_index as package_index

LOOPS = "You visit the pairs in a loop. Asked for is a way to number all of them at once."

# --- relative_position_index, index_of_rectangle -----------------------------------------


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


def _differences(M):
    """-> dy, dx of all pairs, (N, N) each, from -(M - 1) to M - 1."""
    number = _index_by_list(M, M)
    return number // (2 * M - 1) - (M - 1), number % (2 * M - 1) - (M - 1)


def _without_direction(M, added):
    dy, dx = _differences(M)
    return (dy.abs() + added) * (2 * M - 1) + dx.abs() + added


def _one_added(M, to_dy, to_dx):
    dy, dx = _differences(M)
    return (dy + to_dy) * (2 * M - 1) + dx + to_dx


def _one_reversed(M, dy_sign, dx_sign):
    dy, dx = _differences(M)
    return (dy_sign * dy + M - 1) * (2 * M - 1) + dx_sign * dx + M - 1


def _differences_of_numbers(M):
    token = torch.arange(M * M)
    return token[:, None] - token[None, :]


def _draw_pairs(function):
    M, query = 4, 10
    steps = torch.arange(1 - M, M)
    table = 3.0 - steps.abs()[:, None] - steps.abs()[None, :]
    table[M - 1, M] = 5.0  # the left neighbour
    index = function(M)
    bias = table.flatten()[index]  # (N, N)
    figure, axes = figures.panels(1, 4, size=3.3)
    figures.draw_heat(axes[0], index, f"your index, M = {M}", limit=(2 * M - 1) ** 2 - 1)
    figures.draw_bias_table(axes[1], table.flatten(), "a table made by hand", limit=5, numbers="{:.0f}")
    figures.draw_window_of(axes[1], M, query)
    title = f"table[index[{query}]]"
    figures.draw_heat(axes[2], bias[query].view(M, M), title, signed=True, limit=5, numbers="{:.0f}")
    figures.draw_mark(axes[2], query // M, query % M)
    figures.draw_heat(axes[3], bias, "table[index], all pairs", signed=True, limit=5)
    for ax in (axes[0], axes[3]):
        figures.draw_grid(ax, M, M, unit=M)
    return figure, (
        "The function's index for M = 4 as a heat map of 16 by 16. A table made by hand around its query: 5 "
        "at the left neighbour, 3 at the query itself, one less for each step away. Read with the index, the "
        "line of query 10 is a window of 4 by 4: the part of the table that lies around the query, with 5 "
        "at token 9 and 3 at token 10. For all pairs it is a matrix of stripes."
    )


relative_position_index = Exercise(
    "relative_position_index",
    answer=lambda M: _index_by_list(M, M),
    cases=lambda: {f"M = {M}": (M,) for M in (2, 3, 4, 7, 1)},
    mistakes={
        "Different offsets share a number: 9 offsets have only 5 sums dy + dx. One of the two must count "
        "more, as the first digit of 21 does.": lambda M: _index(M, M, factor=1),
        "Different offsets share a number: dy counts M times as much as dx (in i - j, the difference of the "
        "tokens' numbers, too), but dx takes more than M values. How many?": lambda M: _index(M, M, factor=M),
        "dy is multiplied by 2M. Every offset has a number of its own, but some rows of the table are never "
        "read. How many values does dx take?": lambda M: _index(M, M, factor=2 * M),
        "Python reads a * 2 * M - 1 as (a * 2 * M) - 1. Brackets are missing around the number that dy is "
        "multiplied by.": lambda M: _without_brackets(M, M),
        "You subtract the tokens' numbers, and some differences are negative. Rows and columns need a "
        "difference each, and both must start at 0.": _differences_of_numbers,
        "Left and right, above and below get the same number: you take absolute values. What makes dy and "
        "dx start at 0 and keeps their signs?": lambda M: _without_direction(M, 0),
        "Left and right, above and below get the same number: you take absolute values, and still add M - "
        "1.": lambda M: _without_direction(M, M - 1),
        "The offset is reversed: it is query minus key. The queries are the rows of the matrix.": (
            lambda M: _index(M, M, sign=-1)
        ),
        "dx is reversed, dy is not: both are query minus key. The queries are the rows of the matrix.": (
            lambda M: _one_reversed(M, 1, -1)
        ),
        "dy is reversed, dx is not: both are query minus key. The queries are the rows of the matrix.": (
            lambda M: _one_reversed(M, -1, 1)
        ),
        "Every offset has a number of its own, but dx counts more than dy. It should be dy. (Or have the "
        "row and the column of a token changed places?)": lambda M: _index(M, M, major="dx"),
        "Some numbers are negative, and a negative row number reads a table from its end. What makes dy and "
        "dx start at 0?": lambda M: _index(M, M, shifted=False),
        "Some numbers are negative: M - 1 is added once, after the multiplication. dy and dx need it each, "
        "before.": lambda M: _one_added(M, 0, M - 1),
        "Some numbers are negative: M - 1 is added to dy only. From where does dx run?": (
            lambda M: _one_added(M, M - 1, 0)
        ),
        "You add M. The smallest number is not 0, and the largest is past the end of the table. From where "
        "do dy and dx run?": lambda M: _one_added(M, M, M),
        "The numbers are right, but row and column of query and key are axes of their own, (M, M, M, M). "
        "Merge them in pairs: (N, N).": lambda M: _index_by_list(M, M).view(M, M, M, M),
    },
    forbidden={
        "It is made by the package's `relative_position_index`: write it yourself.": calls(package_index),
        LOOPS: loops,
    },
    picture=_draw_pairs,
    axes="(N, N)",
    piece=True,
)


def _draw_index(function):
    figure, axes = figures.panels(1, 2, size=3.2)
    index = function(2, 4)
    figures.draw_heat(axes[0], index, "yours: 8 queries, 8 keys", numbers="{:.0f}")
    figures.draw_heat(
        axes[1], index[5].view(2, 4), "query 5 in its window of 2 × 4", limit=20, numbers="{:.0f}"
    )
    figures.draw_mark(axes[1], 1, 1)
    return figure, (
        "The index of a window of 2 by 4 tokens as a matrix of 8 by 8, from 0 to 20; and the line of query "
        "5 as a window: one step right is 1 less, one step down is 7 less, and the query itself has 10."
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
    forbidden={LOOPS: loops},
    picture=_draw_index,
    axes="(N, N)",
)

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
        "A bias table of 7 by 7 around its query. Its largest number, 3.0, is three rows below the query and "
        f"one column to the left, dy = -3, dx = 1; a frame stands at the offset found, dy = {dy}, dx = {dx}.",
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
        "A bias table for windows of side 3 in the middle, 5 by 5; on the left cut down to its inner 3 by 3 "
        "for side 2; on the right extended to 9 by 9 for side 5, its edges repeated outwards.",
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
    forbidden={"You visit the offsets in a loop. Asked for is a way to look all of them up at once.": loops},
    picture=_draw_resize,
    axes="((2m-1)², heads)",
)
