"""Wrong answers to the exercises, as students write them, each with words that its check must say."""

import math
import re
from functools import cache, partial

import torch
import torch.nn.functional as F

from course import check
from swin_cifar import (
    create_model,
    relative_position_index,
    shifted_window_mask,
    window_partition,
    window_reverse,
)
from swin_cifar.weights import torchvision_name

ALIKE = []
CHEATS = []  # right results in a way that the exercise does not ask for
PLANTED = {}  # name of the exercise: [(what must be said, the wrong function), ...]


def planted(exercise, says):
    """Plant the decorated function as an answer to the exercise."""

    def keep(function):
        PLANTED.setdefault(exercise, []).append((says, function))
        return function

    return keep


def planted_alike(exercise, says):
    """The same for one of several that get the same words."""
    return lambda function: ALIKE.append((exercise, says, function))


def cheats(exercise, says):
    return lambda function: CHEATS.append((exercise, says, function))


# --- 02 ----------------------------------------------------------------------------------


@planted("pad_centred", "A side that fits already gets a whole patch")
def pads_what_fits(images, P):
    h, w = images.shape[-2:]
    rows, cols = P - h % P, P - w % P
    return F.pad(images, (cols // 2, cols - cols // 2, rows // 2, rows - rows // 2))


@planted("pad_centred", "With which axis does F.pad begin?")
def pads_height_first(images, P):
    h, w = images.shape[-2:]
    rows, cols = -h % P, -w % P
    return F.pad(images, (rows // 2, rows - rows // 2, cols // 2, cols - cols // 2))


@planted("pad_centred", "Half of them belong on the left and above")
def pads_as_in_the_notebook(images, P):
    height, width = images.shape[2:]
    return F.pad(images, (0, (P - width % P) % P, 0, (P - height % P) % P))


@planted("pad_centred", "one is missing")
def pads_two_floored_halves(images, P):
    rows, cols = (math.ceil(n / P) * P - n for n in images.shape[2:])
    return F.pad(images, (cols // 2, cols // 2, rows // 2, rows // 2))


@planted("pad_centred", "The odd zero stands before the picture")
def pads_more_before(images, P):
    rows, cols = (math.ceil(n / P) * P - n for n in images.shape[2:])
    out = torch.zeros(*images.shape[:2], images.shape[2] + rows, images.shape[3] + cols)
    top, left = math.ceil(rows / 2), math.ceil(cols / 2)
    out[:, :, top : top + images.shape[2], left : left + images.shape[3]] = images
    return out


@planted("patches_at_once", "each 'patch' is a run of the picture's rows")
def only_views(images, P):
    B, c, h, w = images.shape
    return images.view(B, h // P, w // P, c, P, P)


@planted("patches_at_once", "you have split it into (P, H)")
def splits_into_p_first(images, P):
    x = images.unflatten(2, (P, -1)).unflatten(4, (P, -1))  # (B, 3, P, H, P, W)
    return x.permute(0, 3, 5, 1, 2, 4)


@planted("patches_at_once", "Each patch is transposed")
def swaps_row_and_column(images, P):
    x = images.unflatten(3, (-1, P)).unflatten(2, (-1, P))
    return x.permute(0, 2, 4, 1, 5, 3)


@planted("patches_at_once", "In your patches the colour comes last")
def channels_last(images, P):
    return images.permute(0, 2, 3, 1).unfold(1, P, P).unfold(2, P, P).permute(0, 1, 2, 4, 5, 3)


@planted("patches_at_once", "Right for: a square picture")
def knows_square_pictures_only(images, P):
    B, c, side, _ = images.shape
    return images.reshape(B, c, side // P, P, side // P, P).permute(0, 2, 4, 1, 3, 5)


@planted("absorb_normalization", "The colours are mixed up")
def pixel_after_pixel(weight, bias, mean, std):
    n = weight.shape[1] // 3
    m, s = torch.cat([mean] * n), torch.cat([std] * n)
    return weight / s, bias - (weight / s * m).sum(dim=1)


@planted("absorb_normalization", "The bias is the old one")
def forgets_the_constant(weight, bias, mean, std):
    w = weight.unflatten(1, (3, -1)) / std[:, None]
    return w.flatten(1), bias


@planted("absorb_normalization", "the mean is subtracted from the pixels, not added")
def adds_the_mean(weight, bias, mean, std):
    w = weight.unflatten(1, (3, -1)) / std[:, None]
    return w.flatten(1), bias + (w * mean[:, None]).sum(dim=(1, 2))


@planted("absorb_normalization", "the mean is not divided by std")
def old_weights_in_the_bias(weight, bias, mean, std):
    w = weight.unflatten(1, (3, -1))
    return (w / std[:, None]).flatten(1), bias - (w.sum(dim=2) * mean).sum(dim=1)


@planted("absorb_normalization", "you return a tensor, expected 2 things")
def forgets_to_return_the_bias(weight, bias, mean, std):
    return weight / std.repeat_interleave(weight.shape[1] // 3)


@cheats("patches_at_once", "`unfold` cuts the patches")
def unfolds(images, P):
    return images.unfold(2, P, P).unfold(3, P, P).permute(0, 2, 3, 1, 4, 5)


@cheats("patches_at_once", "in a loop")
def cuts_in_a_loop(images, P):
    h, w = images.shape[2:]
    rows = []
    for y in range(0, h, P):
        rows.append(torch.stack([images[:, :, y : y + P, x : x + P] for x in range(0, w, P)], dim=1))
    return torch.stack(rows, dim=1)


# --- 03 ----------------------------------------------------------------------------------


@planted("ungather", "Top-right and bottom-left have changed places")
def in_reading_order(x):
    B, H, W, C = x.shape
    return x.view(B, H, W, 2, 2, C // 4).transpose(2, 3).reshape(B, 2 * H, 2 * W, C // 4)


@planted("ungather", "you take every fourth number")
def every_fourth(x):
    B, H, W, C4 = x.shape
    out = torch.zeros(B, 2 * H, 2 * W, C4 // 4)
    for n, (row, col) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
        out[:, row::2, col::2] = x[..., n::4]
    return out


@planted("ungather", "You lay the four maps side by side")
def as_quadrants(x):
    B, H, W, C4 = x.shape
    C = C4 // 4
    out = torch.zeros(B, 2 * H, 2 * W, C)
    out[:, :H, :W], out[:, H:, :W] = x[..., :C], x[..., C : 2 * C]
    out[:, :H, W:], out[:, H:, W:] = x[..., 2 * C : 3 * C], x[..., 3 * C :]
    return out


@planted("ungather", "no number has moved")
def a_view_will_do(x):
    B, H, W, C4 = x.shape
    return x.view(B, 2 * H, 2 * W, -1)


@planted("mean_merge", "but you divide by 4")
def always_four(x):
    H, W = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, W % 2, 0, H % 2))
    return (x[:, 0::2, 0::2] + x[:, 1::2, 0::2] + x[:, 0::2, 1::2] + x[:, 1::2, 1::2]) / 4


@planted("mean_merge", "The last row or column of an odd side is dropped")
def drops_the_edge(x):
    return F.avg_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


@planted("mean_merge", "Count places, not values")
def counts_what_is_not_zero(x):
    H, W = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, W % 2, 0, H % 2))
    four = torch.stack([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]])
    return four.sum(dim=0) / (four != 0).sum(dim=0).clamp(min=1)


@planted("mean_merge", "the sum of the tokens, not their mean")
def forgets_to_divide(x):
    H, W = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, W % 2, 0, H % 2))
    return x[:, 0::2, 0::2] + x[:, 1::2, 0::2] + x[:, 0::2, 1::2] + x[:, 1::2, 1::2]


@planted("mean_merge", "Right for: even height and width. Not for odd height: your code stops")
def knows_even_sides_only(x):
    return (x[:, 0::2, 0::2] + x[:, 1::2, 0::2] + x[:, 0::2, 1::2] + x[:, 1::2, 1::2]) / 4


# --- 04 ----------------------------------------------------------------------------------


@planted("window_partition", "no number has moved: each 'window' is a run of the map's rows")
def views_only(x, M):
    B, H, W, C = x.shape
    return x.view(B, H // M, M, W // M, M, C).reshape(B, -1, M * M, C)


@planted("window_partition", "The windows are listed column by column")
def lists_columns_of_windows(x, M):
    windows = []
    for left in range(0, x.shape[2], M):
        for top in range(0, x.shape[1], M):
            windows.append(x[:, top : top + M, left : left + M].reshape(len(x), M * M, -1))
    return torch.stack(windows, 1)


@planted("window_partition", "The tokens inside each window are listed column by column")
def permutes_row_and_column(x, M):
    B, H, W, C = x.shape
    return x.view(B, H // M, M, W // M, M, C).permute(0, 1, 3, 4, 2, 5).reshape(B, -1, M * M, C)


@planted("window_partition", "The windows are scrambled")
def transposes_the_wrong_axes(x, M):
    B, H, W, C = x.shape
    x = x.view(B, H // M, M, W // M, M, C).permute(0, 2, 1, 3, 4, 5)
    return x.reshape(B, (H // M) * (W // M), M * M, C)


@planted("window_partition", "The tokens of a window lie far apart in the map")
def views_m_first(x, M):
    B, H, W, C = x.shape
    x = x.view(B, M, H // M, M, W // M, C)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(B, -1, M * M, C)


@planted("window_partition", "H and W have changed places")
def unpacks_width_first(x, M):
    B, W, H, C = x.shape
    x = x.view(B, H // M, M, W // M, M, C).transpose(2, 3)
    return x.reshape(B, -1, M * M, C)


@planted("window_partition", "The windows of different pictures are mixed")
def stacks_on_the_batch(x, M):
    B, H, W, C = x.shape
    rows = x.unfold(1, M, M).unfold(2, M, M).permute(1, 2, 0, 4, 5, 3)  # (H/M, W/M, B, M, M, C)
    return rows.reshape(B, -1, M * M, C)


@planted("window_partition", "The windows of all pictures are in one axis")
def as_in_the_official_code(x, window_size):
    B, H, W, C = x.shape
    x = x.view(B, H // window_size, window_size, W // window_size, window_size, C)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, window_size * window_size, C)


@planted("window_partition", "You return (B, N, nW, C)")
def tokens_before_windows(x, M):
    B, H, W, C = x.shape
    x = x.view(B, H // M, M, W // M, M, C).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(B, M * M, -1, C)


@planted("window_partition", "rows and columns are still axes of their own")
def leaves_windows_square(x, M):
    B, H, W, C = x.shape
    return x.view(B, H // M, M, W // M, M, C).transpose(2, 3).reshape(B, -1, M, M, C)


@cheats("window_partition", "the package's `window_partition`")
def asks_the_package(x, M):
    return window_partition(x, M)


@cheats("window_partition", "You visit the windows in a loop")
def cuts_window_after_window(x, M):
    H, W = x.shape[1:3]
    corners = [(top, left) for top in range(0, H, M) for left in range(0, W, M)]
    return torch.stack([x[:, y : y + M, z : z + M].flatten(1, 2) for y, z in corners], 1)


@planted("partition_channels_first", "a transpose is missing")
def forgets_the_transpose(x, M):
    B, C, H, W = x.shape
    x = x.permute(0, 2, 3, 1).reshape(B, H // M, M, W // M, M, C)
    return x.flatten(3, 4).flatten(1, 2).reshape(B, -1, M * M, C)


@planted("partition_channels_first", "only read as (N, C)")
def reads_channels_as_tokens(x, M):
    B, C, H, W = x.shape
    x = x.view(B, C, H // M, M, W // M, M).permute(0, 2, 4, 1, 3, 5)  # (B, H/M, W/M, C, M, M)
    return x.reshape(B, -1, M * M, C)


@planted("partition_channels_first", "The channels still stand before the tokens")
def channels_before_tokens(x, M):
    B, C, H, W = x.shape
    x = x.view(B, C, H // M, M, W // M, M).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(B, -1, C, M * M)


@planted("partition_channels_first", "The windows are numbered column by column")
def column_of_windows_first(x, M):
    B, C, H, W = x.shape
    windows = []
    for left in range(0, W, M):
        for top in range(0, H, M):
            windows.append(x[:, :, top : top + M, left : left + M].flatten(2).transpose(1, 2))
    return torch.stack(windows, dim=1)


@planted("partition_channels_first", "The tokens inside each window are numbered column by column")
def column_of_tokens_first(x, M):
    B, C, H, W = x.shape
    x = x.view(B, C, H // M, M, W // M, M).permute(0, 2, 4, 5, 3, 1)
    return x.reshape(B, -1, M * M, C)


@planted("partition_channels_first", "Right for: a square map. Not for a map wider than high")
def takes_width_for_height(x, M):
    B, C, H, W = x.shape
    x = x.permute(0, 2, 3, 1).reshape(B, W // M, M, H // M, M, C)
    return x.transpose(2, 3).reshape(B, -1, M * M, C)


@cheats("partition_channels_first", "You visit the windows in a loop")
def windows_in_a_loop(x, M):
    windows = [
        x[:, :, top : top + M, left : left + M].flatten(2).mT
        for top in range(0, x.shape[2], M)
        for left in range(0, x.shape[3], M)
    ]
    return torch.stack(windows, dim=1)


@cheats("reverse_rectangles", "You visit the windows in a loop")
def lays_windows_in_a_loop(windows, height, width, H, W):
    out = torch.zeros(windows.shape[0], H, W, windows.shape[-1])
    for number in range(windows.shape[1]):
        top, left = number // (W // width) * height, number % (W // width) * width
        out[:, top : top + height, left : left + width] = windows[:, number].unflatten(1, (height, width))
    return out


@planted("window_for_budget", "You count attention between all pairs of tokens of the map")
def uses_equation_1(side, C, budget):
    cost = 4 * side * side * C * C + 2 * (side * side) ** 2 * C
    best = 0
    for M in range(1, side + 1):
        if side % M == 0 and cost <= budget:
            best = M
    return best


@planted("window_for_budget", "How many tokens has a window?")
def forgets_the_square(side, C, budget):
    tokens = side * side
    fits = [
        M for M in range(1, side + 1) if side % M == 0 and 4 * tokens * C**2 + 2 * M * tokens * C <= budget
    ]
    return fits[-1] if fits else 0


@planted("window_for_budget", "M must divide the side")
def forgets_to_divide_the_side(side, C, budget):
    M = 0
    while M < side and side**2 * (4 * C**2 + 2 * (M + 1) ** 2 * C) <= budget:
        M += 1
    return M


@planted("window_for_budget", "uses up the budget exactly is allowed")
def demands_less_than_the_budget(side, C, budget):
    best = 0
    for M in range(1, side + 1):
        if side % M == 0 and side**2 * (4 * C**2 + 2 * M**2 * C) < budget:
            best = M
    return best


@planted("window_for_budget", "You return the smallest window")
def returns_at_once(side, C, budget):
    for M in range(1, side + 1):
        if side % M == 0 and side**2 * (4 * C**2 + 2 * M**2 * C) <= budget:
            return M
    return 0


@planted("reverse_rectangles", "every window has become a run of rows")
def one_reshape(windows, height, width, H, W):
    B, nW, N, C = windows.shape
    return windows.reshape(B, H, W, C)


@planted("reverse_rectangles", "Height and width of the window have changed places")
def width_before_height(windows, height, width, H, W):
    B, nW, N, C = windows.shape
    x = windows.view(B, H // width, W // height, width, height, C)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(B, H, W, C)


@planted("reverse_rectangles", "The tokens of each window are laid out column by column")
def lays_columns(windows, height, width, H, W):
    out = torch.zeros(windows.shape[0], H, W, windows.shape[-1])
    for number in range(windows.shape[1]):
        top, left = number // (W // width) * height, number % (W // width) * width
        for token in range(height * width):
            out[:, top + token % height, left + token // height] = windows[:, number, token]
    return out


@planted("reverse_rectangles", "You lay the windows out column by column")
def lays_windows_in_columns(windows, height, width, H, W):
    out = torch.zeros(windows.shape[0], H, W, windows.shape[-1])
    for number in range(windows.shape[1]):
        left, top = number // (H // height) * width, number % (H // height) * height
        block = windows[:, number].unflatten(1, (height, width))
        out[:, top : top + height, left : left + width] = block
    return out


@planted("reverse_rectangles", "square windows, a map wider than high. Not for windows wider than high")
def knows_square_windows_only(windows, height, width, H, W):
    B, nW, N, C = windows.shape
    M = round(N**0.5)
    x = windows.view(B, H // M, W // M, M, M, C)
    return x.transpose(2, 3).reshape(B, H, W, C)


# --- 05 ----------------------------------------------------------------------------------


@planted("stable_softmax", "float32 cannot hold exp(100)")
def by_hand_again(scores):
    weights = torch.exp(scores)
    return weights / weights.sum(-1, keepdim=True)


@planted("stable_softmax", "You subtract one number from all rows")
def one_maximum_for_all(scores):
    e = torch.exp(scores - torch.max(scores))
    return e / e.sum(-1, keepdim=True)


@planted("stable_softmax", "You subtract the mean of each row")
def subtracts_the_mean(scores):
    e = (scores - scores.mean(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)


@planted("stable_softmax", "The columns add up to 1, not the rows")
def over_the_wrong_axis(scores):
    e = (scores - scores.amax(dim=-2, keepdim=True)).exp()
    return e / e.sum(dim=-2, keepdim=True)


@planted("stable_softmax", "You cut large scores off")
def cuts_off(scores):
    e = scores.clamp(-80, 80).exp()
    return e / e.sum(-1, keepdim=True)


@planted("stable_softmax", "do not add up to 1")
def forgets_to_normalise(scores):
    return (scores - scores.amax(dim=-1, keepdim=True)).exp()


@planted("stable_softmax", "the nan is hidden behind another number")
def hides_nan(scores):
    e = scores.exp()
    return torch.nan_to_num(e / e.sum(-1, keepdim=True))


@planted_alike("stable_softmax", "the nan is hidden behind another number")
def hides_nan_behind_one(scores):
    e = scores.exp()
    return torch.nan_to_num(e / e.sum(-1, keepdim=True), nan=1.0)


@cheats("stable_softmax", "PyTorch's `softmax` makes the weights")
def calls_softmax(scores):
    return scores.softmax(-1)


@cheats("stable_softmax", "PyTorch's `softmax` makes the weights")
def calls_softmax_by_another_name(scores):
    return torch.nn.LogSoftmax(dim=-1)(scores).exp()


@cheats("stable_softmax", "the answer inside the check")
def calls_the_answer(scores):
    return check.stable_softmax.answer(scores)


@cheats("one_head", "You compute all heads and keep one")
def all_heads_at_once(x, weight, bias, heads, head):
    q, k, _ = F.linear(x, weight, bias).unflatten(-1, (3, heads, -1))[..., head, :].unbind(-2)
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)


@cheats("attend_in_chunks", "You put the chunks together again")
def glues_the_chunks(q, chunks):
    keys, values = (torch.cat(parts) for parts in zip(*chunks))
    return scores_of(q, keys).softmax(-1) @ values


@planted("one_head", "You take q, k and v of one head from neighbouring rows")
def head_by_head(x, weight, bias, heads, head):
    d = x.shape[-1] // heads
    start = head * 3 * d
    q = x @ weight[start : start + d].T + bias[start : start + d]
    k = x @ weight[start + d : start + 2 * d].T + bias[start + d : start + 2 * d]
    return (q @ k.transpose(2, 3) / d**0.5).softmax(-1)


def rows_of(x, weight, bias, heads, head, part):
    C = x.shape[-1]
    d = C // heads
    rows = slice(part * C + head * d, part * C + (head + 1) * d)
    return F.linear(x, weight[rows], bias[rows])


@planted("one_head", "The scores are not divided by sqrt(d)")
def forgets_the_root(x, weight, bias, heads, head):
    q, k = (rows_of(x, weight, bias, heads, head, part) for part in (0, 1))
    return (q @ k.mT).softmax(-1)


@planted("one_head", "You divide by sqrt(C)")
def root_of_all_channels(x, weight, bias, heads, head):
    q, k = (rows_of(x, weight, bias, heads, head, part) for part in (0, 1))
    return (q @ k.mT / math.sqrt(x.shape[-1])).softmax(-1)


@planted("one_head", "softmax runs over the queries instead of the keys")
def softmax_over_queries(x, weight, bias, heads, head):
    q, k = (rows_of(x, weight, bias, heads, head, part) for part in (0, 1))
    return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(2)


@planted("one_head", "Query and key have changed places")
def keys_look_at_queries(x, weight, bias, heads, head):
    q, k = (rows_of(x, weight, bias, heads, head, part) for part in (0, 1))
    return (k @ q.mT / math.sqrt(q.shape[-1])).softmax(-1)


@planted("one_head", "The bias of the linear map is forgotten")
def only_the_matrix(x, weight, bias, heads, head):
    q, k = (rows_of(x, weight, 0 * bias, heads, head, part) for part in (0, 1))
    return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)


def scores_of(q, keys):
    return q @ keys.T / q.shape[1] ** 0.5


@planted("attend_in_chunks", "You take the mean of the chunks' outputs")
def averages_chunks(q, chunks):
    out = 0
    for keys, values in chunks:
        out = out + scores_of(q, keys).softmax(-1) @ values
    return out / len(chunks)


@planted("attend_in_chunks", "Scores in the hundreds give nan")
def without_a_maximum(q, chunks):
    above, below = torch.zeros_like(q), torch.zeros(len(q), 1)
    for keys, values in chunks:
        e = scores_of(q, keys).exp()
        above, below = above + e @ values, below + e.sum(-1, keepdim=True)
    return above / below


@planted("attend_in_chunks", "Both have to be brought to the new one")
def never_rescales(q, chunks):
    above, below = torch.zeros_like(q), torch.zeros(len(q), 1)
    top = torch.full((len(q), 1), float("-inf"))
    for keys, values in chunks:
        scores = scores_of(q, keys)
        top = torch.maximum(top, scores.max(dim=-1, keepdim=True).values)
        e = torch.exp(scores - top)
        above += e @ values
        below += e.sum(dim=-1, keepdim=True)
    return above / below


@planted("attend_in_chunks", "The sum of values needs the same factor")
def rescales_half(q, chunks):
    above, below = torch.zeros_like(q), torch.zeros(len(q), 1)
    top = torch.full((len(q), 1), float("-inf"))
    for keys, values in chunks:
        scores = scores_of(q, keys)
        new = torch.maximum(top, scores.max(dim=-1, keepdim=True).values)
        e = torch.exp(scores - new)
        above += e @ values
        below = below * torch.exp(top - new) + e.sum(dim=-1, keepdim=True)
        top = new
    return above / below


@planted("attend_in_chunks", "Does `return` stand inside the loop?")
def returns_too_early(q, chunks):
    for keys, values in chunks:
        return scores_of(q, keys).softmax(-1) @ values


def with_a_maximum_from_0(q, chunks):
    above, below = torch.zeros_like(q), torch.zeros(len(q), 1)
    top = torch.zeros(len(q), 1)
    for keys, values in chunks:
        scores = scores_of(q, keys)
        new = torch.maximum(top, scores.max(dim=-1, keepdim=True).values)
        e, factor = torch.exp(scores - new), torch.exp(top - new)
        above = above * factor + e @ values
        below = below * factor + e.sum(dim=-1, keepdim=True)
        top = new
    return above / below


planted("attend_in_chunks", "every exp is 0, and 0 / 0 is nan")(with_a_maximum_from_0)


@planted("attend_in_chunks", "the nan of 0 / 0 is hidden")
def hides_nan_of_chunks(q, chunks):
    return with_a_maximum_from_0(q, chunks).nan_to_num()


@planted("attend_in_chunks", "it is hidden behind 0")
def hides_nan_without_a_maximum(q, chunks):
    return without_a_maximum(q, chunks).nan_to_num()


# --- 06 ----------------------------------------------------------------------------------


@planted("favourite_offset", "Your offsets are never negative")
def forgets_the_middle(table):
    side = int(len(table) ** 0.5)
    best = table.argmax().item()
    return best // side, best % side


@planted("favourite_offset", "dy and dx have changed places")
def dx_first(table):
    side = int(len(table) ** 0.5)
    best = table.argmax().item()
    return best % side - side // 2, best // side - side // 2


@planted("favourite_offset", "You search for the largest absolute value")
def by_size(table):
    side = int(len(table) ** 0.5)
    best = int(table.abs().argmax())
    return best // side - side // 2, best % side - side // 2


@planted("favourite_offset", "you return key minus query")
def key_minus_query(table):
    side = int(len(table) ** 0.5)
    row, column = divmod(int(table.argmax()), side)
    return side // 2 - row, side // 2 - column


@planted("favourite_offset", "in place 0 you return a tensor, expected a plain Python number")
def returns_tensors(table):
    side = int(len(table) ** 0.5)
    best = table.argmax()
    return best // side - side // 2, best % side - side // 2


@planted("index_of_rectangle", "9 offsets share 5 numbers")
def adds_only(height, width):
    rows, columns = torch.arange(height * width) // width, torch.arange(height * width) % width
    dy = rows[:, None] - rows + height - 1
    dx = columns[:, None] - columns + width - 1
    return dy + dx


@planted("index_of_rectangle", "The leading digit needs room for all values of the other one")
def multiplies_by_the_wrong_side(height, width):
    rows, columns = torch.arange(height * width) // width, torch.arange(height * width) % width
    dy = rows[:, None] - rows + height - 1
    dx = columns[:, None] - columns + width - 1
    return dy * (2 * height - 1) + dx


@planted("index_of_rectangle", "Brackets are missing")
def forgets_brackets(height, width):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    y, x = y.flatten(), x.flatten()
    dy, dx = y[:, None] - y + height - 1, x[:, None] - x + width - 1
    return dy * 2 * width - 1 + dx


@planted("index_of_rectangle", "The offset is reversed")
def the_wrong_way_round(height, width):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    y, x = y.flatten(), x.flatten()
    return (y[None, :] - y[:, None] + height - 1) * (2 * width - 1) + x[None, :] - x[:, None] + width - 1


@planted("index_of_rectangle", "Some numbers are negative")
def forgets_to_shift(height, width):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y[None, :]) * (2 * width - 1) + x[:, None] - x[None, :]


@planted("index_of_rectangle", "How many tokens stand in one row?")
def divides_by_the_height(height, width):
    index = torch.zeros(height * width, height * width, dtype=torch.int64)
    for i in range(height * width):
        for j in range(height * width):
            dy, dx = i // height - j // height, i % height - j % height
            index[i, j] = (dy + height - 1) * (2 * width - 1) + dx + width - 1
    return index


@planted("index_of_rectangle", "the numbers are of type torch.float32, expected torch.int64")
def index_of_floats(height, width):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    y, x = y.flatten().float(), x.flatten().float()
    return (y[:, None] - y + height - 1) * (2 * width - 1) + x[:, None] - x + width - 1


@planted("index_of_rectangle", "Right for: 2 x 2. Not for 2 x 3: you return the shape (4, 4)")
def only_for_squares(height, width):
    return relative_position_index(height)


@planted("index_of_rectangle", "Height and width have changed places")
def swaps_height_and_width(height, width):
    y, x = torch.meshgrid(torch.arange(width), torch.arange(height), indexing="ij")
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y + width - 1) * (2 * height - 1) + x[:, None] - x + height - 1


@cheats("index_of_rectangle", "You visit the pairs in a loop")
def index_in_a_loop(height, width):
    places = [divmod(token, width) for token in range(height * width)]
    return torch.tensor(
        [[(a - c + height - 1) * (2 * width - 1) + b - d + width - 1 for c, d in places] for a, b in places]
    )


@planted("resize_table", "By what is it multiplied?")
def forgets_the_multiplier(table, M, m):
    dy, dx = torch.meshgrid(torch.arange(1 - m, m), torch.arange(1 - m, m), indexing="ij")
    dy, dx = dy.flatten().clamp(1 - M, M - 1), dx.flatten().clamp(1 - M, M - 1)
    return table[(dy + M - 1) + (dx + M - 1)]


@planted("resize_table", "You take the first rows of the table")
def first_rows(table, M, m):
    return table[: (2 * m - 1) * (2 * m - 1)]


@planted("resize_table", "You cut from the corner")
def from_the_corner(table, M, m):
    square = table.unflatten(0, (2 * M - 1, 2 * M - 1))
    side = 2 * m - 1
    return square[:side, :side].reshape(-1, table.shape[1])


@planted("resize_table", "One step must remain one step")
def stretches(table, M, m):
    picture = table.T.reshape(1, -1, 2 * M - 1, 2 * M - 1)
    return F.interpolate(picture, size=2 * m - 1).reshape(table.shape[1], -1).T


@planted("resize_table", "Offsets that the old table does not know get 0")
def zeros_for_unknown(table, M, m):
    new = torch.zeros((2 * m - 1) ** 2, table.shape[1])
    for n, (dy, dx) in enumerate((dy, dx) for dy in range(-m + 1, m) for dx in range(-m + 1, m)):
        if abs(dy) < M and abs(dx) < M:
            new[n] = table[(dy + M - 1) * (2 * M - 1) + dx + M - 1]
    return new


@planted("resize_table", "Right for: the same window; a smaller window. Not for a larger window")
def only_smaller(table, M, m):
    square, cut = table.unflatten(0, (2 * M - 1, 2 * M - 1)), M - m
    return square[cut : 2 * M - 1 - cut, cut : 2 * M - 1 - cut].flatten(0, 1)


# --- 07 ----------------------------------------------------------------------------------


@planted("cyclic_shift", "The map moves down and right")
def the_other_direction(x, shift):
    H, W = x.shape[1:3]
    x = torch.cat([x[:, H - shift :], x[:, : H - shift]], dim=1)
    return torch.cat([x[:, :, W - shift :], x[:, :, : W - shift]], dim=2)


@planted("cyclic_shift", "Only the rows move")
def rows_only(x, shift):
    return torch.cat([x[:, shift:], x[:, :shift]], dim=1)


@planted("cyclic_shift", "zeros do")
def nothing_comes_back(x, shift):
    out = torch.zeros_like(x)
    H, W = x.shape[1:3]
    out[:, : H - shift, : W - shift] = x[:, shift:, shift:]
    return out


@planted("cyclic_shift", "You shift the batch and the rows")
def wrong_axes(x, shift):
    shift_b = shift % len(x)
    x = torch.cat([x[shift_b:], x[:shift_b]])
    return torch.cat([x[:, shift:], x[:, :shift]], dim=1)


@planted(
    "cyclic_shift",
    "Right for 3 of 4 inputs. Not for shift 0: your code stops at",
)
def negative_slices(x, shift):
    H, W = x.shape[1:3]
    moved = x.clone()
    moved[:, :-shift], moved[:, -shift:] = x[:, shift:], x[:, :shift]
    out = moved.clone()
    out[:, :, :-shift], out[:, :, -shift:] = moved[:, :, shift:], moved[:, :, :shift]
    return out


@cheats("cyclic_shift", "`roll` moves the map")
def rolls_the_map(x, shift):
    return x.roll((-shift, -shift), (1, 2))


def rolled_places(H, W, M, shift):
    """-> rows and columns before the roll, cut into windows: (nW, N) each"""
    rows = torch.arange(H).roll(-shift)[:, None].expand(H, W)
    columns = torch.arange(W).roll(-shift)[None, :].expand(H, W)
    return [window_partition(t[None, ..., None], M)[0, ..., 0] for t in (rows, columns)]


@planted("mask_by_distance", "The mask's sign is flipped")
def true_forbids(H, W, M, shift):
    far = [(t[:, :, None] - t[:, None, :]).abs() >= M for t in rolled_places(H, W, M, shift)]
    return far[0] | far[1]


@planted("mask_by_distance", "No pair is forbidden")
def forgets_to_roll(H, W, M, shift):
    near = [(t[:, :, None] - t[:, None, :]).abs() < M for t in rolled_places(H, W, M, 0)]
    return near[0] & near[1]


@planted("mask_by_distance", "Height and width have changed places")
def swaps_the_sides_of_the_map(H, W, M, shift):
    near = [(t[:, :, None] - t[:, None, :]).abs() < M for t in rolled_places(W, H, M, shift)]
    return near[0] & near[1]


@cheats("mask_by_distance", "`shifted_window_mask` makes the mask")
def imports_the_mask(H, W, M, shift):
    return shifted_window_mask(H, W, M, shift)


@planted("mask_by_distance", "Only the rows count")
def rows_alone(H, W, M, shift):
    rows, _ = rolled_places(H, W, M, shift)
    return (rows[:, :, None] - rows[:, None, :]).abs() < M


@planted("mask_by_distance", "You allow a pair when one of its distances is small")
def either_will_do(H, W, M, shift):
    near = [(t[:, :, None] - t[:, None, :]).abs() < M for t in rolled_places(H, W, M, shift)]
    return near[0] | near[1]


@planted("mask_by_distance", "The positions are rolled the wrong way")
def rolls_down(H, W, M, shift):
    near = [(t[:, :, None] - t[:, None, :]).abs() < M for t in rolled_places(H, W, M, -shift)]
    return near[0] & near[1]


@planted("mask_by_distance", "Your windows are consecutive tokens of the map's rows")
def cuts_by_view(H, W, M, shift):
    rows, columns = torch.arange(H).roll(-shift), torch.arange(W).roll(-shift)
    places = torch.cartesian_prod(rows, columns).view(-1, M * M, 2)
    return ((places[:, :, None] - places[:, None]).abs() < M).all(-1)


@planted("attend_any_size", "tokens that the roll has brought together attend to each other")
def without_a_mask(attn, x, shift):
    H, W, M = x.shape[1], x.shape[2], attn.window_size
    sh, sw = (0 if H <= M else shift), (0 if W <= M else shift)
    y = F.pad(x, (0, 0, 0, -W % M, 0, -H % M)).roll((-sh, -sw), (1, 2))
    y = window_reverse(attn(window_partition(y, M)), M, *y.shape[1:3])
    return y.roll((sh, sw), (1, 2))[:, :H, :W]


@planted("attend_any_size", "The mask's sign is flipped")
def forbids_what_is_allowed(attn, x, shift):
    H, W, M = x.shape[1], x.shape[2], attn.window_size
    sh, sw = (0 if H <= M else shift), (0 if W <= M else shift)
    y = F.pad(x, (0, 0, 0, -W % M, 0, -H % M)).roll((-sh, -sw), (1, 2))
    forbidden = shifted_window_mask(H, W, M, shift).logical_not()
    y = window_reverse(attn(window_partition(y, M), forbidden), M, *y.shape[1:3])
    return y.roll((sh, sw), (1, 2))[:, :H, :W]


@planted("attend_any_size", "The shift is not undone")
def never_rolls_back(attn, x, shift):
    H, W, M = x.shape[1], x.shape[2], attn.window_size
    sh, sw = (0 if H <= M else shift), (0 if W <= M else shift)
    y = F.pad(x, (0, 0, 0, -W % M, 0, -H % M)).roll((-sh, -sw), (1, 2))
    y = attn(window_partition(y, M), shifted_window_mask(H, W, M, shift))
    return window_reverse(y, M, H + -H % M, W + -W % M)[:, :H, :W]


@planted("attend_any_size", "You roll before you pad")
def rolls_first(attn, x, shift):
    H, W, M = x.shape[1], x.shape[2], attn.window_size
    sh, sw = (0 if H <= M else shift), (0 if W <= M else shift)
    y = torch.roll(x, (-sh, -sw), dims=(1, 2))
    y = F.pad(y, (0, 0, 0, -W % M, 0, -H % M))
    y = window_reverse(attn(window_partition(y, M), shifted_window_mask(H, W, M, shift)), M, *y.shape[1:3])
    return torch.roll(y, (sh, sw), dims=(1, 2))[:, :H, :W]


@planted("attend_any_size", "You crop before you roll back")
def crops_first(attn, x, shift):
    H, W, M = x.shape[1], x.shape[2], attn.window_size
    sh, sw = (0 if H <= M else shift), (0 if W <= M else shift)
    y = F.pad(x, (0, 0, 0, -W % M, 0, -H % M)).roll((-sh, -sw), (1, 2))
    y = window_reverse(attn(window_partition(y, M), shifted_window_mask(H, W, M, shift)), M, *y.shape[1:3])
    return y[:, :H, :W].roll((sh, sw), (1, 2))


@planted("attend_any_size", "it does not know which tokens are padding")
def mask_of_the_padded_map(attn, x, shift):
    H, W, M = x.shape[1], x.shape[2], attn.window_size
    sh, sw = (0 if H <= M else shift), (0 if W <= M else shift)
    y = F.pad(x, (0, 0, 0, -W % M, 0, -H % M)).roll((-sh, -sw), (1, 2))
    mask = shifted_window_mask(y.shape[1], y.shape[2], M, shift)
    y = window_reverse(attn(window_partition(y, M), mask), M, *y.shape[1:3])
    return y.roll((sh, sw), (1, 2))[:, :H, :W]


@planted("attend_any_size", "An axis that one window covers is shifted")
def shifts_every_axis(attn, x, shift):
    H, W, M = x.shape[1], x.shape[2], attn.window_size
    y = F.pad(x, (0, 0, 0, -W % M, 0, -H % M)).roll((-shift, -shift), (1, 2))
    y = window_reverse(attn(window_partition(y, M), shifted_window_mask(H, W, M, shift)), M, *y.shape[1:3])
    return y.roll((shift, shift), (1, 2))[:, :H, :W]


@planted(
    "attend_any_size",
    "Right for 3 of 6 inputs. Not for 6 x 7 tokens, shift 2. The mask is made for the padded",
)
def makes_two_mistakes(attn, x, shift):
    H, W, M = x.shape[1], x.shape[2], attn.window_size
    y = F.pad(x, (0, 0, 0, -W % M, 0, -H % M)).roll((-shift, -shift), (1, 2))
    mask = shifted_window_mask(y.shape[1], y.shape[2], M, shift)
    y = window_reverse(attn(window_partition(y, M), mask), M, *y.shape[1:3])
    return y.roll((shift, shift), (1, 2))[:, :H, :W]


@planted("attend_any_size", "Right for 4 of 6 inputs. Not for 6 x 7 tokens, shift 2: your code stops at")
def knows_maps_that_fit_only(attn, x, shift):
    H, W, M = x.shape[1], x.shape[2], attn.window_size
    sh, sw = (0 if H <= M else shift), (0 if W <= M else shift)
    y = attn(window_partition(x.roll((-sh, -sw), (1, 2)), M), shifted_window_mask(H, W, M, shift))
    return window_reverse(y, M, H, W).roll((sh, sw), (1, 2))


# --- 08 ----------------------------------------------------------------------------------


@planted("drop_rates", "The last block does not reach the full rate")
def divides_by_n(rate, depths):
    n, out, i = sum(depths), [], 0
    for depth in depths:
        out.append([])
        for _ in range(depth):
            out[-1].append(i / n * rate)
            i += 1
    return out


@planted("drop_rates", "Every stage begins at 0 again")
def starts_again(rate, depths):
    return [[rate * i / (depth - 1) if depth > 1 else 0.0 for i in range(depth)] for depth in depths]


@planted("drop_rates", "The list is flat")
def one_list(rate, depths):
    return [float(r) for r in torch.linspace(0, rate, sum(depths))]


@planted("drop_rates", "All blocks of a stage have the same rate")
def one_rate_per_stage(rate, depths):
    return [[float(r)] * depth for r, depth in zip(torch.linspace(0, rate, len(depths)), depths)]


@planted("drop_rates", "Not for a single block: your code stops at")
def divides_by_zero(rate, depths):
    n, out, i = sum(depths), [], 0
    for depth in depths:
        out.append([rate * (i + j) / (n - 1) for j in range(depth)])
        i += depth
    return out


def rename(name, place, blocks, merging):
    """features.<place>.rest -> ours, by two formats for odd and even places"""
    rest = name.split(".", 2)[2]
    rest = rest.replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")
    return (blocks if place % 2 else merging) + rest


def embedding_or_end(name):
    return name.replace("features.0.0", "patch_embed.proj").replace("features.0.2", "patch_embed.norm")


@planted("our_name", "You use torchvision's number as the number of the stage")
def stage_is_place(name):
    if not name.startswith("features.") or name.startswith("features.0"):
        return embedding_or_end(name)
    place = int(name.split(".")[1])
    return rename(name, place, f"stages.{place}.blocks.", f"stages.{place}.downsample.")


@planted("our_name", "You give a merging to the stage before it")
def merging_ends_a_stage(name):
    if not name.startswith("features.") or name.startswith("features.0"):
        return embedding_or_end(name)
    place = int(name.split(".")[1])
    stage = (place - 1) // 2
    return rename(name, place, f"stages.{stage}.blocks.", f"stages.{stage}.downsample.")


@planted("our_name", "The layers of the MLP keep their numbers")
def forgets_the_mlp(name):
    if not name.startswith("features.") or name.startswith("features.0"):
        return embedding_or_end(name)
    _, place, rest = name.split(".", 2)
    part = "blocks" if int(place) % 2 else "downsample"
    return f"stages.{int(place) // 2}.{part}.{rest}"


@planted("our_name", "The number of a block can have two digits")
def reads_one_digit(name):
    found = re.match(r"features\.(\d)\.(\d)(.*)", name)
    if found and found[1] != "0" and int(found[1]) % 2:
        rest = found[3].lstrip("0123456789").replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")
        return f"stages.{int(found[1]) // 2}.blocks.{found[2]}{rest}"
    found = re.match(r"features\.([246])\.(.*)", name)
    return f"stages.{int(found[1]) // 2}.downsample.{found[2]}" if found else embedding_or_end(name)


@planted("our_name", "features.0 is the patch embedding")
def forgets_the_embedding(name):
    if not name.startswith("features.") or name.startswith("features.0"):
        return name
    place = int(name.split(".")[1])
    return rename(name, place, f"stages.{place // 2}.blocks.", f"stages.{place // 2}.downsample.")


@cheats("our_name", "The package's own function finds the names")
def imports_the_names(name):
    return names_of_the_package()[name]


@cache
def names_of_the_package():
    return {torchvision_name(ours): ours for ours in create_model("swin_s").state_dict()}


@planted("add_branch", "A kept picture becomes its branch alone. The branch is added to x")
def forgets_to_add(x, branch, kept, p):
    out = x.clone()
    out[kept] = branch(x[kept]) / (1 - p)
    return out


@planted("add_branch", "The branch is divided by 1 - p, and added")
def forgets_to_add_and_scale(x, branch, kept, p):
    out = x.clone()
    out[kept] = branch(x[kept])
    return out


@planted("add_branch", "the branch has worked on all pictures")
def multiplies_by_the_coins(x, branch, kept, p):
    coins = kept.view(-1, *[1] * (x.ndim - 1)).float()
    return x + branch(x) * coins / (1 - p)


@planted("add_branch", "The branch is not divided by 1 - p")
def forgets_to_scale(x, branch, kept, p):
    out = x.clone()
    out[kept] += branch(x[kept])
    return out


@planted("add_branch", "The function changes its input")
def adds_in_place(x, branch, kept, p):
    x[kept] += branch(x[kept]) / (1 - p)
    return x


@planted("add_branch", "has become 0")
def starts_from_zeros(x, branch, kept, p):
    out = torch.zeros_like(x)
    out[kept] = x[kept] + branch(x[kept]) / (1 - p)
    return out


@planted("add_branch", "The pictures have changed their order")
def glues(x, branch, kept, p):
    return torch.cat((x[kept] + branch(x[kept]) / (1 - p), x[~kept]), dim=0)


@planted("add_branch", "x itself is divided by 1 - p as well")
def scales_both(x, branch, kept, p):
    out = x.clone()
    y = x[kept]
    out[kept] = (y + branch(y)) / (1 - p)
    return out


# --- 09 ----------------------------------------------------------------------------------


@planted("trapezoid", "The first step has the rate 0")
def begins_with_zero(step, total, warmup, cooldown, peak):
    if step < warmup:
        return peak * step / warmup
    return peak * min(1, (total - step) / (cooldown + 1))


@planted("trapezoid", "The last step has the rate 0")
def ends_with_zero(step, total, warmup, cooldown, peak):
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if step >= total - cooldown:
        return peak * (total - 1 - step) / cooldown
    return peak


@planted("trapezoid", "The rate never falls")
def warms_up_only(step, total, warmup, cooldown, peak):
    return min(peak, peak * (step + 1) / (warmup + 1))


@planted("trapezoid", "Asked for are straight lines")
def cools_along_a_cosine(step, total, warmup, cooldown, peak):
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if step < total - cooldown:
        return peak
    share = (step - (total - cooldown) + 1) / (cooldown + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * share))


@planted("trapezoid", "The cool-down begins with the peak")
def cools_a_step_late(step, total, warmup, cooldown, peak):
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    into = step - (total - cooldown)
    return peak * (1 - into / cooldown) if into >= 0 else peak


@planted("clip_by_hand", "Every tensor is clipped by itself")
def one_by_one(gradients, max_norm):
    out = []
    for g in gradients:
        out.append(g * max_norm / g.norm() if g.norm() > max_norm else g)
    return out


@planted("clip_by_hand", "A short gradient is made longer")
def always_to_the_limit(gradients, max_norm):
    norm = torch.cat([g.reshape(-1) for g in gradients]).norm()
    return [g * max_norm / norm for g in gradients]


@planted("clip_by_hand", "Every single number is cut at the limit")
def clamps(gradients, max_norm):
    return [torch.clamp(g, min=-max_norm, max=max_norm) for g in gradients]


@planted("clip_by_hand", "You divide by the sum of squares")
def forgets_the_root_of_the_sum(gradients, max_norm):
    norm = sum((g**2).sum() for g in gradients)
    return [g / norm * max_norm if norm > max_norm else g for g in gradients]


@planted("clip_by_hand", "The function changes its input")
def clips_in_place(gradients, max_norm):
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    for g in gradients:
        g.mul_(min(1.0, max_norm / max(norm.item(), 1e-12)))
    return gradients


@cheats("clip_by_hand", "PyTorch's own function clips")
def calls_clip_grad_norm(gradients, max_norm):
    layers = [torch.nn.Parameter(g.clone()) for g in gradients]
    for layer in layers:
        layer.grad = layer.data.clone()
    torch.nn.utils.clip_grad_norm_(layers, max_norm)
    return [layer.grad for layer in layers]


@planted("accumulate", "a sum of means is no mean")
def adds_means(model, images, targets, parts):
    for p in model.parameters():
        p.grad = None
    for x, y in zip(images.tensor_split(parts), targets.tensor_split(parts)):
        F.cross_entropy(model(x), y).backward()


@planted("accumulate", "Every part counts alike")
def divides_by_parts(model, images, targets, parts):
    model.zero_grad()
    for x, y in zip(images.tensor_split(parts), targets.tensor_split(parts)):
        loss = F.cross_entropy(model(x), y) / parts
        loss.backward()


@planted("accumulate", "Only the last part counts")
def clears_in_the_loop(model, images, targets, parts):
    for x, y in zip(images.tensor_split(parts), targets.tensor_split(parts)):
        model.zero_grad()
        (F.cross_entropy(model(x), y, reduction="sum") / len(images)).backward()


@planted("accumulate", "An older gradient is still in the sum")
def never_clears(model, images, targets, parts):
    for x, y in zip(images.tensor_split(parts), targets.tensor_split(parts)):
        (F.cross_entropy(model(x), y, reduction="sum") / len(images)).backward()


@planted("accumulate", "the model has worked on the whole batch at once")
def takes_the_whole_batch(model, images, targets, parts):
    model.zero_grad()
    logits = model(images)
    losses = F.cross_entropy(logits, targets, reduction="none")
    losses.mean().backward()


# --- 14 ----------------------------------------------------------------------------------


def nine_regions(H, W, M, shift):
    regions = torch.zeros(H, W)
    for i, rows in enumerate((slice(0, -M), slice(-M, -shift), slice(-shift, None))):
        for j, columns in enumerate((slice(0, -M), slice(-M, -shift), slice(-shift, None))):
            regions[rows, columns] = 3 * i + j
    windows = window_partition(regions[None, :, :, None], M).view(-1, M * M)
    return windows.unsqueeze(1) - windows.unsqueeze(2)


@planted("additive_mask", "The forbidden pairs get all the weight")
def mask_as_found(H, W, M, shift):
    return torch.where(nine_regions(H, W, M, shift) != 0, 255.0, 0.0)


@planted("additive_mask", "a small handicap only, and still gets weight")
def adds_a_boolean(H, W, M, shift):
    return nine_regions(H, W, M, shift) == 0


@planted("additive_mask", "a soft mask")
def minus_hundred(H, W, M, shift):
    difference = nine_regions(H, W, M, shift)
    return difference.masked_fill(difference != 0, -100.0)


@planted("additive_mask", "0 times infinity")
def infinity_times_zero(H, W, M, shift):
    return (nine_regions(H, W, M, shift) != 0) * float("-inf")


@planted("additive_mask", "forbidden in one direction, and favoured in the other")
def only_a_minus(H, W, M, shift):
    return nine_regions(H, W, M, shift) * -255


def soft_mask(number, H, W, M, shift):
    return torch.where(nine_regions(H, W, M, shift) != 0, number, 0.0)


for number, says in (
    (-1.0, "a small handicap only"),
    (-20.0, "It works while the scores are small"),
    (-255.0, "It works while the scores are small"),
    (-500.0, "It works while the scores are small"),
    (-1e9, "It works while the scores are small"),
    (torch.finfo(torch.float32).min, "It works while the scores are small"),
):
    planted_alike("additive_mask", says)(partial(soft_mask, number))


@planted("additive_mask", "Of each pair only one direction is forbidden")
def forbids_one_direction(H, W, M, shift):
    return torch.zeros(()).where(nine_regions(H, W, M, shift) <= 0, -math.inf)


@planted("additive_mask", "Tokens left and right of the seam")
def forgets_the_columns(H, W, M, shift):
    around = (torch.arange(H) >= H - shift).view(1, H, 1, 1).expand(1, H, W, 1)
    around = window_partition(around, M)[0]  # (nW, N, 1)
    return torch.zeros(()).where(around == around.transpose(1, 2), -math.inf)


@planted("additive_mask", "No pair is forbidden")
def forbids_nothing(H, W, M, shift):
    return torch.zeros(H * W // M**2, M * M, M * M)


@planted("additive_mask", "nothing is returned")
def mask_without_return(H, W, M, shift):
    nine_regions(H, W, M, shift).log()


def right_mask(H, W, M, shift):
    return soft_mask(-math.inf, H, W, M, shift)


@planted("additive_mask", "you return a NumPy array, expected a tensor (nW, N, N) = (4, 16, 16)")
def mask_of_numpy(*sizes):
    return right_mask(*sizes).numpy()


@planted("additive_mask", "you return a list, expected a tensor (nW, N, N)")
def mask_of_lists(*sizes):
    return right_mask(*sizes).tolist()


@planted("additive_mask", "a tensor of torch.sparse_coo on cpu, expected a plain one")
def sparse_mask(*sizes):
    return right_mask(*sizes).to_sparse()


@planted("additive_mask", "of type torch.float16, expected torch.float32")
def half_mask(*sizes):
    return right_mask(*sizes).half()


@planted("additive_mask", "of type torch.float64, expected torch.float32")
def double_mask(*sizes):
    return right_mask(*sizes).double()


@planted("additive_mask", "you return the shape (16, 16), expected (nW, N, N) = (4, 16, 16)")
def mask_of_one_window(*sizes):
    return right_mask(*sizes)[-1]


@planted("received_attention", "The numbers are right and lie at wrong places")
def received_as_found(block, x):
    windows, mask = block.to_windows(block.norm1(x))
    received = block.attn.explicit_attention(windows, mask)[1].mean(dim=2).sum(dim=2)
    return window_reverse(received.unsqueeze(-1), block.window_size, *x.shape[1:3]).squeeze(-1)


@planted("received_attention", "they were 2 tokens too far, now they are 4")
def rolls_on(block, x):
    s = block.shift_size
    return received_as_found(block, x).roll((-s, -s), dims=(1, 2))


@planted("received_attention", "Where one window covers a side of the map")
def rolls_covered_axes_too(block, x):
    s = block.shift_size
    return torch.roll(received_as_found(block, x), (s, s), (1, 2))


@planted("received_attention", "You move the numbers while they lie in windows")
def rolls_windows(block, x):
    windows, mask = block.to_windows(block.norm1(x))
    received = block.attn.explicit_attention(windows, mask)[1].mean(dim=2).sum(dim=2)
    received = received.roll((block.shift_size, block.shift_size), dims=(1, 2))
    return window_reverse(received[..., None], block.window_size, *x.shape[1:3])[..., 0]


@planted("received_attention", "that is what it *gives*")
def gives(block, x):
    windows, mask = block.to_windows(block.norm1(x))
    received = block.attn.explicit_attention(windows, mask)[1].mean(dim=2).sum(dim=-1)
    return block.from_windows(received[..., None], *x.shape[1:3])[..., 0]


def right_received(block, x):
    windows, mask = block.to_windows(block.norm1(x))
    weights = block.attn.explicit_attention(windows, mask)[1]
    return block.from_windows(weights.mean(dim=2).sum(dim=2)[..., None], *x.shape[1:3])[..., 0]


@planted("received_attention", "You move the numbers by 2, whatever the block")
def rolls_by_two(block, x):
    return received_as_found(block, x).roll((2, 2), dims=(1, 2))


@planted("received_attention", "Not for a map one window wide. Where one window covers a side")
def rolls_columns_always(block, x):
    rows = block.shift_size if x.shape[1] > block.window_size else 0
    return received_as_found(block, x).roll((rows, block.shift_size), dims=(1, 2))


@planted(
    "received_attention", "changes the mask that `to_windows` hands out, which all blocks share (shift 2)"
)
def opens_the_mask(block, x):
    found = right_received(block, x)
    mask = block.to_windows(x)[1]
    if mask is not None:
        mask.fill_(True)
    return found


@planted("received_attention", "The function changes its input")
def clears_the_weights(block, x):
    found = right_received(block, x)
    block.attn.qkv.weight.zero_()
    return found


@planted("received_attention", "you return a NumPy array, expected a tensor (B, H, W)")
def received_as_numpy(block, x):
    return right_received(block, x).numpy()


@planted("received_attention", "of type torch.float64")
def received_as_double(block, x):
    return right_received(block, x).double()


@planted("drop_branch", "the same picture gets another answer each time")
def drop_as_found(x, drop_prob, training):
    if drop_prob == 0:
        return x
    keep = 1 - drop_prob
    coins = torch.empty(x.shape[0], 1, 1, 1).bernoulli_(keep)
    return x / keep * coins


@planted("drop_branch", "Now it is the other way round")
def flag_the_wrong_way_round(x, drop_prob, training):
    if drop_prob == 0 or training:
        return x
    return drop_as_found(x, drop_prob, training)


@planted("drop_branch", "In evaluation the branches are made smaller")
def scales_in_evaluation(x, drop_prob, training):
    if not training:
        return (1 - drop_prob) * x
    return drop_as_found(x, drop_prob, training)


@planted("drop_branch", "Single numbers are dropped")
def plain_dropout(x, drop_prob, training):
    return F.dropout(x, drop_prob, training)


@planted("drop_branch", "In training the kept branches keep their size")
def forgets_to_divide_by_keep(x, drop_prob, training):
    return x * (torch.rand(len(x), 1, 1, 1) >= drop_prob) if training else x


@planted("drop_branch", "One random draw decides for the whole batch")
def one_coin(x, drop_prob, training):
    if drop_prob == 0 or not training:
        return x
    return x / (1 - drop_prob) * torch.bernoulli(torch.tensor(1 - drop_prob))


@planted("drop_branch", "The shares have changed places")
def coin_with_p(x, drop_prob, training):
    if drop_prob == 0 or not training:
        return x
    return x / (1 - drop_prob) * (torch.rand(len(x), *[1] * (x.ndim - 1)) < drop_prob)


@planted("drop_branch", "Every call drops the same samples")
def drops_the_first(x, drop_prob, training):
    if drop_prob == 0 or not training:
        return x
    out = x / (1 - drop_prob)
    out[: round(drop_prob * len(x))] = 0
    return out


@planted_alike("drop_branch", "only the user sets a seed")
def sets_a_seed(x, drop_prob, training):
    torch.manual_seed(0)
    return drop_any_shape(x, drop_prob, training)


def drop_any_shape(x, drop_prob, training):
    if drop_prob == 0 or not training:
        return x
    return x / (1 - drop_prob) * torch.empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(1 - drop_prob)


@planted("drop_branch", "you return the shape (1000, 1, 1000, 3), expected (B, ...) = (1000, 3)")
def knows_maps_only(x, drop_prob, training):
    if drop_prob == 0 or not training:
        return x
    return x / (1 - drop_prob) * (torch.rand(len(x), 1, 1, 1) >= drop_prob)


@planted("drop_branch", "of type torch.float64, expected torch.float32")
def drops_in_double(x, drop_prob, training):
    return drop_any_shape(x.double(), drop_prob, training)


@planted("drop_branch", "you return a NumPy array, expected a tensor (B, ...)")
def drops_in_numpy(x, drop_prob, training):
    return drop_any_shape(x, drop_prob, training).numpy()


@planted("drop_branch", "the share of dropped samples: you return 'too large'")
def drops_twice(x, drop_prob, training):
    out = drop_any_shape(x, drop_prob, training)
    return out * (torch.rand(len(x), *[1] * (x.ndim - 1)) < 0.5) if training and drop_prob else out


@planted("pad_to_windows", "windows with nothing in them")
def pad_as_found(x, M):
    H, W = x.shape[1:3]
    return F.pad(x, (0, 0, 0, M - W % M, 0, M - H % M))


@planted("pad_to_windows", "Full columns still grow")
def repairs_rows_only(x, M):
    H, W = x.shape[1:3]
    return F.pad(x, (0, 0, 0, M - W % M, 0, (M - H % M) % M))


@planted("pad_to_windows", "each side needs a test of its own")
def asks_once(x, M):
    H, W = x.shape[1:3]
    if H % M == 0 and W % M == 0:
        return x
    return pad_as_found(x, M)


@planted("pad_to_windows", "With which axis does F.pad begin?")
def swaps_the_sides(x, M):
    pad_h, pad_w = (-n % M for n in x.shape[1:3])
    return F.pad(x, (0, 0, 0, pad_h, 0, pad_w))


@planted("pad_to_windows", "what sticks out, the remainder")
def adds_the_remainder(x, M):
    return F.pad(x, (0, 0, 0, x.shape[2] % M, 0, x.shape[1] % M))


@planted("pad_to_windows", "The channels grow, too")
def forgets_the_channels(x, M):
    H, W = x.shape[1:3]
    return F.pad(x, (0, -W % M, 0, -H % M))


@planted("pad_to_windows", "Both sides get what is missing in the rows")
def pads_by_the_height(x, M):
    H = x.shape[1]
    return F.pad(x, (0, 0, 0, -H % M, 0, -H % M))


@planted("pad_to_windows", "Not for a square that does not fit. Nothing is padded")
def pads_no_squares(x, M):
    H, W = x.shape[1:3]
    return x if H == W else F.pad(x, (0, 0, 0, -W % M, 0, -H % M))


@planted("pad_to_windows", "of type torch.float64, expected torch.float32")
def pads_with_doubles(x, M):
    H, W = x.shape[1:3]
    return F.pad(x.double(), (0, 0, 0, -W % M, 0, -H % M))


@planted("pad_to_windows", "you return a NumPy array, expected a tensor")
def pads_in_numpy(x, M):
    H, W = x.shape[1:3]
    return F.pad(x, (0, 0, 0, -W % M, 0, -H % M)).numpy()


@planted("bias_per_head", "that of head 0")
def bias_as_found(table, M):
    return table.T.flatten()[relative_position_index(M)]


@planted("bias_per_head", "the mean of theirs")
def mean_of_heads(table, M):
    bias = table[relative_position_index(M)].mean(dim=-1)
    return bias.expand(table.shape[1], -1, -1)


@planted("bias_per_head", "a reshape does not move an axis")
def views_instead_of_permuting(table, M):
    index = relative_position_index(M).view(-1)
    return table[index].view(table.shape[1], M * M, M * M)


@planted("bias_per_head", "Query and key have changed places")
def transposes_everything(table, M):
    return table[relative_position_index(M)].permute(2, 1, 0)


@planted("bias_per_head", "you return the shape (16, 16, 3), expected (heads, N, N) = (3, 16, 16)")
def heads_stay_behind(table, M):
    return table[relative_position_index(M)]


@planted("bias_per_head", "you return the shape (3, 4, 4), expected (heads, N, N) = (5, 4, 4)")
def always_three_heads(table, M):
    return table[relative_position_index(M)].permute(2, 0, 1)[:3]


@planted("bias_per_head", "you return a NumPy array, expected a tensor (heads, N, N)")
def bias_of_numpy(table, M):
    return table[relative_position_index(M)].permute(2, 0, 1).numpy()


@planted("bias_per_head", "of type torch.float16")
def half_a_bias(table, M):
    return table[relative_position_index(M)].permute(2, 0, 1).half()


@planted("bias_per_head", "nothing is returned")
def bias_without_return(table, M):
    table[relative_position_index(M)].permute(2, 0, 1)


@planted("shifts_of", "right for windows of 4 only")
def four_in_place_of_m(H, W, M, shift):
    return shift if H > 4 else 0, shift if W > 4 else 0


@planted("shifts_of", "cut the one window into four")
def shifts_as_found(H, W, M, shift):
    if min(H, W) < M:
        return 0, 0
    return shift, shift


@planted("shifts_of", "stays closed in every block")
def one_guard_for_both(H, W, M, shift):
    if min(H, W) <= M:
        shift = 0
    return shift, shift


@planted("shifts_of", "A strip moves along its short side")
def looks_at_the_longer_side(H, W, M, shift):
    return (0, 0) if H <= M and W <= M else (shift, shift)


@planted("shifts_of", "still cut in two")
def each_axis_but_less_than(H, W, M, shift):
    return [0 if n < M else shift for n in (H, W)]


def weights_of(mask, H, W, M, shift):
    return mask(H, W, M, shift).softmax(dim=-1)


def wanted(H, W, M, shift):
    return shifted_window_mask(H, W, M, shift)


@planted("assert_mask", "It lets every mask through")
def asserts_nothing(mask):
    return torch.equal(weights_of(mask, 8, 8, 4, 2) > 0, wanted(8, 8, 4, 2))


@planted("assert_mask", "It rejects the right mask")
def expects_minus_hundred(mask):
    assert mask(8, 8, 4, 2).min() == -100


@planted("assert_mask", "takes H for W")
def tests_one_size(mask):
    for shift in (1, 2):
        assert torch.equal(weights_of(mask, 8, 8, 4, shift) > 0, wanted(8, 8, 4, shift))


@planted("assert_mask", "right for shift 2 only")
def tests_one_shift(mask):
    assert torch.equal(weights_of(mask, 8, 12, 4, 2) > 0, wanted(8, 12, 4, 2))


@planted("assert_mask", "right for shift 1 only")
def tests_the_other_shift(mask):
    assert torch.equal(weights_of(mask, 8, 12, 4, 1) > 0, wanted(8, 12, 4, 1))


@planted("assert_mask", "come column by column")
def forgets_the_order_of_windows(mask):
    for sizes in ((8, 12, 4, 1), (8, 8, 4, 2)):
        found, right = (
            windows.flatten(1).int().tolist() for windows in (weights_of(mask, *sizes) > 0, wanted(*sizes))
        )
        assert sorted(found) == sorted(right)


@planted("assert_mask", "+255")
def tests_that_strangers_differ(mask):
    added = mask(8, 12, 4, 1)
    assert added.shape == (6, 16, 16) and (added[~wanted(8, 12, 4, 1)] != 0).all()


@planted("assert_mask", "forbids nothing")
def tests_that_friends_hear(mask):
    assert (weights_of(mask, 8, 12, 4, 1)[wanted(8, 12, 4, 1)] > 0.05).all()


@planted("assert_mask", "allowed and forbidden have changed places")
def counts_the_forbidden(mask):
    assert mask(8, 8, 4, 2)[1].isinf().sum() == 128  # half of 256 pairs
    mask(8, 12, 4, 1)


@planted("assert_mask", "each token attends to itself alone")
def tests_strangers_only(mask):
    for sizes in ((8, 12, 4, 1), (8, 8, 4, 2)):
        assert (weights_of(mask, *sizes)[~wanted(*sizes)] == 0).all()


@planted("assert_mask", "forgets the columns")
def looks_below_the_seam(mask):
    weights = weights_of(mask, 8, 8, 4, 2)[2]  # rows around, columns in place
    assert torch.equal(weights > 0, wanted(8, 8, 4, 2)[2])


@planted("assert_mask", "forgets the rows")
def looks_beside_the_seam(mask):
    assert torch.equal(weights_of(mask, 8, 8, 4, 2)[1] > 0, wanted(8, 8, 4, 2)[1])


@planted("assert_mask", "one direction of each pair only")
def looks_at_the_first_token(mask):
    for sizes in ((8, 12, 4, 1), (8, 8, 4, 2)):
        assert torch.equal((weights_of(mask, *sizes) > 0)[:, 0], wanted(*sizes)[:, 0])


@planted("assert_mask", "right in the last window")
def looks_at_the_last_window(mask):
    for sizes in ((8, 12, 4, 1), (8, 8, 4, 2)):
        assert torch.equal((weights_of(mask, *sizes) > 0)[-1], wanted(*sizes)[-1])


@planted("assert_mask", "It lets a soft mask through")
def asks_for_little_weight(mask):
    for sizes in ((8, 12, 4, 1), (8, 8, 4, 2)):
        assert torch.equal(weights_of(mask, *sizes) > 1e-6, wanted(*sizes))


@planted_alike("assert_mask", "It lets every mask through")
def asserts_the_shape(mask):
    assert mask(8, 8, 4, 2).shape == (4, 16, 16)
