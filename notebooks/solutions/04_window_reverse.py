def window_reverse(windows, M, H, W):
    """(B, nW, N, C) -> (B, H, W, C)"""
    B, nW, N, C = windows.shape
    x = windows.view(B, H // M, W // M, M, M, C)
    # Window-row beside the row inside, window-column beside the column inside.
    x = x.transpose(2, 3)  # (B, H/M, M, W/M, M, C)
    return x.reshape(B, H, W, C)
