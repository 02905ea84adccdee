"""Wrong answers to the exercises, as students write them, each with words that its check must say."""

import math
import statistics
import time
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.ops import stochastic_depth

from course import check, content, hunt, machines, package_pieces, studies
from course.questions import tokens_at
from swin_cifar import (
    DropPath,
    PatchMerging,
    SwinTransformerBlock,
    WindowAttention,
    create_model,
    relative_position_index,
    shifted_window_mask,
    window_partition,
    window_reverse,
)
from swin_cifar.data import normalize

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


@planted("patch_embed", "you embed runs of the picture's rows, not patches")
def only_views(images, weight, bias):
    B, c, h, w = images.shape
    P = weight.shape[-1]
    return images.view(B, h // P, w // P, c * P * P) @ weight.flatten(1).T + bias


@planted("patch_embed", "you have split it into (P, H)")
def splits_into_p_first(images, weight, bias):
    P = weight.shape[-1]
    x = images.unflatten(2, (P, -1)).unflatten(4, (P, -1))  # (B, 3, P, H, P, W)
    return x.permute(0, 3, 5, 1, 2, 4).flatten(3) @ weight.flatten(1).T + bias


@planted("patch_embed", "In your patches the colour comes last")
def channels_last(images, weight, bias):
    P = weight.shape[-1]
    x = images.permute(0, 2, 3, 1).unfold(1, P, P).unfold(2, P, P).permute(0, 1, 2, 4, 5, 3)
    return x.flatten(3) @ weight.flatten(1).T + bias


@planted("patch_embed", "Rows and columns inside a patch have changed places")
def swaps_row_and_column(images, weight, bias):
    P = weight.shape[-1]
    x = images.unflatten(3, (-1, P)).unflatten(2, (-1, P))
    return F.linear(x.permute(0, 2, 4, 1, 5, 3).flatten(3), weight.flatten(1), bias)


@planted("patch_embed", "the axes that belong together are not neighbours yet")
def merges_too_early(images, weight, bias):
    P = weight.shape[-1]
    B, _, h, w = images.shape
    x = images.permute(0, 2, 3, 1).reshape(B, h // P, P, w // P, P, 3)
    return x.reshape(B, h // P, w // P, -1) @ weight.flatten(1).T + bias


@planted("patch_embed", "H and W have changed places")
def takes_the_width_first(images, weight, bias):
    P = weight.shape[-1]
    B, c, w, h = images.shape
    x = images.reshape(B, c, h // P, P, w // P, P).permute(0, 2, 4, 1, 3, 5)
    return x.flatten(3) @ weight.flatten(1).T + bias


@planted("patch_embed", "The map is transposed")
def columns_of_patches_first(images, weight, bias):
    P = weight.shape[-1]
    x = images.unflatten(3, (-1, P)).unflatten(2, (-1, P)).permute(0, 4, 2, 1, 3, 5)
    return x.flatten(3) @ weight.flatten(1).T + bias


@planted("patch_embed", "The bias is missing")
def multiplies_only(images, weight, bias):
    P = weight.shape[-1]
    x = images.unflatten(3, (-1, P)).unflatten(2, (-1, P)).permute(0, 2, 4, 1, 3, 5)
    return torch.einsum("bhwcij,dcij->bhwd", x, weight)


@planted("patch_embed", "reshaped where they should be transposed")
def makes_the_matrix_fit(images, weight, bias):
    P = weight.shape[-1]
    x = images.unflatten(3, (-1, P)).unflatten(2, (-1, P)).permute(0, 2, 4, 1, 3, 5).flatten(3)
    return x @ weight.reshape(x.shape[-1], -1) + bias


@planted("patch_embed", "You return (B, C, H, W)")
def like_a_convolution(images, weight, bias):
    P = weight.shape[-1]
    x = images.unflatten(3, (-1, P)).unflatten(2, (-1, P)).permute(0, 2, 4, 1, 3, 5).flatten(3)
    return (x @ weight.flatten(1).T + bias).permute(0, 3, 1, 2)


@planted("patch_embed", "All tokens of a picture are in one axis")
def like_the_official_code(images, weight, bias):
    patches = F.unfold(images, weight.shape[-1], stride=weight.shape[-1])  # (B, 3·P·P, H·W)
    return patches.transpose(1, 2) @ weight.flatten(1).T + bias


@planted("patch_embed", "Right for 3 of 4 inputs. Not for two pictures")
def knows_one_picture_only(images, weight, bias):
    P = weight.shape[-1]
    x = images.unflatten(3, (-1, P)).unflatten(2, (-1, P)).permute(0, 2, 4, 1, 3, 5)
    x = x.flatten(3)
    return (x[:1] if len(x) == 2 else x) @ weight.flatten(1).T + bias


@planted("patch_embed", "your code stops at `return x.flatten(3) @ weight.flatten(1) + bias`")
def forgets_to_transpose(images, weight, bias):
    P = weight.shape[-1]
    x = images.unflatten(3, (-1, P)).unflatten(2, (-1, P)).permute(0, 2, 4, 1, 3, 5)
    return x.flatten(3) @ weight.flatten(1) + bias


@planted("patches_back", "The shape is right, but no number has moved")
def only_reshapes_back(patches):
    B, H, W, c, P, _ = patches.shape
    return patches.reshape(B, c, H * P, W * P)


@planted("patches_back", "Row and column inside each patch have changed places")
def swaps_back(patches):
    return patches.permute(0, 3, 1, 5, 2, 4).flatten(4, 5).flatten(2, 3)


@planted("patches_back", "Rows and columns of the map have changed places")
def columns_of_the_map_first(patches):
    return patches.permute(0, 3, 2, 4, 1, 5).flatten(4, 5).flatten(2, 3)


@planted("patches_back", "come from different patches")
def rows_of_patches_first(patches):
    return patches.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)


@planted("patches_back", "you list patch after patch")
def patch_after_patch(patches):
    B, H, W, c, P, _ = patches.shape
    return patches.movedim(3, 1).reshape(B, c, H * P, W * P)


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


@cheats("patch_embed", "A convolution cuts and multiplies for you")
def convolves(images, weight, bias):
    return F.conv2d(images, weight, bias, stride=weight.shape[-1]).permute(0, 2, 3, 1)


@cheats("patch_embed", "in a loop")
def embeds_in_a_loop(images, weight, bias):
    P = weight.shape[-1]
    h, w = images.shape[2:]
    rows = []
    for y in range(0, h, P):
        row = [images[:, :, y : y + P, x : x + P].flatten(1) @ weight.flatten(1).T for x in range(0, w, P)]
        rows.append(torch.stack(row, dim=1) + bias)
    return torch.stack(rows, dim=1)


@cheats("patch_embed", "You visit the P·P pixels of a patch in a loop")
def offset_after_offset(images, weight, bias):
    P = weight.shape[-1]
    tokens = bias
    for i in range(P):
        for j in range(P):
            tokens = tokens + torch.einsum("bchw,dc->bhwd", images[:, :, i::P, j::P], weight[:, :, i, j])
    return tokens


@cheats("patches_back", "in a loop")
def puts_back_in_a_loop(patches):
    rows = []
    for row in patches.unbind(1):
        rows.append(torch.cat([patch for patch in row.unbind(1)], dim=3))
    return torch.cat(rows, dim=2)


@cheats("patches_back", "`fold` or `pixel_shuffle`")
def folds(patches):
    H, W, P = patches.shape[1], patches.shape[2], patches.shape[-1]
    columns = patches.flatten(3).flatten(1, 2).transpose(1, 2)  # (B, 3·P·P, H·W)
    return F.fold(columns, (H * P, W * P), kernel_size=P, stride=P)


# --- 03 ----------------------------------------------------------------------------------


@planted("patch_merging", "Top-right and bottom-left have changed places")
def merges_in_reading_order(x, norm, reduction):
    x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    x = torch.cat([x[:, row::2, col::2] for row in (0, 1) for col in (0, 1)], dim=-1)
    return reduction(norm(x))


@planted("patch_merging", "The norm is missing")
def merges_as_the_paper_writes(x, norm, reduction):
    return reduction(four_tokens(x))


def four_tokens(x):
    x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    return torch.cat([x[:, row::2, col::2] for col in (0, 1) for row in (0, 1)], dim=-1)


@planted("patch_merging", "The last row or column of an odd side is dropped")
def merges_whole_squares(x, norm, reduction):
    H, W = (n // 2 * 2 for n in x.shape[1:3])
    return reduction(norm(four_tokens(x[:, :H, :W])))


@planted("patch_merging", "The zeros of an odd side stand on the left and above")
def pads_above_and_left(x, norm, reduction):
    return reduction(norm(four_tokens(F.pad(x, (0, 0, x.shape[2] % 2, 0, x.shape[1] % 2, 0)))))


@planted("patch_merging", "filled up with a copy of its last row or column")
def repeats_the_edge(x, norm, reduction):
    x = torch.cat([x, x[:, -1:]], dim=1) if x.shape[1] % 2 else x
    x = torch.cat([x, x[:, :, -1:]], dim=2) if x.shape[2] % 2 else x
    return reduction(norm(four_tokens(x)))


@planted("patch_merging", "each new token is a run of the map's rows")
def merges_by_a_reshape(x, norm, reduction):
    x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    B, H, W, C = x.shape
    return reduction(norm(x.reshape(B, H // 2, W // 2, 4 * C)))


@planted("patch_merging", "You gather tokens that lie half a map apart")
def splits_pairs_first(x, norm, reduction):
    x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    x = x.unflatten(2, (2, -1)).unflatten(1, (2, -1))  # (B, 2, H/2, 2, W/2, C)
    return reduction(norm(x.permute(0, 2, 4, 3, 1, 5).flatten(3)))


@planted("patch_merging", "four numbers of channel 0, then four of channel 1")
def unshuffles_pixels(x, norm, reduction):
    x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    x = F.pixel_unshuffle(x.permute(0, 3, 1, 2), 2)  # (B, 4C, H/2, W/2)
    return reduction(norm(x.permute(0, 2, 3, 1)))


@planted("patch_merging", "go down first, then right, but they are sorted by channel")
def stacks_behind_the_channels(x, norm, reduction):
    return reduction(norm(torch.stack(four_tokens(x).chunk(4, dim=-1), dim=-1).flatten(3)))


@planted("patch_merging", "The new map is transposed")
def columns_of_squares_first(x, norm, reduction):
    x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
    return reduction(norm(x.permute(0, 3, 1, 4, 2, 5).flatten(3)))


@planted("patch_merging", "your tokens still have 4C numbers")
def forgets_the_reduction(x, norm, reduction):
    return norm(four_tokens(x))


@planted("patch_merging", "your code stops at `return norm(reduction(four_tokens(x)))`")
def normalises_last(x, norm, reduction):
    return norm(reduction(four_tokens(x)))


@planted("patch_merging", "Not for odd height: your code stops")
def merges_even_sides_only(x, norm, reduction):
    four = (x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2])
    return reduction(norm(torch.cat(four, dim=-1)))


@cheats("patch_merging", "the package's `PatchMerging`")
def asks_the_layer(x, norm, reduction):
    layer = PatchMerging(x.shape[-1])
    layer.norm, layer.reduction = norm, reduction
    return layer(x)


@cheats("patch_merging", "You visit the squares in a loop")
def merges_square_after_square(x, norm, reduction):
    x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    rows = []
    for i in range(0, x.shape[1], 2):
        row = []
        for j in range(0, x.shape[2], 2):
            row.append(x[:, i : i + 2, j : j + 2].transpose(1, 2).flatten(1))
        rows.append(torch.stack(row, dim=1))
    return reduction(norm(torch.stack(rows, dim=1)))


@planted("patch_merging", "but it is the other side that is odd. With which axis does F.pad begin?")
def pads_the_other_side(x, norm, reduction):
    x = F.pad(x, (0, 0, 0, x.shape[1] % 2, 0, x.shape[2] % 2))
    four = [x[:, row::2, col::2] for col in (0, 1) for row in (0, 1)]
    return reduction(norm(torch.cat(four, dim=-1)))


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


@planted("window_reverse", "no number has moved: each window has become a run of the map's rows")
def reads_windows_as_a_map(windows, M, H, W):
    return windows.reshape(windows.shape[0], H, W, windows.shape[-1])


@planted("window_reverse", "You split as for a map")
def partitions_once_more(windows, M, H, W):
    B, nW, N, C = windows.shape
    x = windows.view(B, H // M, M, W // M, M, C).transpose(2, 3)
    return x.reshape(B, H, W, C)


@planted("window_reverse", "The numbers of window-rows and of window-columns have changed places")
def counts_columns_of_windows_first(windows, M, H, W):
    B, nW, N, C = windows.shape
    x = windows.view(B, W // M, H // M, M, M, C)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(B, H, W, C)


@planted("window_reverse", "The rows of different windows take turns in your map")
def row_before_window_row(windows, M, H, W):
    B, nW, N, C = windows.shape
    x = windows.view(B, H // M, W // M, M, M, C)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(B, H, W, C)


@planted("window_reverse", "The map is scrambled")
def exchanges_the_wrong_axes(windows, M, H, W):
    B, nW, N, C = windows.shape
    x = windows.view(B, H // M, W // M, M, M, C).transpose(2, 4)
    return x.reshape(B, H, W, C)


@planted("window_reverse", "laid out column by column. They come row by row")
def fills_columns_of_windows(windows, M, H, W):
    out, number = torch.zeros(len(windows), H, W, windows.shape[-1]), 0
    for left in range(0, W, M):
        for top in range(0, H, M):
            out[:, top : top + M, left : left + M] = windows[:, number].unflatten(1, (M, M))
            number += 1
    return out


@planted("window_reverse", "each window is mirrored at its diagonal")
def column_before_row(windows, M, H, W):
    B, nW, N, C = windows.shape
    x = windows.view(B, H // M, W // M, M, M, C)
    return x.permute(0, 1, 4, 2, 3, 5).reshape(B, H, W, C)


@planted("window_reverse", "The windows of different pictures are mixed")
def batch_behind_the_windows(windows, M, H, W):
    B, nW, N, C = windows.shape
    x = windows.reshape(H // M, W // M, B, M, M, C)
    return x.permute(2, 0, 3, 1, 4, 5).reshape(B, H, W, C)


@planted("window_reverse", "The whole map is transposed")
def transposes_the_map(windows, M, H, W):
    B, nW, N, C = windows.shape
    x = windows.view(B, H // M, W // M, M, M, C)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(B, W, H, C)


@planted("window_reverse", "H and W are still two axes each")
def forgets_to_merge(windows, M, H, W):
    B, nW, N, C = windows.shape
    return windows.view(B, H // M, W // M, M, M, C).transpose(2, 3)


@planted("window_reverse", "Right for: a square map; one window. Not for a map wider than high")
def takes_the_root_of_the_windows(windows, M, H, W):
    B, nW, N, C = windows.shape
    side = int(nW**0.5)
    return windows.view(B, side, side, M, M, C).transpose(2, 3).reshape(B, H, W, C)


@cheats("window_reverse", "the package's `window_reverse`")
def asks_the_package_for_the_way_back(windows, M, H, W):
    return window_reverse(windows, M, H, W)


@cheats("window_reverse", "You visit the windows in a loop")
def puts_back_window_after_window(windows, M, H, W):
    out = torch.empty(len(windows), H, W, windows.shape[-1])
    for number, window in enumerate(windows.unbind(1)):
        top, left = number // (W // M) * M, number % (W // M) * M
        out[:, top : top + M, left : left + M] = window.unflatten(1, (M, M))
    return out


@planted("window_reverse", "Window-rows and window-columns have changed places with each other")
def swaps_axes_1_and_2(windows, M, H, W):
    B, nW, N, C = windows.shape
    x = windows.reshape(B, H // M, W // M, M, M, C)
    return x.transpose(1, 2).reshape(B, H, W, C)


@planted("grid_partition", "Those are windows")
def cuts_windows(x, M):
    return window_partition(x, M)


@planted("grid_partition", "no number has moved")
def one_reshape_to_groups(x, M):
    B, H, W, C = x.shape
    return x.reshape(B, (H // M) * (W // M), M * M, C)


@planted("grid_partition", "You take every M-th row")
def splits_as_for_windows(x, M):
    B, H, W, C = x.shape
    x = x.view(B, H // M, M, W // M, M, C)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(B, -1, M * M, C)


@planted("grid_partition", "The steps down and to the right have changed places")
def steps_of_the_other_side(x, M):
    B, W, H, C = x.shape
    x = x.view(B, M, H // M, M, W // M, C)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(B, -1, M * M, C)


@planted("grid_partition", "the groups come before their tokens")
def tokens_before_groups(x, M):
    B, H, W, C = x.shape
    x = x.view(B, M, H // M, M, W // M, C).transpose(2, 3)
    return x.flatten(3, 4).flatten(1, 2)


@planted("grid_partition", "The groups are numbered column by column")
def columns_of_groups_first(x, M):
    B, H, W, C = x.shape
    x = x.view(B, M, H // M, M, W // M, C)
    return x.permute(0, 4, 2, 1, 3, 5).reshape(B, -1, M * M, C)


@planted("grid_partition", "The tokens inside each group are listed column by column")
def columns_of_a_group_first(x, M):
    B, H, W, C = x.shape
    x = x.view(B, M, H // M, M, W // M, C)
    return x.permute(0, 2, 4, 3, 1, 5).reshape(B, -1, M * M, C)


@planted("grid_partition", "Right for: a square map. Not for a map wider than high. You take every M-th")
def in_one_line_with_the_package(x, M):
    return window_partition(x, x.shape[1] // M).transpose(1, 2).reshape(len(x), -1, M * M, x.shape[3])


@cheats("grid_partition", "You visit the groups in a loop")
def groups_in_a_loop(x, M):
    down, right = x.shape[1] // M, x.shape[2] // M
    corners = [(i, j) for i in range(down) for j in range(right)]
    return torch.stack([x[:, i::down, j::right].flatten(1, 2) for i, j in corners], 1)


@cheats("reverse_rectangles", "You visit the windows in a loop")
def lays_windows_in_a_loop(windows, height, width, H, W):
    out = torch.zeros(windows.shape[0], H, W, windows.shape[-1])
    for number in range(windows.shape[1]):
        top, left = number // (W // width) * height, number % (W // width) * width
        out[:, top : top + height, left : left + width] = windows[:, number].unflatten(1, (height, width))
    return out


@planted("window_for_budget", "You count the pairs between all tokens of the map")
def attends_to_the_whole_map(H, W, budget):
    best = 0
    for M in range(1, min(H, W) + 1):
        if H % M == 0 and W % M == 0 and (H * W) ** 2 <= budget:
            best = M
    return best


@planted("window_for_budget", "How many tokens has its window?")
def forgets_the_square(H, W, budget):
    fits = [M for M in range(1, min(H, W) + 1) if H % M == W % M == 0 and H * W * M <= budget]
    return fits[-1] if fits else 0


@planted("window_for_budget", "You count the pairs of one window")
def looks_at_one_window(H, W, budget):
    fits = [M for M in range(1, min(H, W) + 1) if H % M == W % M == 0 and (M * M) ** 2 <= budget]
    return max(fits, default=0)


@planted("window_for_budget", "for some budgets you choose windows that do not fit")
def forgets_to_divide_the_sides(H, W, budget):
    M = 0
    while M < min(H, W) and H * W * (M + 1) ** 2 <= budget:
        M += 1
    return M


@planted("window_for_budget", "M must divide both sides")
def divides_the_height_only(H, W, budget):
    return max((M for M in range(1, H + 1) if H % M == 0 and H * W * M**2 <= budget), default=0)


@planted("window_for_budget", "used up to the last pair")
def demands_less_than_the_budget(H, W, budget):
    best = 0
    for M in range(1, min(H, W) + 1):
        if H % M == 0 and W % M == 0 and H * W * M**2 < budget:
            best = M
    return best


@planted("window_for_budget", "You return the smallest window")
def returns_at_once(H, W, budget):
    for M in range(1, min(H, W) + 1):
        if H % M == 0 and W % M == 0 and H * W * M**2 <= budget:
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


def split_qkv(x, qkv, heads):
    return qkv(x).unflatten(-1, (3, heads, -1)).permute(3, 0, 1, 4, 2, 5)


def joined(out, proj):
    return proj(out.transpose(2, 3).flatten(3))


def hide(bias, mask):
    return bias if mask is None else bias.masked_fill(~mask[:, None], -math.inf)


@cheats("attention", "It is made by the package's attention")
def lets_the_layer_do_it(x, qkv, proj, num_heads, bias, mask=None):
    layer = WindowAttention(x.shape[-1], math.isqrt(x.shape[2]), num_heads)
    layer.qkv, layer.proj, layer.relative_position_bias = qkv, proj, lambda: bias
    return layer(x, mask)


@cheats("attention", "It is made by PyTorch's `scaled_dot_product_attention`")
def calls_the_fused_kernel(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = split_qkv(x, qkv, num_heads)
    hidden = hide(bias[None], mask).expand(*q.shape[:3], -1, -1)
    q, k, v, hidden = (t.flatten(0, 1) for t in (q, k, v, hidden))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=hidden)
    return joined(out.unflatten(0, x.shape[:2]), proj)


@cheats("attention", "You visit windows, heads or tokens in a loop")
def head_after_head(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = (t.split(x.shape[-1] // num_heads, dim=-1) for t in qkv(x).chunk(3, dim=-1))
    outputs = []
    for head in range(num_heads):
        scores = q[head] @ k[head].mT / q[head].shape[-1] ** 0.5 + bias[head]
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        outputs.append(scores.softmax(-1) @ v[head])
    return proj(torch.cat(outputs, dim=-1))


@planted("attention", "The scores are not divided by sqrt(d)")
def no_root(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = split_qkv(x, qkv, num_heads)
    return joined((q @ k.mT + hide(bias, mask)).softmax(-1) @ v, proj)


@planted("attention", "You divide by sqrt(C)")
def root_of_the_channels(x, qkv, proj, num_heads, bias, mask=None):
    C = x.shape[-1]
    q, k, v = split_qkv(x, qkv, num_heads)
    return joined((q @ k.mT / C**0.5 + hide(bias, mask)).softmax(-1) @ v, proj)


@planted("attention", "The bias is divided by sqrt(d), too")
def divides_the_sum(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = split_qkv(x, qkv, num_heads)
    scores = (q @ k.mT + hide(bias, mask)) * q.shape[-1] ** -0.5
    return joined(scores.softmax(-1) @ v, proj)


@planted("attention", "The bias is not used")
def forgets_the_bias(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = split_qkv(x, qkv, num_heads)
    return joined((q @ k.mT / q.shape[-1] ** 0.5 + hide(0 * bias, mask)).softmax(-1) @ v, proj)


@planted("attention", "The mask is not used")
def forgets_the_mask(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = split_qkv(x, qkv, num_heads)
    return joined((q @ k.mT / q.shape[-1] ** 0.5 + bias).softmax(-1) @ v, proj)


@planted("attention", "The mask is the wrong way round")
def hides_what_is_allowed(x, qkv, proj, num_heads, bias, mask=None):
    return check.attention.answer(x, qkv, proj, num_heads, bias, None if mask is None else ~mask)


@planted("attention", "The forbidden weights are set to 0 after softmax")
def forbids_too_late(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = split_qkv(x, qkv, num_heads)
    weights = (q @ k.mT / q.shape[-1] ** 0.5 + bias).softmax(-1)
    if mask is not None:
        weights = weights.masked_fill(~mask.unsqueeze(1), 0.0)
    return joined(weights @ v, proj)


@planted("attention", "A forbidden key gets the score 0")
def hides_with_zero(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = split_qkv(x, qkv, num_heads)
    scores = q @ k.mT / q.shape[-1] ** 0.5 + bias
    if mask is not None:
        scores = scores * mask[:, None]
    return joined(scores.softmax(-1) @ v, proj)


@planted("attention", "The size of tensor a (6) must match")
def lines_the_mask_up_with_the_heads(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = split_qkv(x, qkv, num_heads)
    scores = q @ k.mT / q.shape[-1] ** 0.5 + bias
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return joined(scores.softmax(-1) @ v, proj)


@planted("attention", "You split them head by head first")
def heads_before_parts(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = qkv(x).unflatten(-1, (num_heads, 3, -1)).permute(4, 0, 1, 3, 2, 5)
    return joined((q @ k.mT / q.shape[-1] ** 0.5 + hide(bias, mask)).softmax(-1) @ v, proj)


@planted("attention", "a head holds whole tokens instead of a part of every token")
def only_views_heads(x, qkv, proj, num_heads, bias, mask=None):
    B, nW, N, C = x.shape
    q, k, v = (t.reshape(B, nW, num_heads, N, C // num_heads) for t in qkv(x).chunk(3, dim=-1))
    return joined((q @ k.mT / q.shape[-1] ** 0.5 + hide(bias, mask)).softmax(-1) @ v, proj)


@planted("attention", "But the heads come back in the wrong order")
def only_views_the_output(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = split_qkv(x, qkv, num_heads)
    return proj(((q @ k.mT / q.shape[-1] ** 0.5 + hide(bias, mask)).softmax(-1) @ v).reshape(x.shape))


@planted("attention", "softmax runs over the queries instead of the keys")
def softmax_down_the_columns(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = split_qkv(x, qkv, num_heads)
    return joined((q @ k.mT / q.shape[-1] ** 0.5 + hide(bias, mask)).softmax(-2) @ v, proj)


@planted("attention", "The output projection is missing")
def without_projection(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = split_qkv(x, qkv, num_heads)
    return joined((q @ k.mT / q.shape[-1] ** 0.5 + hide(bias, mask)).softmax(-1) @ v, lambda out: out)


def scored_and_masked(x, qkv, proj, heads, bias, mask, hides):
    q, k, v = split_qkv(x, qkv, heads)
    scores = q @ k.mT / q.shape[-1] ** 0.5 + bias
    if mask is not None:
        scores = hides(scores, ~mask[:, None])
    return joined(scores.softmax(-1) @ v, proj)


@planted("attention", "A finite number only lowers the score")
def fills_in_minus_20(x, qkv, proj, num_heads, bias, mask=None):
    return scored_and_masked(
        x, qkv, proj, num_heads, bias, mask, lambda s, hidden: s.masked_fill(hidden, -20)
    )


@planted_alike("attention", "A finite number only lowers the score")
def fills_in_minus_8(x, qkv, proj, num_heads, bias, mask=None):
    return scored_and_masked(x, qkv, proj, num_heads, bias, mask, lambda s, hidden: s.masked_fill(hidden, -8))


@planted_alike("attention", "A finite number only lowers the score")
def subtracts_100(x, qkv, proj, num_heads, bias, mask=None):
    return scored_and_masked(x, qkv, proj, num_heads, bias, mask, lambda s, hidden: s - 100.0 * hidden)


@planted("attention", "float32 cannot hold exp(300)")
def divides_by_the_sum_of_exp(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = split_qkv(x, qkv, num_heads)
    e = (q @ k.mT / q.shape[-1] ** 0.5 + bias).exp()
    if mask is not None:
        e = e * mask[:, None]
    return joined(e / e.sum(-1, keepdim=True) @ v, proj)


@planted("attention", "You multiply by sqrt(d)")
def times_the_root(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = split_qkv(x, qkv, num_heads)
    return joined((q @ k.mT * q.shape[-1] ** 0.5 + hide(bias, mask)).softmax(-1) @ v, proj)


@planted("attention", "Query and value have changed places")
def takes_the_parts_backwards(x, qkv, proj, num_heads, bias, mask=None):
    v, k, q = split_qkv(x, qkv, num_heads)
    return joined((q @ k.mT / q.shape[-1] ** 0.5 + hide(bias, mask)).softmax(-1) @ v, proj)


@planted("attention", "The constants of `qkv` are missing")
def multiplies_by_the_weight(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = split_qkv(x, lambda x: x @ qkv.weight.T, num_heads)
    return joined((q @ k.mT / q.shape[-1] ** 0.5 + hide(bias, mask)).softmax(-1) @ v, proj)


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


@planted("one_head", "Heads count from 0")
def counts_heads_from_one(x, weight, bias, heads, head):
    q, k = (rows_of(x, weight, bias, heads, head - 1, part) for part in (0, 1))
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


@planted("relative_position_index", "9 offsets have only 5 sums")
def adds_the_two(M):
    y = torch.arange(M * M) // M
    x = torch.arange(M * M) % M
    return (y[:, None] - y[None, :] + M - 1) + (x[:, None] - x[None, :] + M - 1)


@planted("relative_position_index", "dy counts M times as much as dx")
def multiplies_by_m(M):
    y, x = torch.meshgrid(torch.arange(M), torch.arange(M), indexing="ij")
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y + M - 1) * M + (x[:, None] - x + M - 1)


@planted("relative_position_index", "dy is multiplied by 2M")
def multiplies_by_two_m(M):
    y, x = torch.arange(M).repeat_interleave(M), torch.arange(M).repeat(M)
    return 2 * M * (y.unsqueeze(1) - y + M - 1) + x.unsqueeze(1) - x + M - 1


@planted("relative_position_index", "Brackets are missing")
def multiplies_without_brackets(M):
    token = torch.arange(M * M)
    dy = token[:, None] // M - token // M + (M - 1)
    dx = token[:, None] % M - token % M + (M - 1)
    return dy * 2 * M - 1 + dx


@planted_alike("relative_position_index", "in i - j, the difference of the tokens' numbers, too")
def subtracts_token_numbers(M):
    N = M * M
    token = torch.arange(N)
    return token.view(N, 1) - token.view(1, N) + N - 1


@planted("relative_position_index", "You subtract the tokens' numbers, and some differences are negative")
def subtracts_token_numbers_only(M):
    token = torch.arange(M**2)
    return token[:, None] - token[None, :]


@planted("relative_position_index", "you take absolute values. What makes dy and dx start at 0")
def measures_distances(M):
    token = torch.arange(M * M)
    dy = (token[:, None] // M - token // M).abs()
    dx = (token[:, None] % M - token % M).abs()
    return (2 * M - 1) * dy + dx


@planted("relative_position_index", "The offset is reversed")
def takes_key_minus_query(M):
    y, x = torch.meshgrid(torch.arange(M), torch.arange(M), indexing="ij")
    y, x = y.flatten(), x.flatten()
    return (y[None, :] - y[:, None] + M - 1) * (2 * M - 1) + x[None, :] - x[:, None] + M - 1


@planted("relative_position_index", "dx counts more than dy")
def takes_the_column_first(M):
    y, x = torch.meshgrid(torch.arange(M), torch.arange(M), indexing="xy")
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y + M - 1) * (2 * M - 1) + x[:, None] - x + M - 1


@planted("relative_position_index", "Some numbers are negative, and a negative row number reads a table")
def adds_nothing(M):
    token = torch.arange(M * M)
    y, x = token // M, token % M
    return (y[:, None] - y[None, :]) * (2 * M - 1) + (x[:, None] - x[None, :])


@planted("relative_position_index", "M - 1 is added once, after the multiplication")
def adds_once(M):
    y, x = torch.arange(M * M) // M, torch.arange(M * M) % M
    dy, dx = y[:, None] - y, x[:, None] - x
    return dy * (2 * M - 1) + dx + M - 1


@planted("relative_position_index", "M - 1 is added to dy only")
def adds_to_dy(M):
    y, x = torch.arange(M * M) // M, torch.arange(M * M) % M
    return (y[:, None] - y + M - 1) * (2 * M - 1) + x[:, None] - x


@planted("relative_position_index", "You add M. The smallest number is not 0")
def adds_m(M):
    y, x = torch.arange(M * M) // M, torch.arange(M * M) % M
    return (y[:, None] - y + M) * (2 * M - 1) + x[:, None] - x + M


@planted("relative_position_index", "Merge them in pairs: (N, N)")
def leaves_four_axes(M):
    side = torch.arange(M)
    d = side[:, None] - side + M - 1  # (M, M)
    return d[:, None, :, None] * (2 * M - 1) + d[None, :, None, :]


@planted("relative_position_index", "Right for: M = 4. Not for M = 2")
def knows_windows_of_four(M):
    y, x = torch.arange(M * M) // M, torch.arange(M * M) % M
    return 7 * (y[:, None] - y + 3) + x[:, None] - x + 3


@planted("relative_position_index", "the numbers are of type torch.float32, expected torch.int64")
def divides_with_a_fraction(M):
    token = torch.arange(M * M)
    y, x = (token / M).floor(), token % M
    return (y[:, None] - y + M - 1) * (2 * M - 1) + x[:, None] - x + M - 1


@planted("relative_position_index", "you return the shape (4,), expected (N, N) = (4, 4)")
def subtracts_without_axes(M):
    y, x = torch.arange(M * M) // M, torch.arange(M * M) % M
    return (y - y + M - 1) * (2 * M - 1) + x - x + M - 1


@cheats("relative_position_index", "the package's `relative_position_index`")
def asks_the_package_for_the_index(M):
    return relative_position_index(M)


@cheats("relative_position_index", "You visit the pairs in a loop")
def goes_through_all_pairs(M):
    index = torch.zeros(M * M, M * M, dtype=torch.int64)
    for i in range(M * M):
        for j in range(M * M):
            dy, dx = i // M - j // M, i % M - j % M
            index[i, j] = (2 * M - 1) * (dy + M - 1) + dx + M - 1
    return index


@planted("relative_position_index", "dx is reversed, dy is not")
def dx_is_key_minus_query(M):
    y, x = torch.arange(M * M) // M, torch.arange(M * M) % M
    dy, dx = y[:, None] - y[None, :], x[None, :] - x[:, None]
    return (dy + M - 1) * (2 * M - 1) + dx + M - 1


@planted("relative_position_index", "dy is reversed, dx is not")
def dy_is_key_minus_query(M):
    y, x = torch.arange(M * M) // M, torch.arange(M * M) % M
    dy, dx = y[None, :] - y[:, None], x[:, None] - x[None, :]
    return (dy + M - 1) * (2 * M - 1) + dx + M - 1


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


@cheats("resize_table", "You visit the offsets in a loop")
def looks_up_one_by_one(table, M, m):
    rows = []
    for dy in range(1 - m, m):
        for dx in range(1 - m, m):
            near = [max(1 - M, min(M - 1, step)) for step in (dy, dx)]
            rows.append(table[(2 * M - 1) * (near[0] + M - 1) + near[1] + M - 1])
    return torch.stack(rows)


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


@planted("influence", "The end is the first token that is not reached")
def returns_the_last_token(size, M, shifts, token):
    first = last = token
    for s in shifts:
        edges = sorted({0, size, *range(s, size, M)})
        first = max(e for e in edges if e <= first)
        last = min(e for e in edges if e > last) - 1
    return first, last


@planted("influence", "Every block has its own shift, and you use none")
def knows_regular_windows_only(size, M, shifts, token):
    return (token // M * M, min(size, token // M * M + M)) if shifts else (token, token + 1)


@planted("influence", "You let the area grow by M tokens on both sides")
def grows_on_both_sides(size, M, shifts, token):
    first, end = token, token + 1
    for _ in shifts:
        first, end = max(0, first - M), min(size, end + M)
    return first, end


@planted("influence", "You ask each time for the window of the token itself")
def follows_the_token_alone(size, M, shifts, token):
    first, end = token, token + 1
    for s in shifts:
        edges = sorted({0, size, *range(s, size, M)})
        first = max(e for e in edges if e <= token)
        end = min(e for e in edges if e > token)
    return first, end


@planted("influence", "Not for at the left edge: in place 0 you return -2, expected 0")
def forgets_the_edge_of_the_map(size, M, shifts, token):
    first, end = token, token + 1
    for s in shifts:
        first = (first - s) // M * M + s
        end = min(size, math.ceil((end - s) / M) * M + s)
    return first, end


@planted("shifted_window_mask", "The mask is a number to add to the scores")
def as_in_the_official_code_again(H, W, M, shift):
    Hp, Wp = H + -H % M, W + -W % M
    regions, slices = torch.zeros(1, Hp, Wp, 1), (slice(0, -M), slice(-M, -shift), slice(-shift, None))
    for i, rows in enumerate(slices):
        for j, columns in enumerate(slices):
            regions[:, rows, columns] = 3 * i + j
    windows = window_partition(regions, M)[0, :, :, 0]
    mask = windows[:, None] - windows[:, :, None]
    return mask.masked_fill(mask != 0, -100.0)


def map_of_labels(H, W, M, shift, row=2, padding=-1):
    """-> (H, W) padded: the right labels, but for what the caller changes."""
    sides = []
    for size in (H, W):
        s = shift if size > M else 0
        place = (torch.arange(size + (M - size % M) % M) + s) % (size + (M - size % M) % M)
        sides.append(torch.where(place >= size, padding, (place < s).long()))
    return row * sides[0][:, None] + sides[1]


def compared(labels, M):
    windows = window_partition(labels[None, ..., None], M)[0, ..., 0]
    return windows[:, :, None] == windows[:, None, :]


@planted("shifted_window_mask", "The sign is wrong")
def true_means_forbidden(H, W, M, shift):
    labels = map_of_labels(H, W, M, shift, row=10, padding=100)
    windows = window_partition(labels.where(labels < 90, 99)[None, ..., None], M)[0, ..., 0]
    return windows[:, :, None] != windows[:, None, :]


@planted("shifted_window_mask", "a real token may attend to it")
def knows_no_padding(H, W, M, shift):
    return compared(map_of_labels(H, W, M, shift, padding=0), M)


@planted("shifted_window_mask", "softmax makes nan")
def nobody_attends_to_padding(H, W, M, shift):
    labels = map_of_labels(H, W, M, shift, row=10, padding=100)
    real = window_partition((labels < 90)[None, ..., None], M)[0, ..., 0]
    return compared(labels, M) & real[:, :, None] & real[:, None, :]


@planted("shifted_window_mask", "Not all padding has the same label. That does no harm")
def counts_three_by_three(H, W, M, shift):
    return compared(map_of_labels(H, W, M, shift, row=3, padding=2), M)


@planted("shifted_window_mask", "then the roll takes the padding with it")
def pads_the_labels_last(H, W, M, shift):
    sides = []
    for size in (H, W):
        s = shift if size > M else 0
        sides.append(F.pad((torch.arange(size).roll(-s) < s).long(), (0, -size % M), value=7))
    labels = 10 * sides[0][:, None] + sides[1][None, :]
    labels[sides[0] == 7] = labels[:, sides[1] == 7] = 99
    return compared(labels, M)


@planted("shifted_window_mask", "An axis that one window covers is shifted, too")
def shifts_both_axes_always(H, W, M, shift):
    y, z = (torch.arange(size + -size % M).roll(-shift) for size in (H, W))
    labels = 2 * (y < shift).long()[:, None] + (z < shift).long()[None, :]
    labels[y >= H] = labels[:, z >= W] = -1
    return compared(labels, M)


@planted("shifted_window_mask", "Two bits make four labels")
def adds_the_bits(H, W, M, shift):
    return compared(map_of_labels(H, W, M, shift, row=1, padding=50).clamp(max=40), M)


@planted("shifted_window_mask", "Only the rows count")
def rows_of_the_labels_alone(H, W, M, shift):
    both = map_of_labels(H, W, M, shift, row=10, padding=100)
    return compared(torch.where(both < 90, both // 10, 99), M)


@planted("shifted_window_mask", "Your windows are runs of the map's rows")
def reads_labels_as_windows(H, W, M, shift):
    labels = map_of_labels(H, W, M, shift, row=10, padding=100)
    windows = labels.clamp(max=90).reshape(-1, M * M)
    return windows[:, :, None] == windows[:, None, :]


@planted("shifted_window_mask", "The labels are rolled the wrong way")
def rolls_labels_down(H, W, M, shift):
    sides = []
    for size in (H, W):
        s = shift if size > M else 0
        sides.append(torch.arange(size + -size % M).roll(s))
    labels = 2 * (sides[0] < (shift if H > M else 0)).long()[:, None] + (sides[1] < (shift if W > M else 0))
    labels[sides[0] >= H] = labels[:, sides[1] >= W] = -1
    return compared(labels, M)


@cheats("shifted_window_mask", "the package's `shifted_window_mask`")
def takes_the_packages_mask(H, W, M, shift):
    return shifted_window_mask(H, W, M, shift)


@cheats("shifted_window_mask", "in a loop")
def compares_window_after_window(H, W, M, shift):
    labels = map_of_labels(H, W, M, shift, row=10, padding=100).clamp(max=90)
    masks = []
    for top in range(0, labels.shape[0], M):
        for left in range(0, labels.shape[1], M):
            window = labels[top : top + M, left : left + M].flatten()
            masks.append(window[:, None] == window[None, :])
    return torch.stack(masks)


@planted("shifted_window_mask", "The labels are not rolled, the map is")
def rolls_no_labels(H, W, M, shift):
    sides = []
    for size in (H, W):
        place = torch.arange(size + -size % M)
        sides.append((place < (shift if size > M else 0)).long().masked_fill(place >= size, 100))
    return compared((2 * sides[0][:, None] + sides[1]).clamp(max=90), M)


@planted("shifted_window_mask", "an axis too many, (1, nW, N, N)")
def keeps_an_axis_for_pictures(H, W, M, shift):
    labels = map_of_labels(H, W, M, shift, padding=100).clamp(max=90)
    windows = window_partition(labels[None, ..., None], M)[..., 0]
    return windows[:, :, :, None] == windows[:, :, None, :]


@planted("shifted_window_mask", "A mask is always returned here")
def nothing_without_shift(H, W, M, shift):
    if shift == 0:
        return None
    return compared(map_of_labels(H, W, M, shift, padding=100).clamp(max=90), M)


@planted_alike("shifted_window_mask", "A mask is always returned here")
def nothing_for_a_single_window(H, W, M, shift):
    mask = compared(map_of_labels(H, W, M, shift, padding=100).clamp(max=90), M)
    return None if mask.all() else mask


def shifts_there(x, M, shift):
    H, W = x.shape[1:3]
    return (-shift if H > M else 0), (-shift if W > M else 0)


def mask_there(x, M, shift):
    H, W = x.shape[1:3]
    needed = H % M or W % M or any(shifts_there(x, M, shift))
    return shifted_window_mask(H, W, M, shift) if needed else None


@planted("to_windows", "The map is rolled down and right")
def rolls_the_other_way(x, M, shift):
    mask, (up, left) = mask_there(x, M, shift), shifts_there(x, M, shift)
    x = F.pad(x, (0, 0, 0, -x.shape[2] % M, 0, -x.shape[1] % M))
    return window_partition(torch.roll(x, (-up, -left), (1, 2)), M), mask


@planted("to_windows", "You roll before you pad")
def rolls_then_pads(x, M, shift):
    mask = mask_there(x, M, shift)
    x = x.roll(shifts_there(x, M, shift), (1, 2))
    x = F.pad(x, (0, 0, 0, -x.shape[2] % M, 0, -x.shape[1] % M))
    return window_partition(x, M), mask


@planted("to_windows", "An axis that one window covers is rolled, too")
def rolls_every_axis(x, M, shift):
    mask = mask_there(x, M, shift)
    x = F.pad(x, (0, 0, 0, -x.shape[2] % M, 0, -x.shape[1] % M))
    return window_partition(x.roll((-shift, -shift), (1, 2)), M), mask


@planted("to_windows", "gets a whole window of padding")
def pads_by_the_remainder(x, M, shift):
    H, W = x.shape[1:3]
    shifts = shifts_there(x, M, shift)
    x = F.pad(x, (0, 0, 0, M - W % M, 0, M - H % M)).roll(shifts, (1, 2))
    return window_partition(x, M), shifted_window_mask(H, W, M, shift)


@planted("to_windows", "it does not know which tokens are padding")
def asks_for_the_mask_after_padding(x, M, shift):
    shifts, needed = shifts_there(x, M, shift), mask_there(x, M, shift) is not None
    x = F.pad(x, (0, 0, 0, -x.shape[2] % M, 0, -x.shape[1] % M))
    H, W = x.shape[1:3]
    mask = shifted_window_mask(H, W, M, shift) if needed else None
    return window_partition(x.roll(shifts, (1, 2)), M), mask


@planted("to_windows", "missing where the map is padded and not shifted")
def masks_shifted_maps_only(x, M, shift):
    shifts, mask = shifts_there(x, M, shift), mask_there(x, M, shift)
    x = F.pad(x, (0, 0, 0, -x.shape[2] % M, 0, -x.shape[1] % M))
    return window_partition(x.roll(shifts, (1, 2)), M), mask if any(shifts) else None


@planted("to_windows", "there return None in place of a mask")
def masks_everything(x, M, shift):
    H, W = x.shape[1:3]
    shifts = shifts_there(x, M, shift)
    x = F.pad(x, (0, 0, 0, -W % M, 0, -H % M)).roll(shifts, (1, 2))
    return window_partition(x, M), shifted_window_mask(H, W, M, shift)


@planted("to_windows", "The padding stands above and left")
def pads_before_the_map(x, M, shift):
    shifts, mask = shifts_there(x, M, shift), mask_there(x, M, shift)
    x = F.pad(x, (0, 0, -x.shape[2] % M, 0, -x.shape[1] % M, 0)).roll(shifts, (1, 2))
    return window_partition(x, M), mask


@planted("to_windows", "Right for 5 of 9 inputs. Not for 6 x 7, padded to 8 x 8: your code stops at")
def pads_nothing(x, M, shift):
    x_rolled = x.roll(shifts_there(x, M, shift), (1, 2))
    return window_partition(x_rolled, M), mask_there(x, M, shift)


@planted("to_windows", "one tensor is returned. Return two things")
def returns_no_mask(x, M, shift):
    x = F.pad(x, (0, 0, 0, -x.shape[2] % M, 0, -x.shape[1] % M))
    return window_partition(x.roll(shifts_there(x, M, shift), (1, 2)), M)


@cheats("to_windows", "the package's `to_windows`")
def asks_a_block_for_windows(x, M, shift):
    return SwinTransformerBlock(x.shape[3], 1, M, shift_size=shift).to_windows(x)


def padded_and_rolled(x, M, shifts):
    return window_partition(F.pad(x, (0, 0, 0, -x.shape[2] % M, 0, -x.shape[1] % M)).roll(shifts, (1, 2)), M)


@planted("to_windows", "`shift` is more than 0 where one window covers both axes")
def asks_whether_shift_is_0(x, M, shift):
    H, W = x.shape[1:3]
    mask = shifted_window_mask(H, W, M, shift) if shift or H % M or W % M else None
    return padded_and_rolled(x, M, shifts_there(x, M, shift)), mask


@planted("to_windows", "whether there is a mask depends on `shift` alone")
def forgets_that_padding_needs_a_mask(x, M, shift):
    mask = shifted_window_mask(*x.shape[1:3], M, shift) if shift else None
    return padded_and_rolled(x, M, shifts_there(x, M, shift)), mask


@planted("to_windows", "Each axis has a shift of its own")
def one_axis_stops_the_other(x, M, shift):
    if min(x.shape[1:3]) <= M:
        shift = 0
    return padded_and_rolled(x, M, shifts_there(x, M, shift)), mask_there(x, M, shift)


@planted("to_windows", "The shifts of rows and columns have changed places")
def rolls_by_left_and_up(x, M, shift):
    return padded_and_rolled(x, M, shifts_there(x, M, shift)[::-1]), mask_there(x, M, shift)


@planted("to_windows", "but the mask is the wrong way round")
def returns_the_forbidden_pairs(x, M, shift):
    mask = mask_there(x, M, shift)
    return padded_and_rolled(x, M, shifts_there(x, M, shift)), None if mask is None else ~mask


@planted("to_windows", "the mask: you return the shape (4, 1, 16, 16), expected (4, 16, 16)")
def gives_the_mask_an_axis_for_heads(x, M, shift):
    mask = mask_there(x, M, shift)
    return padded_and_rolled(x, M, shifts_there(x, M, shift)), None if mask is None else mask[:, None]


@planted("to_windows", "the windows: you return the shape (1, 2, 2, 16, 2), expected (1, 4, 16, 2)")
def leaves_windows_in_rows(x, M, shift):
    windows = padded_and_rolled(x, M, shifts_there(x, M, shift))
    return windows.unflatten(1, (-1, -(-x.shape[2] // M))), mask_there(x, M, shift)


@planted("from_windows", "The roll is not undone")
def only_puts_back(windows, M, shift, H, W):
    return window_reverse(windows, M, H + -H % M, W + -W % M)[:, :H, :W]


@planted("from_windows", "The map is rolled up and left once more")
def rolls_up_again(windows, M, shift, H, W):
    x = window_reverse(windows, M, H + -H % M, W + -W % M)
    return x.roll([-shift if side > M else 0 for side in (H, W)], (1, 2))[:, :H, :W]


@planted("from_windows", "You crop before you roll back")
def crops_then_rolls(windows, M, shift, H, W):
    x = window_reverse(windows, M, H + -H % M, W + -W % M)[:, :H, :W]
    return x.roll([shift if side > M else 0 for side in (H, W)], (1, 2))


@planted("from_windows", "The padding is still there")
def keeps_the_padding(windows, M, shift, H, W):
    x = window_reverse(windows, M, H + -H % M, W + -W % M)
    return x.roll([shift if side > M else 0 for side in (H, W)], (1, 2))


@planted("from_windows", "`to_windows` has not rolled it")
def rolls_every_axis_back(windows, M, shift, H, W):
    x = window_reverse(windows, M, H + -H % M, W + -W % M)
    return x.roll((shift, shift), (1, 2))[:, :H, :W]


@planted("from_windows", "The windows are only read as a map")
def reshapes_the_windows(windows, M, shift, H, W):
    x = windows.reshape(len(windows), H + -H % M, W + -W % M, -1)
    return x.roll([shift if side > M else 0 for side in (H, W)], (1, 2))[:, :H, :W]


@planted("from_windows", "Right for 5 of 9 inputs. Not for 6 x 7, padded to 8 x 8: your code stops at")
def puts_back_into_the_small_map(windows, M, shift, H, W):
    x = window_reverse(windows, M, H, W)
    return x.roll([shift if side > M else 0 for side in (H, W)], (1, 2))


@cheats("from_windows", "the package's `from_windows`")
def asks_a_block_for_the_map(windows, M, shift, H, W):
    return SwinTransformerBlock(windows.shape[3], 1, M, shift_size=shift).from_windows(windows, H, W)


# --- 08 ----------------------------------------------------------------------------------


@planted("drop_path", "Single numbers are dropped, as Dropout does it")
def is_dropout(x, drop_prob, training):
    return F.dropout(x, drop_prob, training)


@planted("drop_path", "You draw once for the whole batch")
def one_fate_for_all(x, drop_prob, training):
    if training and torch.rand(1) < drop_prob:
        return torch.zeros_like(x)
    return x / (1 - drop_prob) if training else x


@planted("drop_path", "The kept samples are not divided by 1 - drop_prob")
def forgets_the_division(x, drop_prob, training):
    if not training:
        return x
    return x * (torch.rand(len(x), *[1] * (x.ndim - 1)) >= drop_prob).to(x.dtype)


@planted("drop_path", "Every token is drawn by itself")
def draws_for_tokens(x, drop_prob, training):
    if not training or not drop_prob:
        return x
    return x * x.new_empty(*x.shape[:-1], 1).bernoulli_(1 - drop_prob) / (1 - drop_prob)


@planted("drop_path", "In evaluation something is dropped as well")
def ignores_training(x, drop_prob, training):
    kept = x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(1 - drop_prob)
    return x * kept / (1 - drop_prob)


@planted("drop_path", "In evaluation x is multiplied by 1 - drop_prob")
def divides_nothing_but_scales_evaluation(x, drop_prob, training):
    if not training:
        return x * (1 - drop_prob)
    return x * (x.new_empty(len(x), *[1] * (x.ndim - 1)).uniform_() > drop_prob)


@planted("drop_path", "drop_prob is the probability to be dropped; you keep with this probability")
def keeps_with_drop_prob(x, drop_prob, training):
    if not training or drop_prob == 0:
        return x
    return x * x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(drop_prob) / (1 - drop_prob)


@planted("drop_path", "The kept samples are multiplied by 1 - drop_prob")
def multiplies_by_keep(x, drop_prob, training):
    if not training:
        return x
    keep = 1 - drop_prob
    return x * x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(keep) * keep


@planted("drop_path", "The result is float32 where x is bfloat16")
def draws_float32(x, drop_prob, training):
    if not training or drop_prob == 0:
        return x
    keep = torch.empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(1 - drop_prob)
    return x * (keep / (1 - drop_prob))


@planted("drop_path", "Not for maps of 400 pictures in training: your code stops at")
def one_axis_only(x, drop_prob, training):
    if not training or drop_prob == 0:
        return x
    return x * x.new_empty(len(x)).bernoulli_(1 - drop_prob) / (1 - drop_prob)


@cheats("drop_path", "The package's DropPath does the work")
def takes_the_layer(x, drop_prob, training):
    return DropPath(drop_prob).train(training)(x)


@cheats("drop_path", "You visit the samples in a loop")
def sample_after_sample(x, drop_prob, training):
    out = []
    for sample in x:
        gone = training and torch.rand(1) < drop_prob
        out.append(0 * sample if gone else sample / (1 - drop_prob * training))
    return torch.stack(out)


@planted("drop_path", "in training the kept samples are divided by it. One of the two is enough")
def scales_here_and_there(x, drop_prob, training):
    if not training:
        return x * (1 - drop_prob)
    keep = x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(1 - drop_prob)
    return x * keep / (1 - drop_prob)


@planted("drop_path", "The kept samples are divided by drop_prob")
def divides_by_the_other(x, drop_prob, training):
    if not training or drop_prob == 0:
        return x
    return x * x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(1 - drop_prob) / drop_prob


@planted("drop_path", "the samples: you return 'x times 0 or 1', expected 'x times 0 or 1.25'")
def divides_vectors_only(x, drop_prob, training):
    if not training or drop_prob == 0:
        return x
    keep = x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(1 - drop_prob)
    return x * keep / (1 - drop_prob if x.ndim == 2 else 1)


@planted(
    "drop_path",
    "you return 'one for each index of the axes 0 and 1', expected 'one for each index of axis 0'",
)
def draws_for_two_axes(x, drop_prob, training):
    if not training or drop_prob == 0:
        return x
    keep = x.new_empty(*x.shape[:2], *[1] * (x.ndim - 2)).bernoulli_(1 - drop_prob)
    return x * keep / (1 - drop_prob)


def attends(x, layer, mask=True, back=None):
    M, shift, attn = layer.window_size, layer.shift_size, layer.attn
    windows, allowed = package_pieces.to_windows(x, M, shift)
    allowed = allowed if mask else None
    bias = attn.relative_position_bias()
    windows = package_pieces.attention(windows, attn.qkv, attn.proj, attn.num_heads, bias, allowed)
    return package_pieces.from_windows(windows, M, shift if back is None else back, *x.shape[1:3])


@planted("block", "You add to the normalised map")
def adds_to_the_normalised(x, layer):
    x = layer.norm1(x)
    x = x + layer.drop_path(attends(x, layer))
    x = layer.norm2(x)
    return x + layer.drop_path(layer.mlp(x))


@planted("block", "You normalise after the addition (post-norm")
def as_in_2017(x, layer):
    x = layer.norm1(x + layer.drop_path(attends(x, layer)))
    return layer.norm2(x + layer.drop_path(layer.mlp(x)))


@planted("block", "The MLP reads what attention has read")
def branches_side_by_side(x, layer):
    first = layer.drop_path(attends(layer.norm1(x), layer))
    return x + first + layer.drop_path(layer.mlp(layer.norm2(x)))


@planted("block", "The result of attention replaces x")
def forgets_to_add_x(x, layer):
    x = layer.drop_path(attends(layer.norm1(x), layer))
    return x + layer.drop_path(layer.mlp(layer.norm2(x)))


@planted("block", "The result of the MLP is returned alone")
def forgets_the_second_sum(x, layer):
    x = x + layer.drop_path(attends(layer.norm1(x), layer))
    return layer.drop_path(layer.mlp(layer.norm2(x)))


@planted("block", "The mask of `to_windows` is not used")
def throws_the_mask_away(x, layer):
    x = x + layer.drop_path(attends(layer.norm1(x), layer, mask=False))
    return x + layer.drop_path(layer.mlp(layer.norm2(x)))


@planted("block", "The map is not shifted back")
def stays_shifted(x, layer):
    x = x + layer.drop_path(attends(layer.norm1(x), layer, back=0))
    return x + layer.drop_path(layer.mlp(layer.norm2(x)))


@planted("block", "DropPath is missing")
def without_drop_path(x, layer):
    x = x + attends(layer.norm1(x), layer)
    return x + layer.mlp(layer.norm2(x))


@planted("block", "DropPath is applied to the sum")
def drops_the_sum(x, layer):
    x = layer.drop_path(x + attends(layer.norm1(x), layer))
    return layer.drop_path(x + layer.mlp(layer.norm2(x)))


@planted("block", "In evaluation branches are dropped as well")
def training_is_true(x, layer):
    p = layer.drop_path.drop_prob
    x = x + package_pieces.drop_path(attends(layer.norm1(x), layer), p, True)
    return x + package_pieces.drop_path(layer.mlp(layer.norm2(x)), p, True)


@planted("block", "norm1 is used twice")
def copies_the_line(x, layer):
    x = x + layer.drop_path(attends(layer.norm1(x), layer))
    return x + layer.drop_path(layer.mlp(layer.norm1(x)))


@planted("block", "for instance for regular windows: your code stops at")
def hands_windows_to_the_mlp(x, layer):
    M, shift, attn = layer.window_size, layer.shift_size, layer.attn
    windows, mask = package_pieces.to_windows(layer.norm1(x), M, shift)
    bias = attn.relative_position_bias()
    windows = package_pieces.attention(windows, attn.qkv, attn.proj, attn.num_heads, bias, mask)
    x = x + windows
    return x + layer.mlp(layer.norm2(x))


@cheats("block", "The package's block does the work")
def calls_the_layer(x, layer):
    return layer(x)


@cheats("block", "`window_attention` of the package does half the work")
def half_by_the_package(x, layer):
    x = x + layer.drop_path(layer.window_attention(layer.norm1(x)))
    return x + layer.drop_path(layer.mlp(layer.norm2(x)))


@planted("block", "The first line of equation 3 adds to norm1 of the map")
def keeps_the_first_norm(x, layer):
    x = layer.norm1(x)
    x = x + layer.drop_path(attends(x, layer))
    return x + layer.drop_path(layer.mlp(layer.norm2(x)))


@planted("block", "The second line of equation 3 adds to norm2 of the map")
def keeps_the_second_norm(x, layer):
    x = x + layer.drop_path(attends(layer.norm1(x), layer))
    x = layer.norm2(x)
    return x + layer.drop_path(layer.mlp(x))


@planted("block", "In the first line DropPath is applied to the sum")
def drops_the_first_sum(x, layer):
    x = layer.drop_path(x + attends(layer.norm1(x), layer))
    return x + layer.drop_path(layer.mlp(layer.norm2(x)))


@planted("block", "In the second line DropPath is applied to the sum")
def drops_the_second_sum(x, layer):
    x = x + layer.drop_path(attends(layer.norm1(x), layer))
    return layer.drop_path(x + layer.mlp(layer.norm2(x)))


@planted("block", "In evaluation the branch of attention is dropped as well")
def says_true_for_attention(x, layer):
    p = layer.drop_path.drop_prob
    x = x + package_pieces.drop_path(attends(layer.norm1(x), layer), p, True)
    return x + package_pieces.drop_path(layer.mlp(layer.norm2(x)), p, layer.training)


@planted("block", "In evaluation the branch of the MLP is dropped as well")
def says_true_for_the_mlp(x, layer):
    p = layer.drop_path.drop_prob
    x = x + package_pieces.drop_path(attends(layer.norm1(x), layer), p, layer.training)
    return x + package_pieces.drop_path(layer.mlp(layer.norm2(x)), p, True)


@planted("stage", "Only the result of the first block is returned")
def returns_in_the_loop(x, layer):
    x = layer.downsample(x)
    for each in layer.blocks:
        x = package_pieces.block(x, each)
        return x


@planted("stage", "The blocks change nothing")
def forgets_to_keep_the_result(x, layer):
    x = layer.downsample(x)
    for each in layer.blocks:
        package_pieces.block(x, each)
    return x


@planted("stage", "Every block reads the same map")
def keeps_x(x, layer):
    x = layer.downsample(x)
    for each in layer.blocks:
        out = package_pieces.block(x, each)
    return out


@planted("stage", "the first block gets tokens of 12 channels, but its weights are for 24")
def merges_at_the_end(x, layer):
    for each in layer.blocks:
        x = package_pieces.block(x, each)
    return layer.downsample(x)


@planted_alike("stage", "the first block gets tokens of 12 channels, but its weights are for 24")
def never_merges(x, layer):
    for each in layer.blocks:
        x = each(x)
    return x


@planted("stage", "Not for a first stage, without merging: your code stops at")
def always_merges(x, layer):
    x = package_pieces.patch_merging(x, layer.downsample.norm, layer.downsample.reduction)
    for each in layer.blocks:
        x = package_pieces.block(x, each)
    return x


@planted("stage", "You add the map from before the blocks once more")
def adds_around_the_stage(x, layer):
    x = start = layer.downsample(x)
    for each in layer.blocks:
        x = package_pieces.block(x, each)
    return start + x


@planted("stage", "The last block is left out")
def one_too_few(x, layer):
    x = layer.downsample(x)
    for i in range(len(layer.blocks) - 1):
        x = package_pieces.block(x, layer.blocks[i])
    return x


@cheats("stage", "The package's stage does the work")
def calls_the_stage(x, layer):
    return layer(x)


def last_map(images, model):
    x = model.patch_embed(images)
    for each in model.stages:
        x = package_pieces.stage(x, each)
    return x


@planted("forward", "The last LayerNorm, `model.norm`, is missing")
def forgets_the_norm(images, model):
    return model.head(last_map(images, model).mean((1, 2)))


@planted("forward", "You normalise the mean")
def mean_before_norm(images, model):
    return model.head(model.norm(last_map(images, model).mean((1, 2))))


@planted("forward", "You return one answer per token")
def forgets_the_mean(images, model):
    return model.head(model.norm(last_map(images, model)))


@planted("forward", "You return probabilities")
def ends_with_softmax(images, model):
    return torch.softmax(model.head(model.norm(last_map(images, model)).mean((1, 2))), -1)


@planted("forward", "The mean goes over the pictures of the batch as well")
def mean_of_everything(images, model):
    mean = model.norm(last_map(images, model)).flatten(0, 2).mean(0)
    return model.head(mean)[None].repeat(len(images), 1)


@planted("forward", "You take the largest number of each channel")
def pools_the_largest(images, model):
    return model.head(model.norm(last_map(images, model)).flatten(1, 2).max(1).values)


@planted("forward", "The patch embedding is more than its convolution")
def only_the_convolution(images, model):
    embed, P = model.patch_embed, model.config.patch_size
    images = F.pad(images, (0, -images.shape[3] % P, 0, -images.shape[2] % P))
    x = package_pieces.patch_embed(images, embed.proj.weight, embed.proj.bias)
    for each in model.stages:
        x = package_pieces.stage(x, each)
    return model.head(model.norm(x).mean((1, 2)))


@planted("forward", "Right for 3 of 4 inputs. Not for three stages: your code stops at")
def knows_two_stages(images, model):
    x = package_pieces.stage(model.patch_embed(images), model.stages[0])
    x = package_pieces.stage(x, model.stages[1])
    return model.head(model.norm(x).mean((1, 2)))


@cheats("forward", "The package's model does the work")
def calls_the_model(images, model):
    return model.forward_head(model.forward_features(images))


@planted("forward", "the head gets a tensor (3, 4), but its weights are for 24 channels")
def mean_over_axes_2_and_3(images, model):
    return model.head(model.norm(last_map(images, model)).mean((2, 3)))


@planted("forward", "You return the logarithms of probabilities")
def ends_with_log_softmax(images, model):
    return F.log_softmax(model.head(model.norm(last_map(images, model)).mean((1, 2))), -1)


def counted(C, depths, num_heads, M, P, classes, merging_bias=0, table=None, qkv_bias=1, double=2):
    total = (P * P * 3 + 1) * C + 2 * C
    for i in range(len(depths)):
        c, heads = C * double**i, num_heads[i]
        rows = (2 * M - 1) ** 2 if table is None else table(M)
        qkv = 3 * c * c + 3 * c * qkv_bias
        one = 4 * c + qkv + c * c + c + rows * heads + 8 * c * c + 5 * c
        total += depths[i] * one + (4 * c + 2 * c * c + merging_bias * c if i else 0)
    return total + 2 * c + (c + 1) * classes


@planted("count_parameters", "The merging has no bias in its linear layer")
def gives_the_merging_a_bias(*numbers):
    return counted(*numbers, merging_bias=1)


@planted("count_parameters", "The bias tables are missing")
def forgets_the_tables(*numbers):
    return counted(*numbers, table=lambda M: 0)


@planted("count_parameters", "not for each pair of tokens")
def counts_pairs(*numbers):
    return counted(*numbers, table=lambda M: M * M * M * M)


@planted("count_parameters", "The layer `qkv` has a bias")
def forgets_the_bias_of_qkv(*numbers):
    return counted(*numbers, qkv_bias=0)


@planted("count_parameters", "All stages have the same number of channels")
def never_doubles(*numbers):
    return counted(*numbers, double=1)


@planted("count_parameters", "The head has a bias")
def forgets_the_bias_of_the_head(*numbers):
    return counted(*numbers) - numbers[-1]


@cheats("count_parameters", "The model is built and its weights are counted")
def builds_and_counts(C, depths, num_heads, M, P, classes):
    sizes = dict(embed_dim=C, depths=depths, num_heads=num_heads, window_size=M, patch_size=P)
    model = create_model("nano", **sizes, num_classes=classes)
    return sum(p.numel() for p in model.parameters())


def with_two_more(weights, stage, zero, source=None, first=None):
    start = f"stages.{stage}.blocks."
    depth = len({n.split(".")[3] for n in weights if n.startswith(start)})
    deeper = dict(weights)
    for new in range(depth, depth + 2):
        old = f"{start}{new - 2 if source is None else source}."
        for name in [n for n in weights if n.startswith(old)]:
            tensor, rest = weights[name], name.removeprefix(old)
            deeper[f"{start}{new}.{rest}"] = tensor * 0 if zero(rest) else tensor
    return deeper


@planted("deepen", "The new blocks are copies that change the map as the old ones do")
def copies_only(weights, stage):
    return with_two_more(weights, stage, lambda rest: False)


@planted("deepen", "The biases of the layers that end the branches are not 0 yet")
def forgets_the_biases(weights, stage):
    return with_two_more(weights, stage, lambda rest: rest in ("attn.proj.weight", "mlp.fc2.weight"))


@planted("deepen", "The branch of attention adds nothing, but that of the MLP does")
def silences_attention_only(weights, stage):
    return with_two_more(weights, stage, lambda rest: "proj" in rest)


@planted("deepen", "You have set the first layer of each branch to 0")
def silences_the_first_layers(weights, stage):
    return with_two_more(weights, stage, lambda rest: "qkv" in rest or "fc1" in rest)


@planted("deepen", "All tensors of the new blocks are 0")
def all_zero(weights, stage):
    return with_two_more(weights, stage, lambda rest: True)


@planted("deepen", "Both new blocks are copies of the last block")
def copies_the_last_twice(weights, stage):
    start = f"stages.{stage}.blocks."
    last = max(int(n.split(".")[3]) for n in weights if n.startswith(start))
    return with_two_more(weights, stage, lambda rest: "proj" in rest or "fc2" in rest, source=last)


@planted("deepen", "is missing in a model with [14] blocks in its stages")
def sorts_numbers_as_text(weights, stage):
    start = f"stages.{stage}.blocks."
    last = int(max(n.split(".")[3] for n in weights if n.startswith(start)))
    deeper = dict(weights)
    for name, tensor in weights.items():
        if name.startswith((f"{start}{last - 1}.", f"{start}{last}.")):
            number, rest = name.removeprefix(start).split(".", 1)
            ends = "proj" in rest or "fc2" in rest
            deeper[f"{start}{int(number) + 2}.{rest}"] = tensor * 0 if ends else tensor
    return deeper


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


@planted("learning_rate", "The first step has the rate 0")
def warms_up_from_nothing(step, total_steps, recipe):
    warmup = int(min(recipe.warmup_epochs / recipe.epochs, 0.5) * total_steps)
    if step < warmup:
        return recipe.learning_rate * step / warmup
    way = (step - warmup) / max(1, total_steps - warmup - 1)
    low = recipe.min_learning_rate
    return low + 0.5 * (recipe.learning_rate - low) * (1 + math.cos(math.pi * way))


@planted("learning_rate", "You take warmup_epochs for a number of steps")
def warms_up_for_few_steps(step, total_steps, recipe):
    if step < int(recipe.warmup_epochs):
        return recipe.learning_rate * (step + 1) / (int(recipe.warmup_epochs) + 1)
    way = (step - int(recipe.warmup_epochs)) / max(1, total_steps - 1 - int(recipe.warmup_epochs))
    low, high = recipe.min_learning_rate, recipe.learning_rate
    return low + (high - low) * (math.cos(way * math.pi) + 1) / 2


@planted("learning_rate", "It takes at most half of the steps")
def warms_up_all_the_time(step, total_steps, recipe):
    warmup = int(recipe.warmup_epochs * total_steps / recipe.epochs)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    way = (step - warmup) / max(1, total_steps - 1 - warmup)
    low, high = recipe.min_learning_rate, recipe.learning_rate
    return low + (high - low) * (1 + math.cos(math.pi * way)) / 2


@planted("learning_rate", "The cosine counts from the start of the run")
def cosine_of_the_whole_run(step, total_steps, recipe):
    warmup = int(min(recipe.warmup_epochs / recipe.epochs, 0.5) * total_steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    low, high = recipe.min_learning_rate, recipe.learning_rate
    return low + (high - low) * (1 + math.cos(math.pi * step / max(1, total_steps - 1))) / 2


@planted("learning_rate", "The last step has not reached the lowest rate")
def one_step_short(step, total_steps, recipe):
    warmup = int(min(recipe.warmup_epochs / recipe.epochs, 0.5) * total_steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    way = (step - warmup) / (total_steps - warmup)
    low, high = recipe.min_learning_rate, recipe.learning_rate
    return low + (high - low) * (1 + math.cos(math.pi * way)) / 2


@planted("learning_rate", "The rate falls to 0")
def ends_at_zero(step, total_steps, recipe):
    warmup = int(min(recipe.warmup_epochs / recipe.epochs, 0.5) * total_steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    way = (step - warmup) / max(1, total_steps - 1 - warmup)
    return recipe.learning_rate * (1 + math.cos(math.pi * way)) / 2


@planted("learning_rate", "The cosine begins above the highest rate")
def adds_the_lowest(step, total_steps, recipe):
    warmup = int(min(recipe.warmup_epochs / recipe.epochs, 0.5) * total_steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    way = (step - warmup) / max(1, total_steps - 1 - warmup)
    return recipe.min_learning_rate + recipe.learning_rate * (1 + math.cos(math.pi * way)) / 2


@planted("learning_rate", "Not for a run of one step: your code stops at")
def divides_by_zero(step, total_steps, recipe):
    warmup = int(min(recipe.warmup_epochs / recipe.epochs, 0.5) * total_steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    way = (step - warmup) / (total_steps - 1 - warmup)
    low, high = recipe.min_learning_rate, recipe.learning_rate
    return low + (high - low) * (1 + math.cos(math.pi * way)) / 2


@cheats("learning_rate", "It is made by the package's `learning_rate`")
def asks_the_package_for_the_rate(step, total_steps, recipe):
    from swin_cifar.training import learning_rate

    return learning_rate(step, total_steps, recipe)


def rate_with(step, total_steps, recipe, cut=int, wave=lambda way: (1 + math.cos(math.pi * way)) / 2):
    """The right rate, but for what the caller changes."""
    warmup = cut(min(recipe.warmup_epochs / recipe.epochs, 0.5) * total_steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    way = (step - warmup) / max(1, total_steps - 1 - warmup)
    low, high = recipe.min_learning_rate, recipe.learning_rate
    return low + (high - low) * wave(way)


@planted("learning_rate", "rounded instead of cut off: of 5.6 steps 5 are left.")
def rounds_the_warm_up(step, total_steps, recipe):
    return rate_with(step, total_steps, recipe, cut=round)


@planted("learning_rate", "rounded instead of cut off: of 5.6 steps 5 are left, not 6.")
def adds_a_half(step, total_steps, recipe):
    return rate_with(step, total_steps, recipe, cut=lambda n: int(n + 0.5))


@planted("learning_rate", "The angle of the cosine runs to 1.")
def forgets_pi(step, total_steps, recipe):
    return rate_with(step, total_steps, recipe, wave=lambda way: (1 + math.cos(way)) / 2)


@planted("learning_rate", "`math.cos` takes radians")
def counts_in_degrees(step, total_steps, recipe):
    return rate_with(step, total_steps, recipe, wave=lambda way: (1 + math.cos(180 * way)) / 2)


@planted("learning_rate", "Where is the half?")
def forgets_to_halve(step, total_steps, recipe):
    return rate_with(step, total_steps, recipe, wave=lambda way: 1 + math.cos(math.pi * way))


@planted("learning_rate", "It begins in the middle")
def one_minus_a_sine(step, total_steps, recipe):
    return rate_with(step, total_steps, recipe, wave=lambda way: (1 - math.sin(math.pi * way)) / 2)


@planted("learning_rate", "step 10: nothing is returned")
def returns_the_warm_up_alone(step, total_steps, recipe):
    rate = rate_with(step, total_steps, recipe)
    if step < min(recipe.warmup_epochs / recipe.epochs, 0.5) * total_steps:
        return rate


@cheats("learning_rate", "You make the rates of many steps")
def one_of_a_list(step, total_steps, recipe):
    rates = []
    for i in range(total_steps):
        rates.append(rate_with(i, total_steps, recipe))
    return rates[step]


@planted("training_step", "The gradients of the step before are still in the sum")
def never_zeroes(forward, optimizer, images, targets, lr, recipe):
    logits = forward(images)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
    loss.backward()
    return finish_step(logits, loss, optimizer, targets, lr, recipe)


def finish_step(logits, loss, optimizer, targets, lr, recipe, clip=True):
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if clip and recipe.max_grad_norm > 0:
        torch.nn.utils.clip_grad_norm_(parameters, recipe.max_grad_norm)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
    optimizer.step()
    return torch.stack([loss.detach(), (logits.argmax(-1) == targets.argmax(-1)).float().sum()])


@planted("training_step", "The gradient is not clipped")
def clips_before_backward(forward, optimizer, images, targets, lr, recipe):
    logits = forward(images)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, recipe.max_grad_norm)
    loss.backward()
    return finish_step(logits, loss, optimizer, targets, lr, recipe, clip=False)


@planted("training_step", "max_grad_norm = 0 means no clipping")
def clips_to_zero(forward, optimizer, images, targets, lr, recipe):
    logits = forward(images)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad()
    loss.backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, recipe.max_grad_norm)
    return finish_step(logits, loss, optimizer, targets, lr, recipe, clip=False)


@planted("training_step", "Each group has an `lr_scale`")
def forgets_the_scale(forward, optimizer, images, targets, lr, recipe):
    for group in optimizer.param_groups:
        group["lr"] = lr
    logits = forward(images)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad()
    loss.backward()
    if recipe.max_grad_norm:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, recipe.max_grad_norm)
    optimizer.step()
    return torch.stack([loss.detach(), (logits.argmax(1) == targets.argmax(1)).sum().float()])


@planted("training_step", "The learning rate is never set")
def leaves_the_rate(forward, optimizer, images, targets, lr, recipe):
    logits = forward(images)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad()
    loss.backward()
    if recipe.max_grad_norm:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, recipe.max_grad_norm)
    optimizer.step()
    return torch.stack([loss.detach(), (logits.argmax(1) == targets.argmax(1)).sum().float()])


@planted("training_step", "The loss is without label smoothing")
def without_smoothing(forward, optimizer, images, targets, lr, recipe):
    logits = forward(images)
    loss = F.cross_entropy(logits.float(), targets)
    optimizer.zero_grad()
    loss.backward()
    return finish_step(logits, loss, optimizer, targets, lr, recipe)


@planted("training_step", "the loss that you return still holds what `backward` needs")
def keeps_the_graph(forward, optimizer, images, targets, lr, recipe):
    logits = forward(images)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad()
    loss.backward()
    _, correct = finish_step(logits, loss, optimizer, targets, lr, recipe)
    return torch.stack([loss, correct])


@planted("training_step", "you return a tuple, expected a tensor (2,)")
def returns_two_things(forward, optimizer, images, targets, lr, recipe):
    logits = forward(images)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad()
    loss.backward()
    loss, correct = finish_step(logits, loss, optimizer, targets, lr, recipe)
    return loss.item(), int(correct)


@planted("training_step", "Not for logits in bf16")
def stays_in_bf16(forward, optimizer, images, targets, lr, recipe):
    logits = forward(images)
    loss = F.cross_entropy(logits, targets.to(logits.dtype), label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad()
    loss.backward()
    return finish_step(logits, loss, optimizer, targets, lr, recipe).to(logits.dtype)


@cheats("training_step", "It is made by the package's `training_step`")
def asks_the_package_to_step(*inputs):
    from swin_cifar.training import training_step

    return training_step(*inputs)


def step_with(forward, optimizer, images, targets, lr, recipe, loss_of, limit=None):
    """The right step, but for what the caller changes."""
    logits = forward(images)
    loss = loss_of(logits)
    optimizer.zero_grad()
    loss.backward()
    if limit:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, limit)
    return finish_step(logits, loss, optimizer, targets, lr, recipe, clip=limit is None)


@planted("training_step", "A gradient is always shortened to length 1")
def clips_to_one(forward, optimizer, images, targets, lr, recipe):
    def loss_of(logits):
        return F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)

    return step_with(forward, optimizer, images, targets, lr, recipe, loss_of, limit=1.0)


@planted("training_step", "A gradient is shortened to length 1, whatever")
def clips_to_one_or_not(forward, optimizer, images, targets, lr, recipe):
    def loss_of(logits):
        return F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)

    limit = 1.0 if recipe.max_grad_norm else 1e9
    return step_with(forward, optimizer, images, targets, lr, recipe, loss_of, limit=limit)


@planted("training_step", "Not for no smoothing. The label smoothing is 0.1 in every step")
def writes_the_recipe_down(forward, optimizer, images, targets, lr, recipe):
    def loss_of(logits):
        return F.cross_entropy(logits.float(), targets, label_smoothing=0.1)

    return step_with(forward, optimizer, images, targets, lr, recipe, loss_of, limit=1.0)


@planted("training_step", "Not right yet. The label smoothing is 0.1 in every step")
def writes_the_smoothing_down(forward, optimizer, images, targets, lr, recipe):
    def loss_of(logits):
        return F.cross_entropy(logits.float(), targets, label_smoothing=0.1)

    return step_with(forward, optimizer, images, targets, lr, recipe, loss_of)


@planted("training_step", "Softmax stands before `cross_entropy`")
def probabilities_into_the_loss(forward, optimizer, images, targets, lr, recipe):
    def loss_of(logits):
        return F.cross_entropy(logits.float().softmax(-1), targets, label_smoothing=recipe.label_smoothing)

    return step_with(forward, optimizer, images, targets, lr, recipe, loss_of)


@planted("training_step", "The loss knows only the class with the largest share")
def classes_into_the_loss(forward, optimizer, images, targets, lr, recipe):
    def loss_of(logits):
        classes = targets.argmax(1)
        return F.cross_entropy(logits.float(), classes, label_smoothing=recipe.label_smoothing)

    return step_with(forward, optimizer, images, targets, lr, recipe, loss_of)


@planted("training_step", "Turn them into float32 before, not after")
def loss_in_bf16(forward, optimizer, images, targets, lr, recipe):
    def loss_of(logits):
        return F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing).float()

    return step_with(forward, optimizer, images, targets, lr, recipe, loss_of)


@planted("training_step", "The gradients are set to zero after the step alone")
def zeroes_at_the_end(forward, optimizer, images, targets, lr, recipe):
    logits = forward(images)
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
    loss.backward()
    result = finish_step(logits, loss, optimizer, targets, lr, recipe)
    optimizer.zero_grad()
    return result


@planted("training_step", "The order of the result is wrong")
def returns_the_answers_first(forward, optimizer, images, targets, lr, recipe):
    def loss_of(logits):
        return F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)

    return step_with(forward, optimizer, images, targets, lr, recipe, loss_of).flip(0)


@planted("training_step", "Every step has the recipe's highest learning rate")
def takes_the_highest_rate(forward, optimizer, images, targets, lr, recipe):
    def loss_of(logits):
        return F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)

    return step_with(forward, optimizer, images, targets, recipe.learning_rate, recipe, loss_of)


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


# --- 11 ----------------------------------------------------------------------------------


def drawn(flat, counts, shape):
    """-> (B, H, W) bool: of each row of `flat` the `counts` largest"""
    out = torch.zeros_like(flat, dtype=torch.bool)
    for row, (values, count) in enumerate(zip(flat, counts)):
        out[row, values.topk(int(count)).indices] = True
    return out.view(shape)


@planted("fair_control", "Every picture gets as many tokens as the first one")
def counts_the_first_picture(marked, chance):
    k = int(marked[0].sum())
    return drawn(chance.flatten(1), [k] * len(marked), marked.shape)


@planted("fair_control", "Every picture gets the mean number of tokens")
def draws_the_mean_number(marked, chance):
    k = round(marked.sum().item() / len(marked))
    return drawn(chance.flatten(1), [k] * len(marked), marked.shape)


@planted("fair_control", "The marked tokens are never drawn")
def draws_elsewhere(marked, chance):
    free = torch.where(marked, -1.0, chance)
    return drawn(free.flatten(1), marked.sum((1, 2)), marked.shape)


@planted("fair_control", "All pictures get the places of the first one")
def draws_once(marked, chance):
    flat = chance[0].flatten().expand(len(marked), -1)
    return drawn(flat, marked.sum((1, 2)), marked.shape)


@planted("fair_control", "The tokens are drawn from all pictures together")
def draws_from_the_batch(marked, chance):
    return drawn(chance.reshape(1, -1), [marked.sum()], marked.shape)


@planted("fair_control", "The tokens with the smallest chance are drawn")
def draws_the_smallest(marked, chance):
    return drawn(1 - chance.flatten(1), marked.sum((1, 2)), marked.shape)


@planted("fair_control", "The number is right only on average")
def compares_with_the_share(marked, chance):
    share = marked.float().flatten(1).mean(1)
    return chance >= 1 - share[:, None, None]


@planted("fair_control", "The marks are those of another picture")
def shuffles_the_pictures(marked, chance):
    return torch.cat([marked[-1:], marked[:-1]])


@planted("fair_control", "the numbers are of type torch.float32, expected torch.bool")
def draws_ones(marked, chance):
    return drawn(chance.flatten(1), marked.sum((1, 2)), marked.shape).float()


@planted("content_share", "The bias is missing")
def forgets_the_bias_of_the_scores(qk, bias):
    weights = F.softmax(qk, dim=-1)
    return 0.5 * (weights - weights.mean(0)).abs().sum(-1).mean((0, 2))


@planted("content_share", "You average the scores")
def averages_the_scores(qk, bias):
    weights, average = (qk + bias).softmax(-1), (qk.mean(0) + bias).softmax(-1)
    return 0.5 * (weights - average).abs().sum(-1).mean((0, 2))


@planted("content_share", "You compare with the bias alone")
def compares_with_the_bias(qk, bias):
    return 0.5 * ((qk + bias).softmax(-1) - bias.softmax(-1)).abs().sum(-1).mean((0, 2))


@planted("content_share", "You compare with equal weights")
def compares_with_equal_weights(qk, bias):
    weights = (qk + bias).softmax(-1)
    return 0.5 * (weights - 1 / weights.shape[-1]).abs().sum(-1).mean((0, 2))


@planted("content_share", "You compare with another picture")
def compares_with_another_picture(qk, bias):
    weights = (qk + bias).softmax(-1)
    others = torch.cat([weights[-1:], weights[:-1]])
    return 0.5 * (weights - others).abs().sum(-1).mean((0, 2))


@planted("content_share", "It is twice as large")
def forgets_the_half(qk, bias):
    weights = (qk + bias).softmax(-1)
    return (weights - weights.mean(0)).abs().sum(-1).mean((0, 2))


@planted("content_share", "You add up the queries")
def adds_up_the_queries(qk, bias):
    weights = (qk + bias).softmax(-1)
    return 0.5 * (weights - weights.mean(0)).abs().sum((-1, -2)).mean(0)


@planted("content_share", "You square the differences")
def squares_the_differences(qk, bias):
    weights = (qk + bias).softmax(-1)
    return 0.5 * ((weights - weights.mean(0)) ** 2).sum(-1).mean((0, 2))


@planted("content_share", "Positive and negative differences cancel")
def forgets_the_absolute_value(qk, bias):
    weights = (qk + bias).softmax(-1)
    return 0.5 * (weights - weights.mean(0)).sum(-1).mean((0, 2))


@planted("content_share", "The softmax goes over the queries")
def normalises_over_the_queries(qk, bias):
    weights = (qk + bias).softmax(2)
    return 0.5 * (weights - weights.mean(0)).abs().sum(-1).mean((0, 2))


def rolled_out(maps, step_of, merge, product=lambda step, reached: step @ reached):
    B, _, H0, W0 = maps[0].shape[:4]
    reached = torch.eye(H0 * W0).repeat(B, 1, 1)
    for attention in maps:
        H, W = attention.shape[2:4]
        if reached.shape[1] > H * W:
            reached = merge(reached, H, W)
        reached = product(step_of(attention.flatten(4).flatten(2, 3)), reached)
    return reached.view(B, H, W, H0, W0)


def half_stays(attention):
    return 0.5 * attention.mean(1) + 0.5 * torch.eye(attention.shape[-1])


def four_to_one(reached, H, W):
    x = reached.view(len(reached), 2 * H, 2 * W, -1)
    return ((x[:, 0::2, 0::2] + x[:, 1::2, 0::2] + x[:, 0::2, 1::2] + x[:, 1::2, 1::2]) / 4).flatten(1, 2)


@planted("rollout", "Nothing of a token itself stays")
def forgets_the_residual(maps):
    return rolled_out(maps, lambda attention: attention.mean(1), four_to_one)


@planted("rollout", "the rows do not add up to 1 any more")
def adds_the_residual(maps):
    return rolled_out(maps, lambda a: a.mean(1) + torch.eye(a.shape[-1]), four_to_one)


@planted("rollout", "The blocks are multiplied in the wrong order")
def multiplies_from_the_right(maps):
    def multiply(step, reached):
        return reached @ step if reached.shape[1] == reached.shape[2] else step @ reached

    return rolled_out(maps, half_stays, four_to_one, multiply)


@planted("rollout", "At a merging the four tokens are added up")
def adds_up_the_four(maps):
    return rolled_out(maps, half_stays, lambda *of: 4 * four_to_one(*of))


@planted("rollout", "At a merging you keep one token of the four")
def keeps_every_second_token(maps):
    def merge(reached, H, W):
        return reached.view(len(reached), 2 * H, 2 * W, -1)[:, ::2, ::2].flatten(1, 2)

    return rolled_out(maps, half_stays, merge)


@planted("rollout", "four tokens that follow each other in a row")
def merges_four_in_a_row(maps):
    return rolled_out(maps, half_stays, lambda r, H, W: r.unflatten(1, (-1, 4)).mean(2))


@planted("rollout", "You take the largest of the heads")
def takes_the_largest_head(maps):
    return rolled_out(maps, lambda a: (a.amax(1) + torch.eye(a.shape[-1])) / 2, four_to_one)


@planted("rollout", "You take one head alone")
def takes_the_first_head(maps):
    return rolled_out(maps, lambda a: (a[:, 0] + torch.eye(a.shape[-1])) / 2, four_to_one)


@planted("rollout", "Queries and keys have changed places")
def turns_the_matrix(maps):
    return rolled_out(maps, lambda a: half_stays(a.transpose(-1, -2)), four_to_one)


@planted("rollout", "Not for a merging")
def knows_no_merging(maps):
    B, _, H, W = maps[0].shape[:4]
    reached = torch.eye(H * W).repeat(B, 1, 1)
    for attention in maps:
        reached = half_stays(attention.reshape(B, -1, H * W, H * W)) @ reached
    return reached.view(B, H, W, H, W)


@cheats("rollout", "It is made by `content.rollout`")
def calls_the_rollout_of_the_course(maps):
    return content.rollout(maps)


@planted("own_map", "expected one map for each picture")
def maps_every_token_to_a_row(model, images, labels):
    return images.pow(2).mean(1).flatten(1)


@planted("own_map", "called twice, it gives two different maps")
def maps_by_chance(model, images, labels):
    return torch.rand(len(images), 8, 8)


@planted("own_map", "all pictures get the same map")
def marks_the_centre(model, images, labels):
    y = torch.arange(8) - 3.4
    return -(y[:, None] ** 2 + 1.1 * y**2).expand(len(images), 8, 8)


@planted("own_map", "a picture alone gets another map")
def scales_over_the_batch(model, images, labels):
    values = F.avg_pool2d(images.pow(2).mean(1), 4)
    return values / values.max()


@planted("own_map", "some values are nan or infinite")
def takes_the_logarithm(model, images, labels):
    return F.avg_pool2d(images.clamp(min=0).mean(1) * 0, 4).log()


@planted("own_map", "values are equal where the top quarter ends")
def cuts_off_below(model, images, labels):
    values = F.avg_pool2d(images.pow(2).mean(1), 4).flatten(1)
    largest = values.topk(3).values[:, -1:]
    return (values * (values >= largest)).view(-1, 8, 8)


@planted("own_map", "a map of fewer than four tokens")
def maps_the_whole_picture(model, images, labels):
    return images.pow(2).mean((1, 2, 3)).view(-1, 1, 1)


@planted("own_map", "It changes `training` of what it is given")
def leaves_the_model_in_evaluation(model, images, labels):
    model.eval()
    return F.avg_pool2d(images.pow(2).mean(1), 4)


# --- 14 ----------------------------------------------------------------------------------


@cheats("shapes_of", "`hunt.shapes_of`: write it yourself")
def calls_the_shapes_of_the_course(model, images):
    return hunt.shapes_of(model, images)


@cheats("differing", "`hunt.differing`: write it yourself")
def calls_the_differing_of_the_course(steps, right_steps, x):
    return hunt.differing(steps, right_steps, x)


@cheats("changed_by", "`hunt.changed_by`: write it yourself")
def calls_the_changed_by_of_the_course(function, x, token):
    return hunt.changed_by(function, x, token)


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


@planted("shapes_of", "the one after the patch embedding")
def forgets_the_embedding(model, images):
    x, shapes = model.patch_embed(images), []
    for i, stage in enumerate(model.stages):
        if i:
            x = stage.downsample(x)
            shapes.append(x.shape)
        for member in stage.blocks:
            x = member(x)
            shapes.append(x.shape)
    return shapes


@planted("shapes_of", "after the mergings are missing")
def forgets_the_mergings(model, images):
    shapes = [tuple(model.patch_embed(images).shape)]
    for x, member in zip(model.stage_maps(images), model.stages):
        shapes += [tuple(x.shape)] * len(member.blocks)
    return shapes


@planted("shapes_of", "There is a shape too many at the first stage")
def counts_what_does_nothing(model, images):
    x = model.patch_embed(images)
    shapes = [x.shape]
    for stage in model.stages:
        for layer in (stage.downsample, *stage.blocks):
            x = layer(x)
            shapes.append(x.shape)
    return shapes


@planted("shapes_of", "These are the shapes after the whole stages")
def shapes_of_stages(model, images):
    return [tuple(x.shape) for x in model.stage_maps(images)]


@planted("shapes_of", "The number of pictures is missing")
def shapes_of_one_picture(model, images):
    return [shape[1:] for shape in all_shapes(model, images)]


@planted("shapes_of", "The logits are no map")
def goes_on_to_the_logits(model, images):
    return [*all_shapes(model, images), model(images).shape]


@planted("shapes_of", "The pictures are no map")
def begins_with_the_pictures(model, images):
    return [images.shape, *all_shapes(model, images)]


@planted("shapes_of", "nothing is returned")
def prints_the_shapes(model, images):
    all_shapes(model, images)


def all_shapes(model, images):
    x = model.patch_embed(images)
    shapes = [tuple(x.shape)]
    for i, stage in enumerate(model.stages):
        for layer in (stage.downsample, *stage.blocks)[i == 0 :]:
            x = layer(x)
            shapes.append(tuple(x.shape))
    return shapes


@planted("differing", "hand the right output on")
def each_its_own(steps, right_steps, x):
    names, y = [], x
    for (name, step), (_, right) in zip(steps, right_steps):
        x, y = step(x), right(y)
        if not alike(x, y):
            names.append(name)
    return names


@planted("differing", "Each step gets x, the input of the first")
def all_get_the_first(steps, right_steps, x):
    pairs = zip(steps, right_steps)
    return [name for (name, step), (_, right) in pairs if not alike(step(x), right(x))]


@planted("differing", "It stops at the first step that differs")
def returns_the_first_alone(steps, right_steps, x):
    for (name, step), (_, right) in zip(steps, right_steps):
        if not alike(step(x), right(x)):
            return [name]
        x = right(x)
    return []


def compares(steps, right_steps, x, same):
    names = []
    for (name, step), (_, right) in zip(steps, right_steps):
        if not same(step(x), right(x)):
            names.append(name)
        x = right(x)
    return names


def alike(found, wanted):
    return found.shape == wanted.shape and torch.allclose(found, wanted, atol=1e-4)


@planted("differing", "to the last bit")
def asks_for_every_bit(steps, right_steps, x):
    return compares(steps, right_steps, x, torch.equal)


@planted("differing", "Only shapes are compared")
def compares_shapes(steps, right_steps, x):
    return compares(steps, right_steps, x, lambda a, b: a.shape == b.shape)


@planted("differing", "Another shape, and nan, are taken for right")
def looks_for_the_largest(steps, right_steps, x):
    return compares(steps, right_steps, x, lambda a, b: not (a - b).abs().max() > 1e-4)


@planted("differing", "nan is taken for right")
def looks_for_the_largest_of_one_shape(steps, right_steps, x):
    return compares(steps, right_steps, x, lambda a, b: a.shape == b.shape and not (a - b).abs().max() > 1e-4)


@planted("differing", "cancel out")
def compares_means(steps, right_steps, x):
    return compares(
        steps, right_steps, x, lambda a, b: a.shape == b.shape and (a.mean() - b.mean()).abs() < 1e-4
    )


@planted("differing", "a step that fails: your code stops at")
def stops_where_a_step_fails(steps, right_steps, x):
    return compares(steps, right_steps, x, alike)


@planted("differing", "Asked for are names, not numbers")
def returns_numbers(steps, right_steps, x):
    names = compares(steps, right_steps, x, alike)
    return [i for i, (name, _) in enumerate(steps) if name in names]


@planted("changed_by", "A LayerNorm takes it away again")
def adds_one(function, x, token):
    other = x.clone()
    other[0, token[0], token[1]] += 1
    return (function(other) - function(x)).abs().amax(dim=-1)[0] > 1e-5


@planted("changed_by", "The whole row is changed")
def changes_a_row(function, x, token):
    other = x.clone()
    other[:, token[0]] += torch.randn(x.shape[-1])
    return (function(other) - function(x)).abs().amax(dim=-1)[0] > 1e-5


@planted("changed_by", "Row and column of the token have changed places")
def takes_x_and_y(function, x, token):
    other, (column, row) = x.clone(), token
    other[0, row, column] += torch.randn(x.shape[-1])
    return (function(other) - function(x)).abs().amax(dim=-1)[0] > 1e-5


@planted("changed_by", "Differences of both signs cancel out")
def adds_differences_up(function, x, token):
    other = x.clone()
    other[0, token[0], token[1]] += torch.randn(x.shape[-1])
    return (function(other) - function(x)).sum(dim=-1).abs()[0] > 1e-5


@planted("changed_by", "What becomes smaller is not seen")
def sees_what_grows(function, x, token):
    other = x.clone()
    other[0, token[0], token[1]] += torch.randn(x.shape[-1])
    return (function(other) - function(x)).amax(dim=-1)[0] > 1e-5


@planted("changed_by", "The function changes its input")
def changes_in_place(function, x, token):
    before = function(x)
    x[0, token[0], token[1]] += torch.randn(x.shape[-1])
    return (function(x) - before).abs().amax(dim=-1)[0] > 1e-5


@planted("changed_by", "Only the first channel")
def looks_at_the_first_channel(function, x, token):
    other = x.clone()
    other[0, token[0], token[1]] += torch.randn(x.shape[-1])
    return (function(other) - function(x))[0, ..., 0].abs() > 1e-5


@planted("changed_by", "of type torch.float32, expected torch.bool")
def returns_how_much(function, x, token):
    other = x.clone()
    other[0, token[0], token[1]] += torch.randn(x.shape[-1])
    return (function(other) - function(x)).abs().amax(dim=-1)[0]


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


# --- 10 ----------------------------------------------------------------------------------


@planted("wilson_interval", "That is the simple formula: its standard deviation")
def interval_from_the_slide(hits, n, z=1.96):
    p = hits / n
    half = z * (p * (1 - p) / n) ** 0.5
    return p - half, p + half


@planted("wilson_interval", "cut off at 0 and 1")
def interval_that_is_clamped(hits, n, z=1.96):
    p = torch.tensor(hits / n, dtype=torch.float64)
    half = z * (p * (1 - p) / n).sqrt()
    return (p - half).clamp(min=0).item(), (p + half).clamp(max=1).item()


@planted("wilson_interval", "Agresti and Coull's")
def interval_with_more_trials(hits, n, z=1.96):
    trials = n + z * z
    p = (hits + z * z / 2) / trials
    half = z * math.sqrt(p * (1 - p) / trials)
    return p - half, p + half


@planted("wilson_interval", "Everything is still to be divided")
def forgets_the_factor_of_p_squared(hits, n, z=1.96):
    p, k = hits / n, z * z / n
    root = math.sqrt((2 * p + k) ** 2 - 4 * (1 + k) * p * p)
    return (2 * p + k - root) / 2, (2 * p + k + root) / 2


@planted("wilson_interval", "2a divides both")
def divides_by_a_only(hits, n, z=1.96):
    p, k = hits / n, z * z / n
    a, b, c = 1 + k, -(2 * p + k), p * p
    root = math.sqrt(b * b - 4 * a * c)
    return -b / (2 * a) - root / a, -b / (2 * a) + root / a


@planted("wilson_interval", "The number 1.96 stands in the code")
def always_95_percent(hits, n, z=1.96):
    p, k = hits / n, 1.96**2 / n
    root = math.sqrt((2 * p + k) ** 2 - 4 * (1 + k) * p * p)
    return (2 * p + k - root) / (2 + 2 * k), (2 * p + k + root) / (2 + 2 * k)


@planted("wilson_interval", "The higher end comes first")
def roots_in_the_order_of_the_formula(hits, n, z=1.96):
    p, k = hits / n, z * z / n
    root = math.sqrt((2 * p + k) ** 2 - 4 * (1 + k) * p * p)
    return (2 * p + k + root) / (2 + 2 * k), (2 * p + k - root) / (2 + 2 * k)


@planted("wilson_interval", "You have z where z² belongs")
def z_is_not_squared(hits, n, z=1.96):
    p, k = hits / n, z / n
    root = math.sqrt((2 * p + k) ** 2 - 4 * (1 + k) * p * p)
    return (2 * p + k - root) / (2 + 2 * k), (2 * p + k + root) / (2 + 2 * k)


@planted("wilson_interval", "expected 2 things in a list or tuple")
def only_the_lower_end(hits, n, z=1.96):
    return hits / n - z * math.sqrt(hits * (n - hits) / n**3)


@cheats("wilson_interval", "derive it yourself")
def asks_the_course_for_the_interval(hits, n, z=1.96):
    return studies.wilson(hits, n, z)


def _rows(index, confidence, right, bins):
    rows = []
    for i in range(bins):
        chosen = index == i
        if chosen.sum() > 0:
            rows.append(
                (confidence[chosen].mean().item(), right[chosen].double().mean().item(), int(chosen.sum()))
            )
    return rows


def _error(rows, n):
    return sum(count / n * abs(mean - share) for mean, share, count in rows)


@planted("reliability_table", "a confidence of exactly 1 are missing")
def loses_the_surest(confidence, right, bins=10):
    rows = _rows((confidence * bins).floor().long(), confidence, right, bins)
    return rows, _error(rows, sum(count for *_, count in rows))


@planted("reliability_table", "belongs to the upper one")
def closes_bins_on_the_right(confidence, right, bins=10):
    edges = torch.arange(1, bins + 1, dtype=torch.float64) / bins
    rows = _rows(torch.bucketize(confidence, edges), confidence, right, bins)
    return rows, _error(rows, len(right))


@planted("reliability_table", "with nan: a mean over nothing")
def means_over_nothing(confidence, right, bins=10):
    index = (confidence * bins).long().clamp(max=bins - 1)
    rows = []
    for i in range(bins):
        chosen = index == i
        rows.append(
            (confidence[chosen].mean().item(), right[chosen].double().mean().item(), chosen.sum().item())
        )
    return rows, sum(c * abs(a - b) for a, b, c in rows if c) / len(right)


@planted("reliability_table", "with a count of 0")
def zeros_for_nobody(confidence, right, bins=10):
    index = (confidence * bins).long().clamp(max=bins - 1)
    counts = torch.bincount(index, minlength=bins)
    sums = torch.zeros(bins, dtype=torch.float64).index_add_(0, index, confidence)
    hits = torch.zeros(bins, dtype=torch.float64).index_add_(0, index, right.double())
    rows = [
        (s / max(c, 1), h / max(c, 1), c) for s, h, c in zip(*map(torch.Tensor.tolist, (sums, hits, counts)))
    ]
    return rows, _error(rows, len(right))


@planted("reliability_table", "In the error every bin counts alike")
def averages_bins(confidence, right, bins=10):
    rows = _rows((confidence * bins).long().clamp(max=bins - 1), confidence, right, bins)
    return rows, sum(abs(mean - share) for mean, share, _ in rows) / len(rows)


@planted("reliability_table", "too high and too low cancel: a gap has no sign")
def gaps_with_a_sign(confidence, right, bins=10):
    rows = _rows((confidence * bins).long().clamp(max=bins - 1), confidence, right, bins)
    return rows, sum(count / len(right) * (mean - share) for mean, share, count in rows)


@planted("reliability_table", "The error is its largest gap")
def takes_the_largest_gap(confidence, right, bins=10):
    rows = _rows((confidence * bins).long().clamp(max=bins - 1), confidence, right, bins)
    return rows, max(abs(mean - share) for mean, share, _ in rows)


@planted("reliability_table", "stands the middle of the bin")
def middles_of_bins(confidence, right, bins=10):
    rows = _rows((confidence * bins).long().clamp(max=bins - 1), confidence, right, bins)
    rows = [((int(mean * bins) + 0.5) / bins, share, count) for mean, share, count in rows]
    return rows, _error(rows, len(right))


@planted("reliability_table", "There are ten bins, whatever")
def tenths(confidence, right, bins=10):
    rows = _rows((10 * confidence).long().clamp(max=9), confidence, right, 10)
    return rows, _error(rows, len(right))


@cheats("reliability_table", "write it yourself")
def fetches_the_table(confidence, right, bins=10):
    return studies.reliability(confidence, right, bins), studies.calibration_error(confidence, right, bins)


def _lowest(logits, labels, candidates, loss=F.cross_entropy):
    losses = torch.stack([loss(logits / T, labels) for T in candidates])
    return candidates[losses.argmin()]


def _both_losses(data, T):
    logits, labels = data
    return F.cross_entropy(logits, labels).item(), F.cross_entropy(logits / T, labels).item()


@planted("fit_temperature", "T is chosen on the test pictures. What is fitted there")
def fits_where_it_tests(validation, test, candidates):
    T = _lowest(*test, candidates)
    return T, *_both_losses(test, T)


@planted("fit_temperature", "both losses are those of the validation pictures")
def tests_where_it_fits(validation, test, candidates):
    T = _lowest(*validation, candidates)
    return T, *_both_losses(validation, T)


@planted("fit_temperature", "You multiply by T")
def makes_logits_larger(validation, test, candidates):
    logits, labels = validation
    T = min(candidates, key=lambda T: F.cross_entropy(T * logits, labels))
    logits, labels = test
    return T, F.cross_entropy(logits, labels).item(), F.cross_entropy(T * logits, labels).item()


@planted("fit_temperature", "You choose by the accuracy")
def best_accuracy(validation, test, candidates):
    logits, labels = validation
    hits = [((logits / T).argmax(dim=1) == labels).sum().item() for T in candidates]
    T = candidates[hits.index(max(hits))]
    return T, *_both_losses(test, T)


@planted("fit_temperature", "with the largest loss")
def argmax_of_losses(validation, test, candidates):
    T = _lowest(*validation, candidates, loss=lambda logits, labels: -F.cross_entropy(logits, labels))
    return T, *_both_losses(test, T)


@planted("fit_temperature", "Softmax is taken twice")
def softmax_before_the_loss(validation, test, candidates):
    def loss(logits, labels):
        return F.cross_entropy(logits.softmax(dim=-1), labels)

    T = _lowest(*validation, candidates, loss=loss)
    logits, labels = test
    return T, loss(logits, labels).item(), loss(logits / T, labels).item()


@planted("fit_temperature", "first without T (T = 1), then with it")
def after_before(validation, test, candidates):
    T = _lowest(*validation, candidates)
    return T, *reversed(_both_losses(test, T))


@planted("fit_temperature", "the place of T in the list")
def place_of_the_lowest(validation, test, candidates):
    T = _lowest(*validation, candidates)
    return candidates.index(T), *_both_losses(test, T)


@planted("fit_temperature", "where mean confidence and accuracy are nearest")
def nearest_mean(validation, test, candidates):
    def gap(logits, labels):
        sure, answer = logits.softmax(dim=1).max(dim=1)
        return (sure.mean() - (answer == labels).float().mean()).abs()

    T = _lowest(*validation, candidates, loss=gap)
    return T, *_both_losses(test, T)


@cheats("fit_temperature", "write it yourself")
def fetches_the_temperature(validation, test, candidates):
    return studies.fit_temperature(validation, test, candidates)


# --- 12 ----------------------------------------------------------------------------------


def _mean_and_ends(gains, factor, share):
    gains = torch.tensor(gains, dtype=torch.float64)
    mean, half = gains.mean().item(), (factor * share * gains.std()).item()
    return mean, mean - half, mean + half


@planted("paired_interval", "Pair equal seeds: a dictionary has its own order")
def zips_what_is_not_sorted(values, reference):
    gains = [a - b for a, b in zip(values.values(), reference.values())]
    return _mean_and_ends(gains, studies.student_t(len(gains) - 1), len(gains) ** -0.5)


@planted("paired_interval", "The sign is wrong")
def reference_minus_values(values, reference):
    gains = [reference[s] - values[s] for s in values.keys() & reference.keys()]
    return _mean_and_ends(gains, studies.student_t(len(gains) - 1), len(gains) ** -0.5)


@planted("paired_interval", "The factor is 1.96")
def normal_with_few_seeds(values, reference):
    gains = [values[s] - reference[s] for s in values.keys() & reference.keys()]
    return _mean_and_ends(gains, 1.96, len(gains) ** -0.5)


@planted("paired_interval", "The factor has n degrees of freedom")
def as_many_freedoms_as_seeds(values, reference):
    gains = [values[s] - reference[s] for s in values.keys() & reference.keys()]
    return _mean_and_ends(gains, studies.student_t(len(gains)), len(gains) ** -0.5)


@planted("paired_interval", "That of their mean is √n times as narrow")
def interval_of_one_seed(values, reference):
    gains = [values[s] - reference[s] for s in values.keys() & reference.keys()]
    return _mean_and_ends(gains, studies.student_t(len(gains) - 1), 1.0)


@planted("paired_interval", "pooled, as if seeds did not pair")
def two_groups_of_equal_scatter(values, reference):
    a, b = (torch.tensor(list(group.values()), dtype=torch.float64) for group in (values, reference))
    freedom = len(a) + len(b) - 2
    variance = ((a - a.mean()).square().sum() + (b - b.mean()).square().sum()) / freedom
    half = (studies.student_t(freedom) * (variance * (1 / len(a) + 1 / len(b))).sqrt()).item()
    mean = (a.mean() - b.mean()).item()
    return mean, mean - half, mean + half


@planted("paired_interval", "compared as if seeds did not pair (Welch)")
def welch_in_place_of_pairs(values, reference):
    found = studies.welch_difference(list(values.values()), list(reference.values()))
    return found.mean, found.low, found.high


@planted("paired_interval", "Asked for are the mean and both ends")
def plus_and_minus(values, reference):
    gains = [values[s] - reference[s] for s in values.keys() & reference.keys()]
    mean, _, high = _mean_and_ends(gains, studies.student_t(len(gains) - 1), len(gains) ** -0.5)
    return mean, high - mean


@cheats("paired_interval", "write it yourself")
def asks_the_course_for_the_difference(values, reference):
    found = studies.paired_difference(values, reference)
    return found.mean, found.low, found.high


def _until_shown(factor, effect, deviation, power, found=lambda gains: gains.std(dim=1)):
    generator = torch.Generator().manual_seed(3)
    for n in range(2, 60):
        gains = effect + deviation * torch.randn(20_000, n, generator=generator)
        shown = gains.mean(dim=1).abs() > factor(n) * found(gains) / n**0.5
        if shown.double().mean() >= power:
            return n
    return 60


@planted("seeds_needed", "The factor is 1.96 whatever the number of seeds")
def two_deviations_whatever_n(effect, deviation, power=0.75):
    return _until_shown(lambda n: 1.96, effect, deviation, power)


@planted("seeds_needed", "the formula for a known deviation")
def formula_from_a_book(effect, deviation, power=0.75):
    normal = torch.distributions.Normal(0.0, 1.0)
    z = 1.96 + normal.icdf(torch.tensor(power)).item()
    return max(2, math.ceil((z * deviation / effect) ** 2))


@planted("seeds_needed", "The factor has n degrees of freedom. It is n - 1")
def freedom_of_n(effect, deviation, power=0.75):
    return _until_shown(lambda n: studies.student_t(n), effect, deviation, power)


@planted("seeds_needed", "Then about half of the studies miss it")
def effect_as_long_as_half_the_interval(effect, deviation, power=0.75):
    n = 2
    while studies.student_t(n - 1) * deviation / math.sqrt(n) >= effect:
        n += 1
    return n


@planted("seeds_needed", "Two deviations are added")
def adds_the_noise_of_both(effect, deviation, power=0.75):
    return _until_shown(lambda n: studies.student_t(n - 1), effect, 2**0.5 * deviation, power)


@planted("seeds_needed", "One too few")
def the_last_that_is_not_enough(effect, deviation, power=0.75):
    return _until_shown(lambda n: studies.student_t(n - 1), effect, deviation, power) - 1


@planted("seeds_needed", "The power is always 0.75")
def power_of_the_default(effect, deviation, power=0.75):
    return _until_shown(lambda n: studies.student_t(n - 1), effect, deviation, 0.75)


@planted("seeds_needed", "the number of runs, two for each seed")
def counts_runs(effect, deviation, power=0.75):
    return 2 * _until_shown(lambda n: studies.student_t(n - 1), effect, deviation, power)


def _asked(rows, columns, colours, answers):
    return tokens_at(rows, columns, colours), answers


def _drawn(B, generator, high=4):
    return torch.randint(high, (B, 2), generator=generator)


BLUE_AND_ORANGE = torch.tensor([[0, 1]])


@planted("needs_mask", "the notebook's own question, in rows")
def asks_touching_again(B, generator):
    answers = torch.randint(2, (B,), generator=generator)
    columns = torch.tensor([[3, 0], [1, 2]])[answers]
    rows = _drawn(B, generator)[:, :1].expand(B, 2)
    return _asked(rows, columns, BLUE_AND_ORANGE.expand(B, 2), answers)


@planted("needs_mask", "a model without the mask can be always right")
def asks_for_the_same_colour(B, generator):
    colours = _drawn(B, generator, 2)
    rows, columns = torch.tensor([[0, 2]]).expand(B, 2), torch.tensor([[0, 2]]).expand(B, 2)
    return _asked(rows, columns, colours, (colours[:, 0] == colours[:, 1]).long())


@planted("needs_mask", "but not all of them equally often")
def near_or_not(B, generator):
    """1: the two columns of the middle. 0: both ends, or two columns that are further apart."""
    kind = torch.randint(4, (B,), generator=generator)
    columns = torch.tensor([[1, 2], [1, 2], [3, 0], [0, 2]])[kind]
    rows = _drawn(B, generator)[:, :1].expand(B, 2)
    return _asked(rows, columns, BLUE_AND_ORANGE.expand(B, 2), (kind < 2).long())


@planted("needs_mask", "the same picture comes with both answers")
def answers_by_chance(B, generator):
    answers = torch.randint(2, (B,), generator=generator)
    rows, columns = torch.tensor([[1, 1]]).expand(B, 2), torch.tensor([[1, 2]]).expand(B, 2)
    return _asked(rows, columns, _drawn(B, generator, 2), answers)


@planted("needs_mask", "guessing that wins")
def rarely_yes(B, generator):
    answers = (torch.rand(B, generator=generator) < 0.25).long()
    places = torch.tensor([[3, 0], [1, 2]])[answers]
    return _asked(places, places, BLUE_AND_ORANGE.expand(B, 2), answers)


@planted("needs_mask", "draw all from `generator`")
def forgets_the_generator(B, generator):
    answers = torch.randint(2, (B,))
    places = torch.tensor([[3, 0], [1, 2]])[answers]
    return _asked(places, places, BLUE_AND_ORANGE.expand(B, 2), answers)


@planted("needs_mask", "is not grey with two coloured tokens")
def one_token_only(B, generator):
    answers = torch.randint(2, (B,), generator=generator)
    places = torch.tensor([[0, 0], [2, 2]])[answers]
    return _asked(places, places, BLUE_AND_ORANGE.expand(B, 2), answers)


@planted("needs_mask", "you return the shape (4000, 1), expected answers (B,)")
def answers_in_a_column(B, generator):
    answers = torch.randint(2, (B, 1), generator=generator)
    places = torch.where(answers == 1, torch.tensor([1, 2]), torch.tensor([3, 0]))
    return _asked(places, places, BLUE_AND_ORANGE.expand(B, 2), answers)


def _rounds(functions, repeats, clock):
    """{name: seconds of each repeat}, in turns."""
    seconds = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = clock()
            function()
            seconds[name].append(clock() - start)
    return seconds


@planted("median_of_turns", "Call each once before, without the clock")
def starts_cold(functions, repeats, clock):
    return {name: statistics.median(s) for name, s in _rounds(functions, repeats, clock).items()}


@planted("median_of_turns", "looks slow: take turns")
def all_of_one_then_the_other(functions, repeats, clock):
    for function in functions.values():
        function()
    found = {}
    for name in functions:
        found |= _rounds({name: functions[name]}, repeats, clock)
    return {name: statistics.median(s) for name, s in found.items()}


@planted("median_of_turns", "before the next one begins")
def warms_and_runs_one_by_one(functions, repeats, clock):
    found = {}
    for name, function in functions.items():
        function()
        found |= _rounds({name: function}, repeats, clock)
    return {name: statistics.median(s) for name, s in found.items()}


@planted("median_of_turns", "That is the mean")
def mean_of_turns(functions, repeats, clock):
    [function() for function in functions.values()]
    return {name: sum(s) / len(s) for name, s in _rounds(functions, repeats, clock).items()}


@planted("median_of_turns", "That is the smallest time")
def best_of_turns(functions, repeats, clock):
    [function() for function in functions.values()]
    return {name: min(s) for name, s in _rounds(functions, repeats, clock).items()}


@planted("median_of_turns", "the upper one in the middle")
def middle_of_a_sorted_list(functions, repeats, clock):
    [function() for function in functions.values()]
    return {name: sorted(s)[len(s) // 2] for name, s in _rounds(functions, repeats, clock).items()}


@planted("median_of_turns", "The clock starts once a round")
def keeps_the_start_of_the_round(functions, repeats, clock):
    [function() for function in functions.values()]
    seconds = {name: [] for name in functions}
    for _ in range(repeats):
        start = clock()
        for name in functions:
            functions[name]()
            seconds[name] += [clock() - start]
    return {name: statistics.median(s) for name, s in seconds.items()}


@planted("median_of_turns", "Each function warms up again in every round")
def warms_up_each_time(functions, repeats, clock):
    seconds = {name: [] for name in functions}
    for name in list(functions) * repeats:
        functions[name]()
        start = clock()
        functions[name]()
        seconds[name].append(clock() - start)
    return {name: statistics.median(s) for name, s in seconds.items()}


@planted("median_of_turns", "You do not read `clock`")
def looks_at_the_wall(functions, repeats, clock):
    [function() for function in functions.values()]
    seconds = _rounds(functions, repeats, time.perf_counter)
    return {name: statistics.median(s) for name, s in seconds.items()}


@planted("median_of_turns", "The warm-up counts as one more repeat")
def one_repeat_more(functions, repeats, clock):
    return {name: statistics.median(s) for name, s in _rounds(functions, repeats + 1, clock).items()}


def _through(small, large):
    return (large[1] - small[1]) / (large[0] - small[0])


def _enough(overhead, each, share):
    return math.ceil((1 - share) / share * overhead / each)


@planted("split_step", "The overhead is still in it")
def divides_the_large_step(seconds, share=0.1):
    small, large = sorted(seconds.items())
    each = large[1] / large[0]
    overhead = small[1] - small[0] * each
    return overhead, each, math.ceil(overhead * (1 - share) / (share * each))


@planted("split_step", "Its pictures take time, too")
def the_small_step_is_all_overhead(seconds, share=0.1):
    small, large = sorted(seconds.items())
    return small[1], _through(small, large), _enough(small[1], _through(small, large), share)


@planted("split_step", "The overhead is what is left after one picture")
def takes_one_picture_off(seconds, share=0.1):
    small, large = sorted(seconds.items())
    each = _through(small, large)
    return small[1] - each, each, _enough(small[1] - each, each, share)


@planted("split_step", "The batch is one too small")
def rounds_down(seconds, share=0.1):
    small, large = sorted(seconds.items())
    each = _through(small, large)
    overhead = large[1] - large[0] * each
    return overhead, each, int(overhead * (1 - share) / (share * each))


@planted("split_step", "Asked for is its share of the whole step")
def share_of_the_pictures_alone(seconds, share=0.1):
    small, large = sorted(seconds.items())
    each = _through(small, large)
    overhead = large[1] - large[0] * each
    return overhead, each, math.ceil(overhead / (share * each))


@planted("split_step", "Overhead and time of a picture have changed places")
def the_picture_first(seconds, share=0.1):
    small, large = sorted(seconds.items())
    each = _through(small, large)
    overhead = small[1] - small[0] * each
    return each, overhead, _enough(overhead, each, share)


@planted("split_step", "The share is always a tenth")
def always_a_tenth(seconds, share=0.1):
    small, large = sorted(seconds.items())
    each = _through(small, large)
    overhead = small[1] - small[0] * each
    return overhead, each, _enough(overhead, each, 0.1)


@planted("split_step", "The batch is not a whole number")
def half_a_picture(seconds, share=0.1):
    small, large = sorted(seconds.items())
    each = _through(small, large)
    overhead = small[1] - small[0] * each
    return overhead, each, overhead * (1 - share) / (share * each)


@cheats("split_step", "write it yourself")
def asks_the_course_for_the_line(seconds, share=0.1):
    return machines.split_step(seconds, share)


def _roofs(steps, operations_per_second, bytes_per_second):
    """Each step (operations, numbers) at the slower limit, added."""
    seconds = [(a / operations_per_second, 4 * b / bytes_per_second) for a, b in steps]
    return sum(max(pair) for pair in seconds)


def _steps(n, N, C, heads, multiply_add=2):
    S, product = n * N * heads, multiply_add * n * N * C
    return [(product, 2 * n * C + S), (5 * S, 2 * S), (product, S + 2 * n * C)]


@planted("least_seconds", "They overlap")
def adds_both_times(n, N, C, heads, operations_per_second, bytes_per_second, fused=False):
    steps = _steps(n, N, C, heads)
    operations = sum(a for a, _ in steps)
    numbers = 4 * n * C if fused else sum(b for _, b in steps)
    return operations / operations_per_second + 4 * numbers / bytes_per_second


@planted("least_seconds", "The slower limit decides")
def takes_the_faster_limit(n, N, C, heads, operations_per_second, bytes_per_second, fused=False):
    steps = _steps(n, N, C, heads)
    if fused:
        steps = [(sum(a for a, _ in steps), 4 * n * C)]
    return sum(min(a / operations_per_second, 4 * b / bytes_per_second) for a, b in steps)


@planted("least_seconds", "Each waits for its own limit")
def all_under_one_roof(n, N, C, heads, operations_per_second, bytes_per_second, fused=False):
    steps = _steps(n, N, C, heads)
    numbers = 4 * n * C if fused else sum(b for _, b in steps)
    return _roofs([(sum(a for a, _ in steps), numbers)], operations_per_second, bytes_per_second)


@planted("least_seconds", "Numbers are counted, not bytes")
def counts_numbers(n, N, C, heads, operations_per_second, bytes_per_second, fused=False):
    steps = _steps(n, N, C, heads)
    if fused:
        steps = [(sum(a for a, _ in steps), 4 * n * C)]
    return _roofs(steps, operations_per_second, 4 * bytes_per_second)


@planted("least_seconds", "Every head has scores of its own")
def one_head_for_all(n, N, C, heads, operations_per_second, bytes_per_second, fused=False):
    steps = _steps(n, N, C, 1)
    if fused:
        steps = [(sum(a for a, _ in steps), 4 * n * C)]
    return _roofs(steps, operations_per_second, bytes_per_second)


@planted("least_seconds", "count as two operations")
def a_multiply_add_is_one(n, N, C, heads, operations_per_second, bytes_per_second, fused=False):
    steps = _steps(n, N, C, heads, multiply_add=1)
    if fused:
        steps = [(sum(a for a, _ in steps), 4 * n * C)]
    return _roofs(steps, operations_per_second, bytes_per_second)


@planted("least_seconds", "The fused kernel never writes the scores")
def fused_writes_them_once_more(n, N, C, heads, operations_per_second, bytes_per_second, fused=False):
    steps, S = _steps(n, N, C, heads), n * N * heads
    if fused:
        steps = [(sum(a for a, _ in steps), sum(b for _, b in steps))]
        assert steps[0][1] == 4 * n * C + 4 * S
    return _roofs(steps, operations_per_second, bytes_per_second)


@planted("least_seconds", "writes the result: four maps")
def forgets_the_result(n, N, C, heads, operations_per_second, bytes_per_second, fused=False):
    steps = _steps(n, N, C, heads)
    if fused:
        steps = [(sum(a for a, _ in steps), 3 * n * C)]
    return _roofs(steps, operations_per_second, bytes_per_second)


@planted("choose_batch", "Batches that do not fit into the memory are chosen")
def forgets_the_memory(seconds, memory, limit, loss=0.1):
    best = max(B / s for B, s in seconds.items())
    return min(B for B, s in seconds.items() if B / s >= (1 - loss) * best)


@planted("choose_batch", "The best speed is looked for among all batches")
def compares_with_what_does_not_fit(seconds, memory, limit, loss=0.1):
    best = max(B / s for B, s in seconds.items())
    good = [B for B in seconds if memory[B] <= limit and B / seconds[B] >= (1 - loss) * best]
    return min(good, default=None)


@planted("choose_batch", "Beyond some size a larger one costs memory alone")
def fills_the_memory(seconds, memory, limit, loss=0.1):
    return max((B for B in memory if memory[B] <= limit), default=None)


def _that_fit(seconds, memory, limit):
    return {B: B / seconds[B] for B in sorted(seconds) if memory[B] <= limit}


@planted("choose_batch", "That is the fastest batch")
def takes_the_fastest(seconds, memory, limit, loss=0.1):
    speeds = _that_fit(seconds, memory, limit)
    return max(speeds, key=speeds.get, default=None)


@planted("choose_batch", "Seconds of a step are compared")
def takes_the_shortest_step(seconds, memory, limit, loss=0.1):
    fitting = {B: s for B, s in seconds.items() if memory[B] <= limit}
    return min(fitting, key=fitting.get, default=None)


@planted("choose_batch", "It is what may be lost")
def keeps_the_loss(seconds, memory, limit, loss=0.1):
    speeds = _that_fit(seconds, memory, limit)
    return next((B for B, s in speeds.items() if s >= loss * max(speeds.values())), None)


@planted("choose_batch", "Take the smallest")
def takes_the_largest_that_is_good(seconds, memory, limit, loss=0.1):
    speeds = _that_fit(seconds, memory, limit)
    return max((B for B, s in speeds.items() if s >= (1 - loss) * max(speeds.values())), default=None)


@planted("choose_batch", "A batch that fills the memory exactly fits")
def leaves_some_memory(seconds, memory, limit, loss=0.1):
    speeds = {B: B / seconds[B] for B in sorted(seconds) if memory[B] < limit}
    return next((B for B, s in speeds.items() if s >= (1 - loss) * max(speeds.values())), None)


@planted("choose_batch", "your code stops at")
def knows_no_memory_that_is_too_small(seconds, memory, limit, loss=0.1):
    speeds = _that_fit(seconds, memory, limit)
    best = max(speeds.values())
    return min(B for B, s in speeds.items() if s >= (1 - loss) * best)


# --- 15 ----------------------------------------------------------------------------------


@planted("hold_out", "The share is taken of all pictures together")
def holds_out_below_a_quantile(labels, keys, share):
    lowest = keys.sort().values[: round(share * len(keys))]
    return torch.isin(keys, lowest)


@planted("hold_out", "it takes the first pictures of each class")
def holds_out_the_first(labels, keys, share):
    seen, test = {}, []
    for label in labels.tolist():
        seen[label] = seen.get(label, 0) + 1
        total = labels.tolist().count(label)
        test.append(seen[label] <= max(1, min(round(share * total), total - 1)))
    return torch.tensor(test)


@planted("hold_out", "You compare the keys with the share")
def holds_out_by_chance(labels, keys, share):
    return torch.tensor([key < share for key in keys.tolist()])


def _smallest(labels, keys, count):
    """-> [numbers of the pictures held out], class by class"""
    found = []
    for label in set(labels.tolist()):
        members = [i for i, other in enumerate(labels.tolist()) if other == label]
        members.sort(key=lambda i: keys[i].item())
        found += members[: count(len(members))]
    return found


def _true_at(places, n):
    return torch.tensor([i in set(places) for i in range(n)])


@planted("hold_out", "You return the numbers of the pictures")
def holds_out_places(labels, keys, share):
    return torch.tensor(_smallest(labels, keys, lambda n: max(1, min(round(share * n), n - 1))))


@planted_alike("hold_out", "You return the numbers of the pictures")
def holds_out_a_list_of_places(labels, keys, share):
    return sorted(_smallest(labels, keys, lambda n: max(1, min(round(share * n), n - 1))))


@planted("hold_out", "True and False are exchanged")
def holds_out_the_others(labels, keys, share):
    places = _smallest(labels, keys, lambda n: max(1, min(round(share * n), n - 1)))
    train = torch.ones(len(labels), dtype=torch.bool)
    train[places] = False
    return train


@planted("hold_out", "both ends are missing")
def holds_out_what_round_says(labels, keys, share):
    return _true_at(_smallest(labels, keys, lambda n: round(share * n)), len(labels))


@planted("hold_out", "The number is rounded down")
def holds_out_int(labels, keys, share):
    return _true_at(_smallest(labels, keys, lambda n: max(1, min(int(share * n), n - 1))), len(labels))


@planted("hold_out", "Of each class there is one picture too many")
def holds_out_up_to_a_threshold(labels, keys, share):
    test = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        own = keys[labels == label].sort().values
        k = max(1, min(round(share * len(own)), len(own) - 1))
        test |= (labels == label) & (keys <= (own[k] if k < len(own) else 1))
    return test


@planted("hold_out", "`argsort` says which picture comes first")
def holds_out_by_argsort(labels, keys, share):
    test = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        n = int((labels == label).sum())
        test[labels == label] = keys[labels == label].argsort() < max(1, min(round(share * n), n - 1))
    return test


@planted("hold_out", "Random numbers of your own")
def holds_out_at_random(labels, keys, share):
    chance = torch.Generator().manual_seed(7)
    keys = torch.rand(len(keys), generator=chance)
    return _true_at(_smallest(labels, keys, lambda n: max(1, min(round(share * n), n - 1))), len(labels))


@planted("hold_out", "you return a list, expected a tensor (n,)")
def holds_out_a_list(labels, keys, share):
    places = _smallest(labels, keys, lambda n: max(1, min(round(share * n), n - 1)))
    return [i in places for i in range(len(labels))]


@planted("hold_out", "The function changes its input")
def holds_out_of_sorted_keys(labels, keys, share):
    keys[:], order = keys.sort()
    labels = labels[order]
    return _true_at(_smallest(labels, keys, lambda n: max(1, min(round(share * n), n - 1))), len(labels))


@planted("take_over", "The shape is not looked at")
def takes_what_is_called_so(old, new):
    return {n: old.get(n, w) for n, w in new.items()}, [n for n in new if n not in old]


@planted("take_over", "It is `{**new, **old}`")
def takes_all_of_old(old, new):
    weights = dict(new)
    weights.update(old)
    return weights, [name for name in new if old.get(name) is None]


@planted("take_over", "Names that only old has slip in")
def adds_what_only_old_has(old, new):
    weights, left = dict(new), []
    for name, weight in old.items():
        if name not in new or new[name].shape == weight.shape:
            weights[name] = weight
    for name in new:
        if weights[name] is new[name]:
            left.append(name)
    return weights, left


@planted("take_over", "with KeyError: 'patch.weight'")
def asks_for_names_that_are_missing(old, new):
    fits = {name: old[name].shape == new[name].shape for name in new if name in old or name[0] == "p"}
    weights = {name: old[name] if fits.get(name) else new[name] for name in new}
    return weights, [name for name in new if not fits.get(name)]


@planted("take_over", "`new` is changed. Fill a dictionary of your own")
def fills_new_itself(old, new):
    left = [name for name in new if name not in old or old[name].shape != new[name].shape]
    for name in new:
        if name not in left:
            new[name] = old[name]
    return new, left


@planted("take_over", "`old` is changed. Fill a dictionary of your own")
def throws_out_of_old(old, new):
    for name in list(old):
        if name not in new or old[name].shape != new[name].shape:
            old.pop(name)
    return {name: old.get(name, new[name]) for name in new}, [name for name in new if name not in old]


@planted_alike("take_over", "`new` is changed. Fill a dictionary of your own")
def copies_into_the_tensors_of_new(old, new):
    left = []
    for name, weight in new.items():
        if name in old and old[name].shape == weight.shape:
            weight.copy_(old[name])
        else:
            left.append(name)
    return dict(new), left


@planted("take_over", "You compare how many numbers there are")
def takes_what_can_be_viewed(old, new):
    taken = {n for n in new if n in old and len(old[n].flatten()) == len(new[n].flatten())}
    return {n: (old if n in taken else new)[n] for n in new}, [n for n in new if n not in taken]


@planted("take_over", "You compare how many axes there are")
def takes_what_has_as_many_axes(old, new):
    taken = {n for n in new if n in old and len(old[n].shape) == len(new[n].shape)}
    return {n: (old if n in taken else new)[n] for n in new}, [n for n in new if n not in taken]


@planted("take_over", "The tensors are matched by their order")
def zips_both(old, new):
    weights, left = dict(new), []
    for (name, weight), other in zip(new.items(), [*old.values(), *[None] * len(new)]):
        if other is not None and other.shape == weight.shape:
            weights[name] = other
        else:
            left.append(name)
    return weights, left


@planted("take_over", "One that does not fit, and everything stays new")
def takes_all_or_nothing(old, new):
    for name in new:
        if name not in old or old[name].shape != new[name].shape:
            return dict(new), list(new)
    return {name: old[name] for name in new}, []


@planted("take_over", "The weights are right. `left` has the names that were taken over")
def says_what_was_taken(old, new):
    weights, names = {}, []
    for name, weight in new.items():
        fits = name in old and old[name].shape == weight.shape
        weights[name] = old[name] if fits else weight
        names += [name] * fits
    return weights, names


@planted("take_over", "The weights are right. `left` lacks those that old has in another shape")
def says_what_is_missing(old, new):
    weights = {n: old[n] if n in old and old[n].shape == w.shape else w for n, w in new.items()}
    return weights, [n for n in new if n not in old]


@planted("take_over", "expected 2 things in a list or tuple")
def gives_the_weights_alone(old, new):
    return {n: old[n] if n in old and old[n].shape == w.shape else w for n, w in new.items()}


@planted("take_over", "first the weights, then the names")
def gives_the_names_first(old, new):
    left = [name for name in new if name not in old or old[name].shape != new[name].shape]
    return left, {name: new[name] if name in left else old[name] for name in new}


@planted("take_over", "left: you return an object of type set")
def gives_a_set(old, new):
    left = {name for name in new if name not in old or old[name].shape != new[name].shape}
    return {name: new[name] if name in left else old[name] for name in new}, left


def _in_order(x):
    return np.moveaxis(x, -1, 0)[np.newaxis].astype(np.float32)


def _each(numbers):
    return np.array(numbers, dtype=np.float32).reshape(1, 1, 3)


@planted("to_input", "The numbers are not divided by 255")
def leaves_numbers_large(picture, mean, std):
    return _in_order((np.float32(picture) - _each(mean)) / _each(std))


@planted("to_input", "The mean is subtracted before the numbers are divided by 255")
def scales_after_the_mean(picture, mean, std):
    return _in_order((picture - _each(mean)) / (255 * _each(std)))


@planted("to_input", "`//` divides whole numbers")
def divides_whole_numbers(picture, mean, std):
    picture = picture // np.uint8(255)
    return _in_order((picture - _each(mean)) / _each(std))


@planted("to_input", "`mean` and `std` are not used")
def only_scales(picture, mean, std):
    return _in_order(np.float32(picture) / 255)


@planted("to_input", "`mean` and `std` are exchanged")
def takes_them_in_the_wrong_order(picture, mean, std):
    mean, std = std, mean
    return _in_order((picture / 255 - _each(mean)) / _each(std))


@planted("to_input", "Each column has a mean and std of its own")
def normalises_what_is_last(picture, mean, std):
    x = picture.transpose(2, 0, 1).astype(np.float32) / 255
    return ((x - np.float32(mean)) / np.float32(std))[None]


@planted("to_input", "Each row has a mean and std of its own")
def normalises_one_axis_too_late(picture, mean, std):
    x = picture.transpose(2, 0, 1).astype(np.float32) / 255
    return ((x - np.float32(mean)[:, None]) / np.float32(std)[:, None])[None]


@planted("to_input", "The numbers are float64")
def forgets_the_type(picture, mean, std):
    return ((picture / 255 - mean) / std).transpose(2, 0, 1)[None]


@planted("to_input", "The axis of the pictures is missing")
def gives_one_picture(picture, mean, std):
    return _in_order((picture / 255 - _each(mean)) / _each(std))[0]


@planted("to_input", "The colours are still the last axis")
def leaves_the_colours_last(picture, mean, std):
    return np.expand_dims(((picture / 255 - mean) / std).astype("float32"), 0)


@planted("to_input", "`.T` turns all axes around")
def turns_all_axes(picture, mean, std):
    return np.float32(((picture / 255 - mean) / std).T[None])


@planted("to_input", "`reshape` only counts the numbers off anew")
def reshapes(picture, mean, std):
    h, w, _ = picture.shape
    x = picture.reshape(1, 3, h, w).astype(np.float32) / 255
    return (x - np.float32(mean).reshape(3, 1, 1)) / np.float32(std).reshape(3, 1, 1)


@planted("to_input", "Blue comes first, as in OpenCV")
def turns_the_colours(picture, mean, std):
    return _in_order((picture[:, :, [2, 1, 0]] / 255 - _each(mean)) / _each(std))


@planted("to_input", "uint8 has no negative numbers")
def subtracts_in_uint8(picture, mean, std):
    middle = np.array([round(255 * m) for m in mean], dtype=np.uint8)
    return _in_order((picture - middle) / (255 * _each(std)))


@planted_alike("to_input", "uint8 has no negative numbers")
def subtracts_in_uint8_without_rounding(picture, mean, std):
    middle = (255 * np.array(mean)).astype(np.uint8)
    return _in_order((picture - middle) / 255 / _each(std))


@planted("to_input", "expected a NumPy array. Where the file runs there is no PyTorch")
def gives_a_tensor(picture, mean, std):
    return normalize(torch.from_numpy(picture).permute(2, 0, 1)[None], mean, std)


@planted("to_input", "the picture is changed. Make a new array")
def adds_an_axis_to_the_picture(picture, mean, std):
    picture.shape = (1, *picture.shape)
    return _in_order((picture[0] / 255 - _each(mean)) / _each(std))


@cheats("to_input", "PyTorch does a part of it")
def asks_pytorch(picture, mean, std):
    return normalize(torch.from_numpy(picture).permute(2, 0, 1)[None], mean, std).numpy()


# --- right results that a model cannot be trained with, or not everywhere ------------------

NO_GRADIENT = "No gradient comes through: `detach`, `.data`, `numpy` or `no_grad` cuts it off."
ONE_DEVICE = "It works on the CPU only: make new tensors on the device of its input."


@cheats("window_partition", NO_GRADIENT)
def cuts_a_detached_map(x, M):
    B, H, W, C = x.shape
    return x.detach().view(B, H // M, M, W // M, M, C).transpose(2, 3).reshape(B, -1, M * M, C)


@cheats("window_partition", NO_GRADIENT)
def cuts_a_list(x, M):
    x = torch.tensor(x.tolist())
    return x.unfold(1, M, M).unfold(2, M, M).flatten(1, 2).flatten(3).mT


@cheats("window_reverse", ONE_DEVICE)
def fills_a_map_on_the_cpu(windows, M, H, W):
    out = torch.zeros(len(windows), H // M, M, W // M, M, windows.shape[-1])
    out[:] = windows.view(len(windows), H // M, W // M, M, M, -1).transpose(2, 3)
    return out.flatten(3, 4).flatten(1, 2)


@cheats("patch_embed", "No gradient reaches `weight`: `detach`, `.data`, `numpy` or `no_grad` cuts it off.")
def takes_the_data_of_the_filters(images, weight, bias):
    P = weight.shape[-1]
    x = images.unfold(2, P, P).unfold(3, P, P).permute(0, 2, 3, 1, 4, 5).flatten(3)
    return x @ weight.data.flatten(1).T + bias


def _attends(x, qkv, proj, num_heads, bias, mask, cut=lambda k: k):
    q, k, v = qkv(x).unflatten(-1, (3, num_heads, -1)).permute(3, 0, 1, 4, 2, 5)
    scores = q @ cut(k).mT / math.sqrt(q.shape[-1]) + bias
    scores = scores if mask is None else scores.masked_fill(~mask[:, None], -math.inf)
    return proj((scores.softmax(-1) @ v).transpose(2, 3).flatten(3))


@cheats("attention", "A part of the gradient of `x` is missing: does `detach` or `no_grad` cut it off?")
def attends_with_keys_that_do_not_learn(x, qkv, proj, num_heads, bias, mask=None):
    return _attends(x, qkv, proj, num_heads, bias, mask, cut=torch.detach)


@cheats("attention", "No gradient reaches `bias`")
def attends_with_a_bias_that_does_not_learn(x, qkv, proj, num_heads, bias, mask=None):
    return _attends(x, qkv, proj, num_heads, bias.data, mask)


@cheats("attention", "In training, your code stops at `q *= 1 / math.sqrt(q.shape[-1])` with RuntimeError")
def scales_a_view_in_place(x, qkv, proj, num_heads, bias, mask=None):
    q, k, v = qkv(x).unflatten(-1, (3, num_heads, -1)).permute(3, 0, 1, 4, 2, 5)
    q *= 1 / math.sqrt(q.shape[-1])
    scores = q @ k.mT + bias
    scores = scores if mask is None else scores.masked_fill(~mask[:, None], -math.inf)
    return proj((scores.softmax(-1) @ v).transpose(2, 3).flatten(3))


@cheats("to_windows", ONE_DEVICE)
def leaves_the_mask_on_the_cpu(x, M, shift):
    H, W = x.shape[1:3]
    shifts = shift if H > M else 0, shift if W > M else 0
    windows = window_partition(F.pad(x, (0, 0, 0, -W % M, 0, -H % M)).roll([-s for s in shifts], (1, 2)), M)
    return windows, shifted_window_mask(H, W, M, shift) if H % M or W % M or any(shifts) else None


def _drops(x, drop_prob, kept):
    return x * kept(len(x)).view(-1, *[1] * (x.ndim - 1)).to(x) / (1 - drop_prob)


SAME_DRAW = "Every call draws the same: its random numbers start anew each time. Draw without a seed."
SAME_NUMBER = "Every call drops the same number of samples."


@cheats("drop_path", "It sets the seed of all random numbers (`manual_seed`)")
def sets_the_seed(x, drop_prob, training):
    torch.manual_seed(0)
    return x if not training else _drops(x, drop_prob, lambda B: torch.rand(B) >= drop_prob)


@cheats("drop_path", SAME_DRAW)
def draws_from_a_fresh_generator(x, drop_prob, training):
    chance = torch.Generator().manual_seed(1)
    return x if not training else _drops(x, drop_prob, lambda B: torch.rand(B, generator=chance) >= drop_prob)


@cheats("drop_path", SAME_NUMBER)
def drops_a_fixed_number(x, drop_prob, training):
    return x if not training else _drops(x, drop_prob, lambda B: torch.randperm(B) >= round(drop_prob * B))


@cheats("drop_path", SAME_NUMBER)
def drops_below_a_quantile(x, drop_prob, training):
    draw = torch.rand(len(x))
    return x if not training else _drops(x, drop_prob, lambda B: draw >= draw.quantile(drop_prob))


@cheats("drop_path", ONE_DEVICE)
def draws_on_the_cpu(x, drop_prob, training):
    kept = torch.rand(len(x), *[1] * (x.ndim - 1)) >= drop_prob
    return x * kept / (1 - drop_prob) if training else x


@cheats("drop_path", "A function of torchvision does the work: write it yourself.")
def takes_torchvisions(x, drop_prob, training):
    return stochastic_depth(x, drop_prob, "row", training)


@cheats("block", "No gradient reaches `layer.norm1.weight`")
def detaches_a_branch(x, layer):
    x = x + layer.drop_path(_attend_with(layer, x).detach())
    return x + layer.drop_path(layer.mlp(layer.norm2(x)))


@cheats("block", "It changes `training` of what it is given")
def leaves_the_layer_evaluating(x, layer):
    x = x + layer.drop_path(_attend_with(layer, x))
    x = x + layer.drop_path(layer.mlp(layer.norm2(x)))
    layer.eval()
    return x


def _attend_with(layer, x):
    M, shift, attn = layer.window_size, layer.shift_size, layer.attn
    windows, mask = package_pieces.to_windows(layer.norm1(x), M, shift)
    bias = attn.relative_position_bias()
    windows = package_pieces.attention(windows, attn.qkv, attn.proj, attn.num_heads, bias, mask)
    return package_pieces.from_windows(windows, M, shift, *x.shape[1:3])


@cheats("forward", NO_GRADIENT)
@torch.no_grad()
def answers_without_gradients(images, model):
    x = model.patch_embed(images)
    for member in model.stages:
        x = member(x)
    return model.head(model.norm(x).mean(dim=(1, 2)))


@cheats("forward", "It changes `training` of what it is given")
def evaluates_first(images, model):
    x = model.eval().patch_embed(images)
    for member in model.stages:
        x = member(x)
    return model.head(model.norm(x).mean(dim=(1, 2)))


@cheats("learning_rate", "It changes `warmup_epochs` of what it is given (a warm-up as long as the run)")
def shortens_the_recipes_warmup(step, total_steps, recipe):
    object.__setattr__(recipe, "warmup_epochs", min(recipe.warmup_epochs, recipe.epochs / 2))
    return _any_rate(step, total_steps, recipe)


def _any_rate(step, total_steps, recipe):
    high, low = recipe.learning_rate, recipe.min_learning_rate
    n = int(recipe.warmup_epochs / recipe.epochs * total_steps)
    if step < n:
        return high * (step + 1) / (n + 1)
    share = (step - n) / max(1, total_steps - n - 1)
    return low + (high - low) * (1 + math.cos(math.pi * share)) / 2
