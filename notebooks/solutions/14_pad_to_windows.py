import torch.nn.functional as F


def pad_to_windows(x, M):
    """(B, H, W, C) -> (B, H', W', C): zeros below and right, until windows of M x M fill the map"""
    H, W = x.shape[1:3]
    down, across = (M - H % M) % M, (M - W % M) % M  # or -H % M, -W % M
    return F.pad(x, (0, 0, 0, across, 0, down))  # channels, columns, rows
