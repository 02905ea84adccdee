import torch.nn.functional as F


def to_windows(x, M, shift):
    """(B, H, W, C) -> windows (B, nW, N, C), mask (nW, N, N) on x's device; no mask needed: None"""
    H, W = x.shape[1:3]
    down, right = -H % M, -W % M  # padding
    up, left = (shift if H > M else 0), (shift if W > M else 0)  # one window: nothing to shift
    mask = None
    if down or right or up or left:
        mask = shifted_window_mask(H, W, M, shift).to(x.device)  # H, W before the padding
    x = F.pad(x, (0, 0, 0, right, 0, down))  # pairs from the last axis on: channels, columns, rows
    x = x.roll((-up, -left), dims=(1, 2))
    return window_partition(x, M), mask
