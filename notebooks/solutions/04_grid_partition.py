def grid_partition(x, M):
    """(B, H, W, C) -> (B, nW, N, C)"""
    B, H, W, C = x.shape
    # H falls into M parts of H/M rows. Which part: the row inside a group. Which row of it: the group's row.
    x = x.view(B, M, H // M, M, W // M, C)
    x = x.permute(0, 2, 4, 1, 3, 5)  # (B, H/M, W/M, M, M, C)
    return x.reshape(B, (H // M) * (W // M), M * M, C)
