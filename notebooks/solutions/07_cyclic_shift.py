import torch


def cyclic_shift(x, shift):
    """(B, H, W, C) -> (B, H, W, C), moved up and left by `shift`"""
    x = torch.cat([x[:, shift:], x[:, :shift]], dim=1)  # rows: what was above comes in from below
    return torch.cat([x[:, :, shift:], x[:, :, :shift]], dim=2)  # columns
