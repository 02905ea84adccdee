import torch


def relative_position_index(M):
    """M -> (N, N) int64, N = M·M: the row of the bias table for query i (down) and key j (across)"""
    token = torch.arange(M * M)
    y, x = token // M, token % M  # (N,) each: the row and the column of every token
    dy = y[:, None] - y[None, :] + M - 1  # (N, N), query minus key, from 0 to 2M - 2
    dx = x[:, None] - x[None, :] + M - 1
    return dy * (2 * M - 1) + dx
