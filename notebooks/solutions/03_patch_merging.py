import torch
import torch.nn.functional as F


def patch_merging(x, norm, reduction):
    """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2C)"""
    H, W = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, W % 2, 0, H % 2))  # channels, right, below
    # Every second row and column, from 0 or from 1. Down first, then right.
    top_left, bottom_left = x[:, 0::2, 0::2], x[:, 1::2, 0::2]
    top_right, bottom_right = x[:, 0::2, 1::2], x[:, 1::2, 1::2]
    gathered = torch.cat([top_left, bottom_left, top_right, bottom_right], dim=-1)  # (B, H/2, W/2, 4C)
    return reduction(norm(gathered))
