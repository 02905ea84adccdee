"""Checks of notebook 07: the cyclic shift, the mask from distances, shifted windows on any map."""

import math
from functools import partial

import torch
import torch.nn.functional as F

from course import figures
from course.check.core import Exercise, numbered, sample_image
from course.check.watch import calls, uses
from swin_cifar.layers import WindowAttention
from swin_cifar.windows import (
    padded_size,
    shift_per_axis,
    shifted_window_mask,
    window_partition,
    window_reverse,
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
        "The map moves down and right. It should move up and left: row 0 of the result "
        "is row `shift` of the map.": (lambda x, shift: x.roll((shift, shift), dims=(1, 2))),
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


def true_windows(size, M, shift):
    starts = sorted({0, *range(shift, size, M)})
    return list(zip(starts, [*starts[1:], size]))


def _mask_from_true_windows(H, W, M, shift):
    labels = torch.empty(H, W, dtype=torch.long)
    for i, (top, bottom) in enumerate(true_windows(H, M, shift)):
        for j, (left, right) in enumerate(true_windows(W, M, shift)):
            labels[top:bottom, left:right] = 1000 * i + j
    masks = []
    for top in range(0, H, M):
        for left in range(0, W, M):
            rows = [(top + i + shift) % H for i in range(M)]
            columns = [(left + j + shift) % W for j in range(M)]
            window = labels[rows][:, columns].flatten()
            masks.append(window[:, None] == window[None, :])
    return torch.stack(masks)


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
    answer=_mask_from_true_windows,
    cases=lambda: {
        "a square map": (8, 8, 4, 2),
        "a map wider than high, shift 1": (6, 9, 3, 1),
        "a map higher than wide, shift 3": (12, 8, 4, 3),
        "shift 0": (4, 6, 2, 0),
    },
    mistakes={
        "The mask's sign is flipped: True means that a pair may attend.": (lambda *inputs: ~_mask(*inputs)),
        "No pair is forbidden. Before the roll all tokens of a window are near each "
        "other: it is the rolled map that is cut into windows.": lambda H, W, M, shift: _mask(H, W, M, 0),
        "The positions are rolled the wrong way: the map moves up and left, so window 0 "
        "begins with row `shift`.": (partial(_mask, roll=1)),
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
        "Your windows are consecutive tokens of the map's rows: cut the positions into "
        "windows as a map is cut.": (partial(_mask, cut=False)),
        "The distance is the same in both directions, but you forbid only one of them: what does abs() "
        "do?": _one_direction,
    },
    forbidden={
        "`shifted_window_mask` makes the mask. Asked for is its work, done by the distances of the tokens.": (
            calls(shifted_window_mask)
        )
    },
    picture=_draw_mask,
    axes="(nW, N, N)",
)

# --- attend_any_size ---------------------------------------------------------------------


def _attend_in_true_windows(attn, x, shift):
    """No roll, no mask, no padding: each true window by itself."""
    H, W = x.shape[1:3]
    M, heads = attn.window_size, attn.num_heads
    shift_h, shift_w = (shift if size > M else 0 for size in (H, W))
    out = torch.zeros_like(x)
    for top, bottom in true_windows(H, M, shift_h):
        for left, right in true_windows(W, M, shift_w):
            place = torch.cartesian_prod(torch.arange(top, bottom), torch.arange(left, right))  # (n, 2)
            offset = place[:, None] - place[None, :] + M - 1  # (n, n, 2)
            bias = attn.relative_position_bias_table[offset[..., 0] * (2 * M - 1) + offset[..., 1]]
            tokens = x[:, top:bottom, left:right].flatten(1, 2)
            qkv = F.linear(tokens, attn.qkv.weight, attn.qkv.bias).unflatten(-1, (3, heads, -1))
            q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, n, d)
            weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]) + bias.permute(2, 0, 1)).softmax(-1)
            values = attn.proj((weights @ v).transpose(1, 2).flatten(2))
            out[:, top:bottom, left:right] = values.unflatten(1, (bottom - top, right - left))
    return out


def _attend(
    attn, x, shift, mask="right", pad="after", first="pad", covered="stays", back="before the crop", crop=True
):
    """With a mistake, if asked for."""
    H, W, M = *x.shape[1:3], attn.window_size
    Hp, Wp = padded_size(H, W, M)
    shifts = (shift, shift) if covered == "moves" else shift_per_axis(H, W, M, shift)
    up_left = tuple(-s for s in shifts)
    below, right = Hp - H, Wp - W
    amounts = (0, 0, 0, right, 0, below) if pad == "after" else (0, 0, right, 0, below, 0)
    if first == "pad":
        x = F.pad(x, amounts).roll(up_left, dims=(1, 2))
    else:
        x = F.pad(x.roll(up_left, dims=(1, 2)), amounts)
    masks = {
        "right": lambda: shifted_window_mask(H, W, M, shift),
        "none": lambda: None,
        "flipped": lambda: ~shifted_window_mask(H, W, M, shift),
        "of the padded map": lambda: shifted_window_mask(Hp, Wp, M, shift),
        "no shift": lambda: shifted_window_mask(H, W, M, 0),
    }
    out = window_reverse(attn(window_partition(x, M), masks[mask]()), M, Hp, Wp)
    if back == "after the crop":
        return out[:, :H, :W].roll(shifts, dims=(1, 2))
    if back == "before the crop":
        out = out.roll(shifts, dims=(1, 2))
    elif back == "the wrong way":
        out = out.roll(up_left, dims=(1, 2))
    return out[:, :H, :W] if crop else out


def large_attention(dim=8, window_size=4, num_heads=2):
    """Weights large enough for mistakes to show."""
    attn = WindowAttention(dim, window_size, num_heads).requires_grad_(False)
    attn.qkv.weight.mul_(3)
    attn.relative_position_bias_table.normal_(std=2)
    for bias in (attn.qkv.bias, attn.proj.bias):
        bias.normal_()
    return attn


def _draw_attend(function):
    torch.manual_seed(0)
    attn, x, token = large_attention(), torch.randn(1, 7, 6, 8), (0, 3)
    other = x.clone()
    other[0, token[0], token[1]] += 5
    figure, axes = figures.panels(1, 2, size=2.8)
    for ax, shift in zip(axes, (0, 2)):
        changed = (function(attn, other, shift) - function(attn, x, shift)).abs().amax(-1)[0] > 1e-5
        figures.draw_picture(ax, sample_image()[:, :28, :24], f"yours, shift {shift}")
        figures.draw_changed(ax, changed, token, unit=4)
        figures.draw_grid(ax, 7, 6, unit=4)
    return (
        figure,
        "A map with one token changed: only outputs of its true window change, without and with shift.",
    )


attend_any_size = Exercise(
    "attend_any_size",
    answer=_attend_in_true_windows,
    cases=lambda: {
        "8 x 8 tokens, no shift": (large_attention(), torch.randn(1, 8, 8, 8), 0),
        "8 x 8 tokens, shift 2": (large_attention(), torch.randn(1, 8, 8, 8), 2),
        "8 x 12 tokens, two pictures, shift 1": (large_attention(), torch.randn(2, 8, 12, 8), 1),
        "6 x 7 tokens, shift 2": (large_attention(), torch.randn(1, 6, 7, 8), 2),
        "6 x 7 tokens, no shift": (large_attention(), torch.randn(1, 6, 7, 8), 0),
        "4 x 8 tokens, one window high, shift 2": (large_attention(), torch.randn(1, 4, 8, 8), 2),
    },
    mistakes={
        "Without the mask, tokens that the roll has brought together attend to each other.": (
            partial(_attend, mask="none")
        ),
        "The mask's sign is flipped: True means that a pair may attend.": partial(_attend, mask="flipped"),
        "The mask is made for the padded map, so it does not know which tokens are padding.": (
            partial(_attend, mask="of the padded map")
        ),
        "The mask is made for shift 0: it keeps padding out, but not the tokens that the "
        "roll brings from the other edge.": (partial(_attend, mask="no shift")),
        "The shift is not undone: every token's result stands in another token's place.": partial(
            _attend, back="never"
        ),
        "At the end the map is rolled in the same direction once more, instead of back.": (
            partial(_attend, back="the wrong way")
        ),
        "You crop before you roll back. Then real tokens are cut off, and padding is kept.": (
            partial(_attend, back="after the crop")
        ),
        "You roll before you pad. Then the padding lies between the tokens that the roll has moved.": (
            partial(_attend, first="roll")
        ),
        "An axis that one window covers is shifted. It has no seam; the shift only splits its window.": (
            partial(_attend, covered="moves")
        ),
        "The padding stands above and left of the map, where the mask does not expect it.": (
            partial(_attend, pad="before")
        ),
        "The padding is still there: cut the map back to H x W at the end.": partial(_attend, crop=False),
        "The windows are never shifted.": lambda attn, x, shift: _attend(attn, x, 0),
    },
    picture=_draw_attend,
    axes="(B, H, W, C)",
)
