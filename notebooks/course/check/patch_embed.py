"""Checks of notebook 02: patches embedded and put back, padding, weights that normalise by themselves."""

import math
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F

from course import figures
from course.check.core import Exercise, numbered, sample_image
from course.check.watch import loops, uses

# --- patch_embed -------------------------------------------------------------------------


def _embed(images, weight, bias, cut=None):
    """By loops; `cut(images, P)` -> (B, H, W, 3, P, P), with a mistake if asked for."""
    patches = (cut or _patches_by_loops)(images, weight.shape[-1])
    tokens = images.new_zeros(*patches.shape[:3], len(bias))
    for c, (filter_, constant) in enumerate(zip(weight, bias)):
        tokens[..., c] = (patches * filter_).sum(dim=(3, 4, 5)) + constant
    return tokens


def _patches_by_loops(images, P):
    B, channels, h, w = images.shape
    patches = images.new_zeros(B, h // P, w // P, channels, P, P)
    for y, x in product(range(h // P), range(w // P)):
        patches[:, y, x] = images[:, :, y * P : (y + 1) * P, x * P : (x + 1) * P]
    return patches


def _no_permute(images, P):
    B, channels, h, w = images.shape
    return images.reshape(B, h // P, w // P, channels, P, P)


def _split_other_way(images, P):
    B, channels, h, w = images.shape
    x = images.reshape(B, channels, P, h // P, P, w // P)
    return x.permute(0, 3, 5, 1, 2, 4)


def _channels_within(images, P):
    """Split h and w, and move the channels, but not the rows of a patch past the columns of the map."""
    B, channels, h, w = images.shape
    x = images.permute(0, 2, 3, 1).reshape(B, h // P, P, w // P, P, channels)
    return x.reshape(B, h // P, w // P, channels, P, P)


def _colour_last(images, P):
    """The numbers of a patch in the order row, column, channel."""
    patches = _patches_by_loops(images, P)
    return patches.permute(0, 1, 2, 4, 5, 3).reshape(patches.shape)


def _sides_swapped(images, P):
    B, channels, h, w = images.shape
    x = images.reshape(B, channels, w // P, P, h // P, P)
    return x.permute(0, 2, 4, 1, 3, 5)


def _weight_reshaped(images, weight, bias):
    """(C, 3·P·P) reshaped into (3·P·P, C), where a transpose is needed."""
    turned = weight.flatten(1).reshape(-1, len(weight)).T
    return _embed(images, turned.reshape(weight.shape), bias)


def _draw_embedded(function):
    brightness = torch.full((3, 2, 2), 1 / 12)
    right_minus_left = torch.tensor([-1.0, 1.0]).expand(3, 2, 2) / 6
    red_minus_blue = torch.tensor([1.0, 0.0, -1.0])[:, None, None].expand(3, 2, 2) / 4
    weight = torch.stack([brightness, right_minus_left, red_minus_blue])
    tokens = function(sample_image()[None], weight, torch.zeros(3))[0].detach()  # (16, 16, 3)
    figure, axes = figures.panels(1, 4, size=2.6)
    figures.draw_picture(axes[0], sample_image(), "picture")
    figures.draw_heat(axes[1], tokens[..., 0], "channel 0: brightness", limit=1)
    for c, title in ((1, "1: right − left"), (2, "2: red − blue")):
        signs = figures.signs(tokens[..., c])
        figures.draw_heat(axes[c + 1], tokens[..., c], title, signed=True, numbers=signs)
    return figure, (
        "A picture of 32 by 32 pixels, and three channels of the map of 16 by 16 tokens that the function "
        "makes of it with three filters chosen by hand: the brightness of each patch; right minus left, "
        "large at vertical edges; red minus blue, large where the picture is red."
    )


def _pixel_by_pixel(watch, images, weight, bias):
    """A loop over the P·P pixels of a patch? Seen where they are more than the patches of the picture."""
    h, w = images.shape[2:]
    P = weight.shape[-1]
    return loops(watch) and P * P > h * w // P**2


def _filters(C, P):
    return torch.randn(C, 3, P, P), torch.randn(C)


patch_embed = Exercise(
    "patch_embed",
    answer=_embed,
    cases=lambda: {
        "a square picture": (torch.randn(1, 3, 8, 8), *_filters(5, 2)),
        "a picture that is higher than wide": (torch.randn(1, 3, 12, 8), *_filters(7, 4)),
        "two pictures": (torch.randn(2, 3, 4, 8), *_filters(8, 2)),
        "patches of 3 x 3": (torch.randn(3, 3, 6, 9), *_filters(4, 3)),
    },
    mistakes={
        "The shape is right, but you embed runs of the picture's rows, not patches. Splitting axes is not "
        "enough: some must change places before the last ones are merged.": partial(_embed, cut=_no_permute),
        "The pixels of a patch lie far apart in the picture. h is split into (H, P), with the P pixels of a "
        "patch last; you have split it into (P, H).": partial(_embed, cut=_split_other_way),
        "The numbers of a patch and those of a filter are in different orders. A filter is (3, P, P): "
        "channel, row, column. In your patches the colour comes last.": partial(_embed, cut=_colour_last),
        "Rows and columns inside a patch have changed places, those of the filters have not.": (
            lambda images, weight, bias: _embed(images, weight.transpose(2, 3), bias)
        ),
        "After the split, the axes that belong together are not neighbours yet: write down the order of all "
        "six axes before and after.": partial(_embed, cut=_channels_within),
        "H and W have changed places: how many rows of patches are there, and how many columns? On a square "
        "picture nobody sees it.": partial(_embed, cut=_sides_swapped),
        "The map is transposed: the token of patch (y, x) stands at (x, y).": (
            lambda images, weight, bias: _embed(images, weight, bias).transpose(1, 2)
        ),
        "The bias is missing: each channel has a constant of its own, which is added to every token.": (
            lambda images, weight, bias: _embed(images, weight, 0 * bias)
        ),
        "The weights are reshaped where they should be transposed: (C, 3·P·P) must become (3·P·P, C) with "
        "each filter whole, as a column.": _weight_reshaped,
        "You return (B, C, H, W), as a convolution does. Here the channels come last: (B, H, W, C).": (
            lambda images, weight, bias: _embed(images, weight, bias).permute(0, 3, 1, 2)
        ),
        "All tokens of a picture are in one axis, (B, H·W, C). Here the map stays a map: (B, H, W, C).": (
            lambda images, weight, bias: _embed(images, weight, bias).flatten(1, 2)
        ),
    },
    forbidden={
        "A convolution cuts and multiplies for you: it comes in the next section. Here, cut the patches by "
        "moving axes, and multiply by a matrix.": uses("convolution"),
        "You visit the P·P pixels of a patch in a loop. Asked for is one product for all of them: move the "
        "axes of the pixels to the end, and merge them.": _pixel_by_pixel,
        "You visit the patches in a loop. Asked for are steps that move all of them at once.": loops,
    },
    picture=_draw_embedded,
    axes="(B, H, W, C)",
    piece=True,
)

# --- pad_centred -------------------------------------------------------------------------


def _pad_centred(images, P):
    B, channels, h, w = images.shape
    H, W = math.ceil(h / P) * P, math.ceil(w / P) * P
    top, left = (H - h) // 2, (W - w) // 2
    padded = images.new_zeros(B, channels, H, W)
    padded[:, :, top : top + h, left : left + w] = images
    return padded


def _padded(images, left, right, top, bottom):
    return F.pad(images, (left, right, top, bottom))


def _halves(n):
    return n // 2, n - n // 2


def _whole_patch_too_many(images, P):
    h, w = images.shape[2:]
    return _padded(images, *_halves(P - w % P), *_halves(P - h % P))


def _both_if_either(images, P):
    h, w = images.shape[2:]
    return _whole_patch_too_many(images, P) if h % P or w % P else images


def _axes_swapped(images, P):
    h, w = images.shape[2:]
    return _padded(images, *_halves(-h % P), *_halves(-w % P))


def _odd_one_before(images, P):
    h, w = images.shape[2:]
    return _padded(images, *_halves(-w % P)[::-1], *_halves(-h % P)[::-1])


def _all_after(images, P):
    h, w = images.shape[2:]
    return _padded(images, 0, -w % P, 0, -h % P)


def _one_missing(images, P):
    h, w = images.shape[2:]
    x, y = -w % P // 2, -h % P // 2
    return _padded(images, x, x, y, y)


def _whole_on_each_side(images, P):
    h, w = images.shape[2:]
    x, y = -w % P, -h % P
    return _padded(images, x, x, y, y)


def _draw_pad_centred(function):
    image = sample_image()[:, :27, :22]
    padded = function(image[None], 8)[0]
    figure, axes = figures.panels(1, 2, size=2.6)
    figures.draw_picture(axes[0], image, "27 × 22 pixels")
    figures.draw_picture(axes[1], padded, "yours, P = 8")
    figures.draw_grid(axes[1], padded.shape[1] // 8, padded.shape[2] // 8, unit=8)
    return figure, "A picture of 27 by 22 pixels, and the same with black borders on all sides, in patches."


pad_centred = Exercise(
    "pad_centred",
    answer=_pad_centred,
    cases=lambda: {
        "a picture that fits": (1 + numbered(1, 3, 8, 8), 4),
        "a width that does not fit": (1 + numbered(1, 3, 8, 6), 4),
        "5 x 10 pixels, P = 4": (1 + numbered(2, 3, 5, 10), 4),
        "7 x 8 pixels, P = 3": (1 + numbered(1, 3, 7, 8), 3),
    },
    mistakes={
        "A side that fits already gets a whole patch of zeros too. What is P - h % P when P divides h?": (
            _whole_patch_too_many
        ),
        "If one side does not fit, you also pad the one that does. Treat each side on "
        "its own.": _both_if_either,
        "Height and width have changed places. With which axis does F.pad begin?": _axes_swapped,
        "The odd zero stands before the picture. It belongs after it, on the right and "
        "below.": _odd_one_before,
        "All zeros stand on the right and below. Half of them belong on the left and above.": _all_after,
        "Where the number of zeros is odd, one is missing: n // 2 twice is less than n.": _one_missing,
        "Every side gets all the zeros, so there are twice as many as needed.": _whole_on_each_side,
    },
    picture=_draw_pad_centred,
    axes="(B, 3, h, w)",
)

# --- patches_back ------------------------------------------------------------------------


def _back_by_loops(patches):
    B, H, W, channels, P, _ = patches.shape
    images = patches.new_zeros(B, channels, H * P, W * P)
    for y, x in product(range(H), range(W)):
        images[:, :, y * P : (y + 1) * P, x * P : (x + 1) * P] = patches[:, y, x]
    return images


def _merged(patches, order, sides=(1, 2)):
    """The six axes in another order, then merged into (B, 3, h, w)."""
    B, channels, P = patches.shape[0], patches.shape[3], patches.shape[-1]
    h, w = (patches.shape[side] * P for side in sides)
    return patches.permute(order).reshape(B, channels, h, w)


def _draw_back(function):
    patches = _patches_by_loops(sample_image()[None], 8)  # (1, 4, 4, 3, 8, 8)
    figure, axes = figures.panels(1, 3, size=2.6)
    figures.draw_patches(axes[0], patches[0], "16 patches")
    figures.draw_picture(axes[1], patches.reshape(3, 32, 32), "only reshaped")
    figures.draw_picture(axes[2], function(patches)[0], "yours")
    return figure, (
        "16 patches of a picture, pulled apart; stripes, where they are only reshaped; and the picture, "
        "whole again, that the function makes of them."
    )


patches_back = Exercise(
    "patches_back",
    answer=_back_by_loops,
    cases=lambda: {
        "4 x 4 patches": (numbered(1, 4, 4, 3, 2, 2),),
        "more rows than columns": (numbered(1, 3, 2, 3, 4, 4),),
        "two pictures": (numbered(2, 2, 4, 3, 2, 2),),
        "patches of 3 x 3": (numbered(1, 2, 3, 3, 3, 3),),
    },
    mistakes={
        "The shape is right, but no number has moved: some axes must change places before you merge them.": (
            partial(_merged, order=(0, 1, 2, 3, 4, 5))
        ),
        "Row and column inside each patch have changed places.": partial(_merged, order=(0, 3, 1, 5, 2, 4)),
        "Rows and columns of the map have changed places: patch (y, x) comes to (x, y).": (
            lambda patches: _back_by_loops(patches.transpose(1, 2))
        ),
        "Neighbours in your picture come from different patches: it shows pixel (0, 0) of all patches, then "
        "pixel (0, 1) of all. Pixel row y · P + row: which of the two axes stands first?": (
            partial(_merged, order=(0, 3, 4, 1, 5, 2))
        ),
        "Each colour is right, but you list patch after patch. The row of a patch must stand before the "
        "column of the map.": partial(_merged, order=(0, 3, 1, 2, 4, 5)),
    },
    forbidden={
        "You visit the patches in a loop. Asked for are steps that move all of them at once.": loops,
        "`fold` or `pixel_shuffle` puts the patches back. Asked for is a way without them: let axes change "
        "places, and merge them.": uses("col2im", "pixel_shuffle"),
    },
    picture=_draw_back,
    axes="(B, 3, h, w)",
)

# --- absorb_normalization ----------------------------------------------------------------


def _absorb_by_loops(weight, bias, mean, std):
    new_weight, new_bias = weight.clone(), bias.clone()
    size = weight.shape[1] // 3  # numbers per colour
    for c, i in product(range(weight.shape[0]), range(weight.shape[1])):
        channel = i // size
        new_weight[c, i] = weight[c, i] / std[channel]
        new_bias[c] -= weight[c, i] * mean[channel] / std[channel]
    return new_weight, new_bias


def _absorb(weight, bias, mean, std, order="channel first", constant="right"):
    """With a mistake, if asked for."""
    size = weight.shape[1] // 3
    spread = (lambda t: t.repeat(size)) if order == "pixel first" else (lambda t: t.repeat_interleave(size))
    mean, std = spread(mean), spread(std)
    constants = {
        "right": bias - (weight / std) @ mean,
        "forgotten": bias,
        "added": bias + (weight / std) @ mean,
        "not divided": bias - weight @ mean,
        "one number": bias - (mean / std).sum(),
    }
    return weight / std, constants[constant]


def _absorb_multiplied(weight, bias, mean, std):
    std = std.repeat_interleave(weight.shape[1] // 3)
    return weight * std, bias - (weight * std) @ mean.repeat_interleave(weight.shape[1] // 3)


def _draw_absorb(function):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(1, 12, generator=generator)
    bias, mean, std = torch.zeros(1), torch.tensor([0.5, 0.5, 0.4]), torch.tensor([0.3, 0.3, 0.25])
    pixels = _patches_by_loops(sample_image()[None], 2)[0].flatten(2)  # (16, 16, 12)
    spread = [t.repeat_interleave(4) for t in (mean, std)]
    before = ((pixels - spread[0]) / spread[1]) @ weight[0] + bias
    new_weight, new_bias = function(weight, bias, mean, std)
    figure, axes = figures.panels(1, 3, size=2.6)
    figures.draw_picture(axes[0], sample_image(), "picture")
    figures.draw_heat(axes[1], before, "normalised, old weights", signed=True)
    figures.draw_heat(axes[2], pixels @ new_weight[0] + new_bias, "raw pixels, yours", signed=True)
    return figure, "A picture and two equal maps of one channel: normalised, and raw with the new weights."


def _absorb_cases():
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.25, 0.5, 0.2])
    return {
        "patches of 1 pixel": (torch.randn(4, 3), torch.randn(4), mean, std),
        "patches of 2 x 2": (torch.randn(5, 12), torch.randn(5), mean, std),
        "patches of 3 x 3": (torch.randn(4, 27), torch.randn(4), mean.flip(0), std.flip(0)),
    }


absorb_normalization = Exercise(
    "absorb_normalization",
    answer=_absorb_by_loops,
    cases=_absorb_cases,
    mistakes={
        "The colours are mixed up. A patch is written as all reds, then all greens, "
        "then all blues; you treat it as red, green, blue of one pixel after the other.": partial(
            _absorb, order="pixel first"
        ),
        "You multiply by std. Normalising divides by it.": _absorb_multiplied,
        "The bias is the old one. Subtracting the mean from every pixel moves every token by a constant.": (
            partial(_absorb, constant="forgotten")
        ),
        "The bias moves the wrong way: the mean is subtracted from the pixels, not added.": (
            partial(_absorb, constant="added")
        ),
        "In the bias, the mean is not divided by std. Write out (pixel - mean) / std as two terms.": (
            partial(_absorb, constant="not divided")
        ),
        "The bias changes by the same amount for every channel. How much the mean "
        "counts depends on the weights of the channel.": partial(_absorb, constant="one number"),
    },
    picture=_draw_absorb,
    tolerance=1e-4,
)
