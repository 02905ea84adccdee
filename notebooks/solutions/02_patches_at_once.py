def patches_at_once(images, P):
    """(B, 3, h, w) -> (B, H, W, 3, P, P), without loops"""
    # The last axis first: then the number of the other one has not changed yet.
    x = images.unflatten(3, (-1, P)).unflatten(2, (-1, P))  # (B, 3, H, row, W, column)
    # H and W lead, channel, row and column of the patch follow.
    return x.permute(0, 2, 4, 1, 3, 5)  # (B, H, W, 3, row, column)
