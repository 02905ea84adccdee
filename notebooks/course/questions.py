"""Two coloured tokens on grey: the pictures about which notebook 12 asks its questions."""

import torch
import torch.nn.functional as F
from matplotlib.colors import to_rgb
from torch import Tensor

from course.figures import COLOURS

PAINT = 2 * torch.tensor([to_rgb(COLOURS[0]), to_rgb(COLOURS[1])]) - 1  # blue, orange, in [-1, 1]


def tokens_at(rows: Tensor, columns: Tensor, colours: Tensor) -> Tensor:
    """(B, 2) each -> (B, 3, 32, 32): two coloured tokens of 8 x 8 pixels on grey, which is 0.

    Rows and columns are those of 4 x 4 tokens; colour 0 is blue, 1 is orange.
    """
    pictures = torch.zeros(len(rows), 3, 4, 4)
    each = torch.arange(len(rows))
    for i in range(2):
        pictures[each, :, rows[:, i], columns[:, i]] = PAINT[colours[:, i]]
    return F.interpolate(pictures, scale_factor=8)


def ring_of(pictures: Tensor, window: int = 16) -> Tensor:
    """(B, 3, H, W) -> (B,) int64: equal numbers for pictures that are the same on the ring.

    That is: one becomes the other when it is rolled by whole windows of so many pixels, down or right.
    """
    H, W = pictures.shape[2:]
    moved = [
        pictures.roll((down, right), dims=(2, 3))
        for down in range(0, H, window)
        for right in range(0, W, window)
    ]
    kinds = torch.cat(moved).flatten(1).unique(dim=0, return_inverse=True)[1]
    return kinds.view(len(moved), -1).amin(dim=0)  # the first of all that it can be
