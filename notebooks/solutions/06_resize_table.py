import torch


def resize_table(table, M, m):
    """((2M - 1)², heads) -> ((2m - 1)², heads)"""
    steps = torch.arange(-(m - 1), m).clamp(-(M - 1), M - 1)  # all dy, and all dx, that the old table knows
    dy, dx = steps[:, None], steps[None, :]
    number = (dy + M - 1) * (2 * M - 1) + dx + M - 1  # (2m - 1, 2m - 1): rows of the old table
    return table[number.flatten()]
