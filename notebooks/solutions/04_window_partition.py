def window_partition(x, M):
    """(B, H, W, C) -> (B, nW, N, C)"""
    B, H, W, C = x.shape
    x = x.view(B, H // M, M, W // M, M, C)
    # Window-row beside window-column, row beside column.
    x = x.transpose(2, 3)  # (B, H/M, W/M, M, M, C)
    return x.reshape(B, (H // M) * (W // M), M * M, C)
