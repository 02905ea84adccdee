def reverse_rectangles(windows, height, width, H, W):
    """(B, nW, N, C), N = height · width -> (B, H, W, C)"""
    B, nW, N, C = windows.shape
    # nW was merged from window-rows and window-columns, N from the rows and columns of a window.
    x = windows.view(B, H // height, W // width, height, width, C)
    x = x.transpose(2, 3)  # (B, H/height, height, W/width, width, C): what belongs together is side by side
    return x.reshape(B, H, W, C)
