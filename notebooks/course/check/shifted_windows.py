"""Checks of notebook 07: the mask, windows there and back; cyclic shift, mask by distance, influence."""

from functools import partial

import torch
import torch.nn.functional as F

from course import figures, package_pieces
from course.check.core import Exercise, Symptom, Wrong, numbered, same, sample_image
from course.check.watch import calls, loops, uses
from swin_cifar.layers import WindowAttention
from swin_cifar.model import SwinTransformerBlock
from swin_cifar.windows import padded_size, shift_per_axis, window_partition, window_reverse
from swin_cifar.windows import shifted_window_mask as package_mask

# --- shifted_window_mask -----------------------------------------------------------------


def true_windows(size, M, shift):
    starts = sorted({0, *range(shift, size, M)})
    return list(zip(starts, [*starts[1:], size]))


def _true_mask(H, W, M, shift):
    """Who may attend to whom, from the number of each token's true window; padding has the number -1."""
    (Hp, Wp), shifts = padded_size(H, W, M), shift_per_axis(H, W, M, shift)
    number = torch.full((Hp, Wp), -1)
    for i, (top, bottom) in enumerate(true_windows(H, M, shifts[0])):
        for j, (left, right) in enumerate(true_windows(W, M, shifts[1])):
            number[top:bottom, left:right] = 1000 * i + j
    masks = []
    for top in range(0, Hp, M):
        for left in range(0, Wp, M):
            rows = [(top + i + shifts[0]) % Hp for i in range(M)]
            columns = [(left + j + shifts[1]) % Wp for j in range(M)]
            window = number[rows][:, columns].flatten()
            masks.append(window[:, None] == window[None, :])
    return torch.stack(masks)


def _labelled(
    H,
    W,
    M,
    shift,
    roll=-1,
    covered="stays",
    padding="one",
    pad="first",
    bits=lambda y, x: 2 * y + x,
    cut=True,
):
    """The mask from labels, with a mistake, if asked for."""
    sides = []
    for size in (H, W):
        s = shift if size > M or covered == "moves" else 0
        place = torch.arange(size + -size % M)
        if pad == "first":
            place = place.roll(roll * s)
        else:
            place[:size] = place[:size].roll(roll * s)
        sides.append((place < s).long().masked_fill((place >= size) & (padding != "none"), -1))
    rows, columns = sides[0][:, None], sides[1][None, :]
    labels = bits(rows, columns).expand(len(rows), columns.shape[1])
    outside = (rows < 0) | (columns < 0)
    labels = labels.masked_fill(outside, -1)
    if cut:
        windows = window_partition(torch.stack([labels, outside.long()], -1)[None], M)[0]
    else:
        windows = torch.stack([labels, outside.long()], -1).view(-1, M * M, 2)
    labels, outside = windows[..., 0], windows[..., 1].bool()
    mask = labels[:, :, None] == labels[:, None, :]
    return mask & ~outside[:, None, :] & ~outside[:, :, None] if padding == "nobody" else mask


def _is_additive(found, *inputs):
    return isinstance(found, torch.Tensor) and found.is_floating_point() and (found <= 0).all().item()


def _padding_in_parts(found, H, W, M, shift):
    """Right but for pairs of padding, some of which may not attend to each other; no row is empty."""
    expected = _true_mask(H, W, M, shift)
    if not isinstance(found, torch.Tensor) or (found.dtype, found.shape) != (torch.bool, expected.shape):
        return False
    shifts = shift_per_axis(H, W, M, shift)
    real = F.pad(torch.ones(1, H, W, 1), (0, 0, 0, -W % M, 0, -H % M)).roll([-s for s in shifts], dims=(1, 2))
    padding = window_partition(real, M)[0, ..., 0] == 0  # (nW, N)
    between = padding[:, :, None] & padding[:, None, :]
    return torch.equal(found | between, expected | between) and found.diagonal(dim1=1, dim2=2).all().item()


def _none_without_shift(found, H, W, M, shift):
    """Right where an axis is shifted; elsewhere right or None."""
    if found is None:
        return not any(shift_per_axis(H, W, M, shift))
    return same(found, _true_mask(H, W, M, shift), 0)


def _draw_masks(function):
    mask = function(6, 7, 4, 2)
    figure, axes = figures.panels(1, 4, size=2.5)
    for number, ax in enumerate(axes):
        figures.draw_mask(ax, mask[number], step=4, title=f"window {number}: {mask[number].sum()} pairs")
    return figure, (
        "The four masks of a map of 6 by 7 tokens, padded to 8 by 8, shift 2: 256, 96, 128 and 120 of 256 "
        "pairs are allowed. Window 0 is all white; in the others wrapped rows or columns and padding stand "
        "apart."
    )


BY_PAIRS = (
    "You visit the windows, or their tokens, in a loop. Asked for are steps that treat all of them at once."
)

shifted_window_mask = Exercise(
    "shifted_window_mask",
    answer=_true_mask,
    cases=lambda: {
        "8 x 8 tokens, M = 4, shift 2": (8, 8, 4, 2),
        "9 x 12, M = 3, shift 1": (9, 12, 3, 1),
        "12 x 8, M = 4, shift 3": (12, 8, 4, 3),
        "6 x 7, padded to 8 x 8": (6, 7, 4, 2),
        "9 x 5, padded to 12 x 8": (9, 5, 4, 1),
        "4 x 8, one window high": (4, 8, 4, 2),
        "3 x 2, smaller than a window": (3, 2, 4, 2),
        "8 x 4, shift 0": (8, 4, 4, 0),
        "5 x 6, shift 0, padded": (5, 6, 4, 0),
    },
    mistakes={
        "The mask is a number to add to the scores. Here it is boolean: True where a query may attend to a "
        "key.": Symptom(_is_additive),
        "The sign is wrong: True means that a query may attend to a key.": lambda *inputs: (
            ~_true_mask(*inputs)
        ),
        "No token is wrapped around: your mask is the one for shift 0. Which rows and columns come from "
        "the other edge after the roll?": lambda H, W, M, shift: _true_mask(H, W, M, 0),
        "Padding is treated like the tokens of the map: a real token may attend to it. It needs a label of "
        "its own.": partial(_labelled, padding="none"),
        "Padding may attend to nothing, not even to itself. Its rows of the mask are empty, and softmax "
        "makes nan of them.": partial(_labelled, padding="nobody"),
        "Not all padding has the same label. That does no harm, but the mask asked for has one label for all "
        "that lies in a padded row or in a padded column.": Symptom(_padding_in_parts),
        "The padding lies at the end of the rolled map. The map is padded first; then the roll takes the "
        "padding with it.": partial(_labelled, pad="last"),
        "An axis that one window covers is shifted, too. It has no seam: along this axis the shift is 0.": (
            partial(_labelled, covered="moves")
        ),
        "Where nothing is shifted you return None. A mask is always returned here, there with True for every "
        "pair of real tokens; None is the business of `to_windows`.": Symptom(_none_without_shift),
        "The labels are not rolled, the map is. Which row stands first after the roll?": partial(
            _labelled, roll=0
        ),
        "The labels are rolled the wrong way. The map moves up and left, so its first row afterwards is "
        "row `shift`.": partial(_labelled, roll=1),
        "Height and width have changed places: the map has H rows and W columns.": (
            lambda H, W, M, shift: _true_mask(W, H, M, shift)
        ),
        "Rows that were wrapped around and columns that were wrapped around get the same label. Two bits "
        "make four labels.": partial(_labelled, bits=lambda y, x: y + x),
        "Only the rows count. Tokens of different columns' true windows must not attend to each other "
        "either.": (partial(_labelled, bits=lambda y, x: y + 0 * x)),
        "Only the columns count. Tokens of different rows' true windows must not attend to each other "
        "either.": (partial(_labelled, bits=lambda y, x: 0 * y + x)),
        "Your windows are runs of the map's rows. The labels are a map of one channel: cut them into "
        "windows as the map is cut.": partial(_labelled, cut=False),
        "The mask has an axis too many, (1, nW, N, N): the pictures are no business of this function.": (
            lambda *inputs: _true_mask(*inputs)[None]
        ),
        "The mask has an axis too many, (nW, 1, N, N): the heads are no business of this function.": (
            lambda *inputs: _true_mask(*inputs)[:, None]
        ),
    },
    forbidden={
        "It is made by the package's `shifted_window_mask`: write it yourself.": calls(package_mask),
        BY_PAIRS: loops,
    },
    picture=_draw_masks,
    axes="(nW, N, N)",
    piece=True,
)

# --- to_windows --------------------------------------------------------------------------


def _there_by_loops(x, M, shift):
    """Token by token: where in the map, or outside it, does it come from?"""
    H, W = x.shape[1:3]
    (Hp, Wp), (up, left) = padded_size(H, W, M), shift_per_axis(H, W, M, shift)
    windows = []
    for top in range(0, Hp, M):
        for first in range(0, Wp, M):
            places = [((top + i + up) % Hp, (first + j + left) % Wp) for i in range(M) for j in range(M)]
            tokens = [x[:, r, c] if r < H and c < W else torch.zeros_like(x[:, 0, 0]) for r, c in places]
            windows.append(torch.stack(tokens, dim=1))
    mask = _true_mask(H, W, M, shift)
    return torch.stack(windows, dim=1), None if mask.all() else mask


def _there(
    x,
    M,
    shift,
    pad="after",
    first="pad",
    covered="stays",
    axes=(1, 2),
    sign=-1,
    mask="right",
    amount="needed",
):
    """With a mistake, if asked for."""
    H, W = x.shape[1:3]
    asked = shift
    shift = 0 if covered == "stops both" and min(H, W) <= M else shift
    shifts = (shift, shift) if covered == "moves" else shift_per_axis(H, W, M, shift)
    shifts = shifts[::-1] if covered == "swapped" else shifts
    down, right = (M - H % M, M - W % M) if amount == "a window too many" else (-H % M, -W % M)
    by = [sign * s if axis in axes else 0 for axis, s in zip((1, 2), shifts)]
    amounts = (0, 0, 0, right, 0, down) if pad == "after" else (0, 0, right, 0, down, 0)
    steps = [lambda x: F.pad(x, amounts), lambda x: x.roll(by, dims=(1, 2))]
    for step in steps if first == "pad" else steps[::-1]:
        x = step(x)
    padded, shifted = down > 0 or right > 0, any(shifts)
    masks = {
        "right": lambda: package_mask(H, W, M, shift) if padded or shifted else None,
        "always": lambda: package_mask(H, W, M, shift),
        "asked only": lambda: package_mask(H, W, M, shift) if asked else None,
        "asked": lambda: package_mask(H, W, M, shift) if padded or asked else None,
        "inverted": lambda: ~package_mask(H, W, M, shift) if padded or shifted else None,
        "never": lambda: None,
        "shifted only": lambda: package_mask(H, W, M, shift) if shifted else None,
        "padded only": lambda: package_mask(H, W, M, shift) if padded else None,
        "of the padded map": lambda: package_mask(*x.shape[1:3], M, shift) if padded or shifted else None,
        "swapped": lambda: package_mask(W, H, M, shift) if padded or shifted else None,
        "no shift": lambda: package_mask(H, W, M, 0) if padded or shifted else None,
    }
    return window_partition(x, M), masks[mask]()


def _pair(function, *inputs):
    found = function(*inputs)
    if isinstance(found, torch.Tensor):
        raise Wrong("one tensor is returned. Return two things: the windows and their mask")
    if isinstance(found, (list, tuple)) and len(found) == 2:
        windows, mask = found
        if windows is None or (isinstance(mask, torch.Tensor) and mask.ndim == 4 and windows.ndim == 3):
            raise Wrong("the mask comes first. Return the windows, then the mask")
        given = "no mask" if mask is None else "a mask"
        return {"the windows": windows, "the second thing": given, "the mask": [] if mask is None else mask}
    return found


def _draw_there(function):
    picture = sample_image()[:, 2:26, 2:30]  # 24 x 28
    windows, _ = function(picture.permute(1, 2, 0)[None], 16, 8)
    figure, axes = figures.panels(1, 5, size=2.0)
    figures.draw_picture(axes[0], picture, "24 × 28")
    for number, (ax, window) in enumerate(zip(axes[1:], windows[0])):
        figures.draw_picture(ax, window.view(16, 16, 3).permute(2, 0, 1), f"window {number}")
    return figure, (
        "A picture of 24 by 28 pixels, and the four windows of 16 by 16 that the function makes with shift "
        "8: the first is whole, the others hold black padding and what was wrapped around."
    )


def _maps():
    return {
        "8 x 8 tokens, M = 4, shift 2": (numbered(1, 8, 8, 2) + 1, 4, 2),
        "9 x 6, two pictures, M = 3, shift 1": (numbered(2, 9, 6, 2) + 1, 3, 1),
        "6 x 7, padded to 8 x 8": (numbered(1, 6, 7, 3) + 1, 4, 2),
        "5 x 10, two pictures, shift 3": (numbered(2, 5, 10, 2) + 1, 4, 3),
        "4 x 8, one window high": (numbered(1, 4, 8, 2) + 1, 4, 2),
        "3 x 2, smaller than a window": (numbered(2, 3, 2, 2) + 1, 4, 2),
        "4 x 4, one window": (numbered(1, 4, 4, 2) + 1, 4, 2),
        "8 x 4, shift 0": (numbered(1, 8, 4, 2) + 1, 4, 0),
        "7 x 6, shift 0": (numbered(1, 7, 6, 2) + 1, 4, 0),
    }


to_windows = Exercise(
    "to_windows",
    answer=_there_by_loops,
    cases=_maps,
    call=_pair,
    mistakes={
        "The map is never shifted. Roll it before it is cut.": lambda x, M, shift: (
            _there(x, M, 0)[0],
            _there(x, M, shift)[1],
        ),
        "The map is rolled down and right. It moves up and left: by a negative number.": partial(
            _there, sign=1
        ),
        "Only the rows are rolled. The columns move, too.": partial(_there, axes=(1,)),
        "Only the columns are rolled. The rows move, too.": partial(_there, axes=(2,)),
        "You roll before you pad. Then the padding lies between the tokens that the roll has moved.": (
            partial(_there, first="roll")
        ),
        "The padding stands above and left of the map. It belongs right and below.": partial(
            _there, pad="before"
        ),
        "A side that M divides already gets a whole window of padding. How many rows are missing? Try -H % "
        "M.": (partial(_there, amount="a window too many")),
        "An axis that one window covers is rolled, too. It has no seam: along this axis the shift is 0.": (
            partial(_there, covered="moves")
        ),
        "If one window covers one axis, the other is not shifted either. Each axis has a shift of its own.": (
            partial(_there, covered="stops both")
        ),
        "The shifts of rows and columns have changed places: axis 1 are the H rows.": (
            partial(_there, covered="swapped")
        ),
        "The windows are right. Where nothing is padded and nothing shifted, every pair is allowed: there "
        "return None in place of a mask.": partial(_there, mask="always"),
        "The windows are right. But `shift` is more than 0 where one window covers both axes, and nothing is "
        "shifted: every pair is allowed, so return None.": partial(_there, mask="asked"),
        "The windows are right, but the mask is the wrong way round: True means that a query may attend to a "
        "key.": partial(_there, mask="inverted"),
        "The windows are right, but whether there is a mask depends on `shift` alone. Count the padding, and "
        "the shift that each axis really has.": partial(_there, mask="asked only"),
        "The windows are right, but the mask is missing where the map is padded and not shifted: then real "
        "tokens attend to padding.": partial(_there, mask="shifted only"),
        "The windows are right, but the mask is missing where the map is shifted and not padded.": (
            partial(_there, mask="padded only")
        ),
        "The windows are right, but the mask is that of the padded map: it does not know which tokens are "
        "padding. Ask for it with the H and W that came in.": partial(_there, mask="of the padded map"),
        "The windows are right, but in the mask height and width have changed places.": (
            partial(_there, mask="swapped")
        ),
        "The windows are right, but the mask is the one for shift 0.": partial(_there, mask="no shift"),
        "The windows are right, but they have no mask.": partial(_there, mask="never"),
    },
    forbidden={
        "It is made by the package's `to_windows`: write it yourself.": (
            calls(SwinTransformerBlock.to_windows, package_pieces.to_windows)
        )
    },
    picture=_draw_there,
    axes="",
    piece=True,
)

# --- from_windows ------------------------------------------------------------------------


def _back_by_loops(windows, M, shift, H, W):
    (Hp, Wp), (up, left) = padded_size(H, W, M), shift_per_axis(H, W, M, shift)
    x = windows.new_zeros(len(windows), Hp, Wp, windows.shape[-1])
    for number in range(windows.shape[1]):
        top, first = number // (Wp // M) * M, number % (Wp // M) * M
        for token in range(M * M):
            row, column = top + token // M, first + token % M
            x[:, (row + up) % Hp, (column + left) % Wp] = windows[:, number, token]
    return x[:, :H, :W]


def _back(
    windows, M, shift, H, W, covered="stays", axes=(1, 2), sign=1, last="crop", keep="first", laid="by rows"
):
    """With a mistake, if asked for."""
    (Hp, Wp), shifts = padded_size(H, W, M), shift_per_axis(H, W, M, shift)
    shifts = (shift, shift) if covered == "moves" else shifts
    by = [sign * s if axis in axes else 0 for axis, s in zip((1, 2), shifts)]
    if laid == "by rows":
        x = window_reverse(windows, M, Hp, Wp)
    elif laid == "swapped":
        x = window_reverse(windows, M, Wp, Hp)
    else:
        x = windows.reshape(len(windows), Hp, Wp, -1)
    if last == "roll":
        return x[:, :H, :W].roll(by, dims=(1, 2))
    x = x.roll(by, dims=(1, 2))
    return {
        "first": x[:, :H, :W],
        "last": x[:, x.shape[1] - H :, x.shape[2] - W :],
        "swapped": x[:, :W, :H],
        "axes 0 and 1": x[:H, :W],
        "all": x,
    }[keep]


def _cut_up():
    cases = {}
    for label, (x, M, shift) in _maps().items():
        H, W = x.shape[1:3]
        Hp, Wp = padded_size(H, W, M)
        cases[label] = (numbered(len(x), Hp * Wp // M**2, M * M, 2), M, shift, H, W)
    return cases


def _draw_back(function):
    picture = sample_image()[:, 2:26, 2:30]  # 24 x 28
    windows, _ = _there(picture.permute(1, 2, 0)[None], 16, 8)
    figure, axes = figures.panels(1, 3, size=2.6)
    put_back = window_reverse(windows, 16, 32, 32)[0].permute(2, 0, 1)
    figures.draw_picture(axes[0], put_back, "four windows, put back")
    figures.draw_windows(axes[0], [(0, 16), (16, 32)], [(0, 16), (16, 32)], numbers=False)
    figures.draw_picture(axes[1], function(windows, 16, 8, 32, 32)[0].permute(2, 0, 1), "yours, all 32 × 32")
    figures.draw_picture(axes[2], function(windows, 16, 8, 24, 28)[0].permute(2, 0, 1), "yours, 24 × 28")
    return figure, (
        "Left: four windows put back, still rolled, the black padding in the middle. Middle: the function "
        "rolls back, the padding is right and below. Right: cropped to 24 by 28 it is the picture again."
    )


from_windows = Exercise(
    "from_windows",
    answer=_back_by_loops,
    cases=_cut_up,
    mistakes={
        "The roll is not undone: every token stands in another token's place.": partial(_back, axes=()),
        "The map is rolled up and left once more. Back means down and right.": partial(_back, sign=-1),
        "Only the rows are rolled back.": partial(_back, axes=(1,)),
        "Only the columns are rolled back.": partial(_back, axes=(2,)),
        "You crop before you roll back. Then real tokens are cut off, and padding is kept. What came last "
        "is undone first.": partial(_back, last="roll"),
        "The padding is still there: cut the map back to H x W.": partial(_back, keep="all"),
        "You keep the last H rows and W columns. The padding is right and below, so keep the first.": (
            partial(_back, keep="last")
        ),
        "You crop the batch and the rows. In (B, H, W, C) height and width are axes 1 and 2.": (
            partial(_back, keep="axes 0 and 1")
        ),
        "When you crop, height and width have changed places.": partial(_back, keep="swapped"),
        "An axis that one window covers is rolled back, but `to_windows` has not rolled it.": (
            partial(_back, covered="moves")
        ),
        "The windows are only read as a map: put them back with `window_reverse`.": partial(
            _back, laid="read"
        ),
        "The windows are put back into a map whose height and width have changed places.": (
            partial(_back, laid="swapped")
        ),
    },
    forbidden={
        "It is made by the package's `from_windows`: write it yourself.": (
            calls(SwinTransformerBlock.from_windows, package_pieces.from_windows)
        )
    },
    picture=_draw_back,
    axes="(B, H, W, C)",
    piece=True,
)

# --- cyclic_shift ------------------------------------------------------------------------


def _shift_by_loops(x, shift):
    H, W = x.shape[1:3]
    rows = [torch.stack([x[:, (i + shift) % H, (j + shift) % W] for j in range(W)], dim=1) for i in range(H)]
    return torch.stack(rows, dim=1)


def _without_return(x, shift):
    """What leaves at the top and left does not come back: zeros enter."""
    return F.pad(x[:, shift:, shift:], (0, 0, 0, shift, 0, shift))


def _draw_shift(function):
    shifted = function(sample_image().permute(1, 2, 0)[None], 8)[0].permute(2, 0, 1)
    figure, axes = figures.panels(1, 2, size=2.6)
    figures.draw_picture(axes[0], sample_image(), "picture")
    figures.draw_picture(axes[1], shifted, "yours, shift = 8")
    return (
        figure,
        "A picture, and the same moved up and left by 8 pixels; what left returns at the other edge.",
    )


cyclic_shift = Exercise(
    "cyclic_shift",
    answer=_shift_by_loops,
    cases=lambda: {
        "a square map": (numbered(1, 4, 4, 2), 1),
        "a map wider than high, shift 2": (numbered(1, 4, 6, 2), 2),
        "two pictures, shift 3": (numbered(2, 8, 4, 3), 3),
        "shift 0": (numbered(1, 4, 4, 2), 0),
    },
    mistakes={
        "The map moves down and right. It should move up and left: row 0 of the result is row `shift` of "
        "the map.": (lambda x, shift: x.roll((shift, shift), dims=(1, 2))),
        "Only the rows move. The columns must move, too.": lambda x, shift: x.roll(-shift, dims=1),
        "Only the columns move. The rows must move, too.": lambda x, shift: x.roll(-shift, dims=2),
        "What leaves at one edge does not come in at the other: zeros do.": _without_return,
        "You shift the batch and the rows. In (B, H, W, C) the rows are axis 1.": (
            lambda x, shift: x.roll((-shift, -shift), dims=(0, 1))
        ),
        "You shift the columns and the channels. In (B, H, W, C) the columns are axis 2.": (
            lambda x, shift: x.roll((-shift, -shift), dims=(2, 3))
        ),
        "What leaves is missing: the result is smaller than the map.": lambda x, shift: x[:, shift:, shift:],
    },
    forbidden={"`roll` moves the map. Asked for is its work, done by slices and `torch.cat`.": uses("roll")},
    picture=_draw_shift,
    axes="(B, H, W, C)",
)

# --- mask_by_distance --------------------------------------------------------------------


def _mask(H, W, M, shift, axes="both", roll=-1, cut=True):
    """With a mistake, if asked for."""
    y, x = (torch.arange(size).roll(roll * shift) for size in (H, W))
    maps = torch.stack([y[:, None].expand(H, W), x[None, :].expand(H, W)], dim=-1)[None]
    windows = (window_partition(maps, M) if cut else maps.reshape(1, -1, M * M, 2))[0]  # (nW, N, 2)
    near = (windows[:, :, None] - windows[:, None, :]).abs() < M  # (nW, N, N, 2)
    return {"both": near.all(-1), "rows": near[..., 0], "columns": near[..., 1], "either": near.any(-1)}[axes]


def _one_direction(H, W, M, shift):
    y, x = (torch.arange(size).roll(-shift) for size in (H, W))
    maps = torch.stack([y[:, None].expand(H, W), x[None, :].expand(H, W)], dim=-1)[None]
    windows = window_partition(maps, M)[0]
    return ((windows[:, :, None] - windows[:, None, :]) < M).all(-1)


def _draw_mask(function):
    mask = function(8, 8, 4, 2)
    figure, axes = figures.panels(1, 4, size=2.5)
    for number, ax in enumerate(axes):
        figures.draw_mask(ax, mask[number], step=4, title=f"window {number}")
    return figure, "Four masks of 16 by 16: all white, fine squares, two large squares, and both together."


mask_by_distance = Exercise(
    "mask_by_distance",
    answer=_true_mask,
    cases=lambda: {
        "a square map": (8, 8, 4, 2),
        "a map wider than high, shift 1": (6, 9, 3, 1),
        "a map higher than wide, shift 3": (12, 8, 4, 3),
        "shift 0": (4, 6, 2, 0),
    },
    mistakes={
        "The mask's sign is flipped: True means that a pair may attend.": (lambda *inputs: ~_mask(*inputs)),
        "No pair is forbidden. Before the roll all tokens of a window are near each other: it is the "
        "rolled map that is cut into windows.": lambda H, W, M, shift: _mask(H, W, M, 0),
        "The positions are rolled the wrong way: the map moves up and left, so window 0 begins with row "
        "`shift`.": (partial(_mask, roll=1)),
        "Height and width have changed places: the map has H rows and W columns.": (
            lambda H, W, M, shift: _mask(W, H, M, shift)
        ),
        "Only the rows count. Tokens far apart sideways may not attend to each other either.": partial(
            _mask, axes="rows"
        ),
        "Only the columns count. Tokens far apart up and down may not attend to each other either.": (
            partial(_mask, axes="columns")
        ),
        "You allow a pair when one of its distances is small. Both must be.": partial(_mask, axes="either"),
        "Your windows are consecutive tokens of the map's rows: cut the positions into windows as a map is "
        "cut.": (partial(_mask, cut=False)),
        "The distance is the same in both directions, but you forbid only one of them: what does abs() "
        "do?": _one_direction,
    },
    forbidden={
        "`shifted_window_mask` makes the mask. Asked for is its work, done by the distances of the tokens.": (
            calls(package_mask)
        )
    },
    picture=_draw_mask,
    axes="(nW, N, N)",
)

# --- influence ---------------------------------------------------------------------------


def _influence(size, M, shifts, token):
    reached = {token}
    for shift in shifts:
        for start, end in true_windows(size, M, shift):
            if reached.intersection(range(start, end)):
                reached.update(range(start, end))
    return min(reached), max(reached) + 1


def _by_bounds(size, M, shifts, token, grow="area", windows=true_windows, end=1):
    """With a mistake, if asked for."""
    area = bounds = (token, token + 1)
    for shift in shifts:
        touched = [(a, b) for a, b in windows(size, M, shift) if a < area[1] and b > area[0]] or [area]
        bounds = touched[0][0], touched[-1][1]
        if grow == "area":
            area = bounds
    return bounds[0], bounds[1] - 1 + end


def _added_up(size, M, shifts, token):
    moved = [sum(shifts[: n + 1]) % M for n in range(len(shifts))]
    return _influence(size, M, moved, token)


def _by_distance(size, M, shifts, token):
    return max(0, token - len(shifts) * M), min(size, token + len(shifts) * M + 1)


def _without_edges(size, M, shift):
    return [(start, start + M) for start in range(shift, size - M + 1, M)]


def _draw_influence(function):
    reached = [(7, 8), *(function(16, 4, (0, 2, 0, 2)[:n], 7) for n in range(1, 5))]
    area = torch.zeros(5, 16)
    for row, (first, end) in enumerate(reached):
        area[row, first:end] = 1
    figure = figures.Figure(figsize=(6, 2.6), layout="constrained")
    ax = figure.subplots()
    figures.draw_heat(ax, area, "tokens reached from token 7, block after block")
    figures.draw_grid(ax, 5, 16)
    ax.set(xticks=range(16), yticks=range(5), xlabel="token", ylabel="blocks")
    return figure, (
        "Token 7 of 16, by the function: after 1 block tokens 4 to 7 are reached, after 2 blocks 2 to 9, "
        "after 3 blocks 0 to 11, after 4 blocks 0 to 13."
    )


influence = Exercise(
    "influence",
    answer=_influence,
    cases=lambda: {
        "no block": (16, 4, (), 5),
        "one block": (16, 4, (0,), 6),
        "one shifted block": (16, 4, (2,), 7),
        "at the left edge": (16, 4, (2,), 1),
        "two blocks": (20, 4, (0, 2), 11),
        "four blocks, M = 5": (40, 5, (0, 2, 0, 2), 17),
        "shifted first, M = 6": (36, 6, (3, 0, 3), 20),
        "never shifted": (24, 4, (0, 0, 0), 10),
    },
    mistakes={
        "The end is the first token that is not reached: one more than the last that is.": (
            partial(_by_bounds, end=0)
        ),
        "Every block has its own shift, and you use none.": (
            lambda size, M, shifts, token: _influence(size, M, [0] * len(shifts), token)
        ),
        "You stop after the first block.": lambda size, M, shifts, token: _influence(
            size, M, shifts[:1], token
        ),
        "You ask each time for the window of the token itself. From the second block on all that it has "
        "reached spreads, too.": partial(_by_bounds, grow="never"),
        "You let the area grow by M tokens on both sides. It grows to the end of each window that it "
        "touches.": (_by_distance),
        "You add the shifts up. Each block shifts the windows from their regular places.": _added_up,
        "At the edges you forget the smaller windows that a shift leaves over.": (
            partial(_by_bounds, windows=_without_edges)
        ),
    },
    picture=_draw_influence,
)

# --- for the checks of notebook 14 -------------------------------------------------------


def large_attention(dim=8, window_size=4, num_heads=2):
    """Weights large enough for mistakes to show."""
    attn = WindowAttention(dim, window_size, num_heads).requires_grad_(False)
    attn.qkv.weight.mul_(3)
    attn.relative_position_bias_table.normal_(std=2)
    for bias in (attn.qkv.bias, attn.proj.bias):
        bias.normal_()
    return attn
