def partition_channels_first(x, M):
    """(B, C, H, W) -> (B, nW, N, C)"""
    B, C, H, W = x.shape
    x = x.view(B, C, H // M, M, W // M, M)
    # Window-row beside window-column, row beside column, the channels last.
    x = x.permute(0, 2, 4, 3, 5, 1)  # (B, H/M, W/M, M, M, C)
    return x.reshape(B, (H // M) * (W // M), M * M, C)
