"""Checks of notebook 02: padding, cutting into patches, weights that normalise by themselves."""

import math
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F

from course import figures
from course.check.core import Exercise, numbered, sample_image
from course.check.watch import loops, uses

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

# --- patches_at_once ---------------------------------------------------------------------


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


def _draw_patches(function):
    figure, axes = figures.panels(1, 2, size=2.8)
    figures.draw_picture(axes[0], sample_image(), "picture")
    figures.draw_patches(axes[1], function(sample_image()[None], 8)[0], "your patches, P = 8")
    return figure, "A picture, and beside it the 16 patches that the function cuts from it, pulled apart."


patches_at_once = Exercise(
    "patches_at_once",
    answer=_patches_by_loops,
    cases=lambda: {
        "a square picture": (numbered(1, 3, 8, 8), 2),
        "a picture that is higher than wide": (numbered(1, 3, 6, 4), 2),
        "two pictures": (numbered(2, 3, 4, 8), 2),
        "patches of 3 x 3": (numbered(1, 3, 6, 9), 3),
    },
    mistakes={
        "The shape is right, but no number has moved: each 'patch' is a run of the "
        "picture's rows. Splitting axes is not enough, some must change places.": _no_permute,
        "The pixels of a patch lie far apart in the picture. h is split into (H, P), "
        "with the P pixels of a patch last; you have split it into (P, H).": _split_other_way,
        "The map is transposed: patch (y, x) stands at (x, y).": (
            lambda images, P: _patches_by_loops(images, P).transpose(1, 2)
        ),
        "Each patch is transposed: its rows and columns have changed places.": (
            lambda images, P: _patches_by_loops(images, P).transpose(4, 5)
        ),
        "In your patches the colour comes last; the order is channel, row, column.": (
            lambda images, P: _patches_by_loops(images, P).permute(0, 1, 2, 4, 5, 3)
        ),
        "After the split, the axes that belong together are not neighbours yet: write "
        "down the order of all six axes before and after.": _channels_within,
    },
    forbidden={
        "You visit the patches in a loop. Asked for are steps that move all of them at once.": loops,
        "`unfold` cuts the patches. Asked for is a way without it: split axes, and let them change places.": (
            uses("unfold", "im2col")
        ),
    },
    picture=_draw_patches,
    axes="(B, H, W, 3, P, P)",
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
