import math
from itertools import product

import torch

from swin_cifar import window_partition


def additive_mask(H, W, M, shift):
    """-> (nW, N, N): what is added to the scores of each window after the roll"""
    regions = torch.zeros(1, H, W, 1)
    bounds = slice(0, -M), slice(-M, -shift), slice(-shift, None)
    for number, (rows, columns) in enumerate(product(bounds, bounds)):
        regions[:, rows, columns] = number
    windows = window_partition(regions, M)[0, :, :, 0]  # (nW, N)
    difference = windows[:, None, :] - windows[:, :, None]  # (nW, N, N)
    return torch.where(difference != 0, -math.inf, 0.0)  # after the softmax exactly 0
