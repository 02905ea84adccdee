import torch.nn.functional as F

from swin_cifar import shifted_window_mask, window_partition, window_reverse


def attend_any_size(attn, x, shift):
    """(B, H, W, C) -> (B, H, W, C): attention in the true windows of a map of any size"""
    H, W, M = *x.shape[1:3], attn.window_size
    down, across = -H % M, -W % M  # padding
    shifts = shift if H > M else 0, shift if W > M else 0  # a covered axis has no seam
    x = F.pad(x, (0, 0, 0, across, 0, down))  # channels, right, below
    x = x.roll((-shifts[0], -shifts[1]), dims=(1, 2))
    mask = shifted_window_mask(H, W, M, shift)  # of the real map: it must know what is padding
    x = window_reverse(attn(window_partition(x, M), mask), M, H + down, W + across)
    # Undone in the opposite order: the roll, then the padding.
    return x.roll(shifts, dims=(1, 2))[:, :H, :W]
