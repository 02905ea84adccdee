def ungather(x):
    """(B, H, W, 4C) -> (B, 2H, 2W, C)"""
    B, H, W, C4 = x.shape
    out = x.new_zeros(B, 2 * H, 2 * W, C4 // 4)
    # The 4C numbers are four tokens one after the other. Down first, then right.
    top_left, bottom_left, top_right, bottom_right = x.chunk(4, dim=-1)  # (B, H, W, C) each
    out[:, 0::2, 0::2] = top_left
    out[:, 1::2, 0::2] = bottom_left
    out[:, 0::2, 1::2] = top_right
    out[:, 1::2, 1::2] = bottom_right
    return out
