def from_windows(windows, M, shift, H, W):
    """(B, nW, N, C) -> (B, H, W, C): `to_windows` undone"""
    up, left = (shift if H > M else 0), (shift if W > M else 0)
    x = window_reverse(windows, M, H + -H % M, W + -W % M)  # the padded map, still rolled
    x = x.roll((up, left), dims=(1, 2))
    return x[:, :H, :W]
