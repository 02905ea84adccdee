def patches_back(patches):
    """(B, H, W, 3, P, P) -> (B, 3, h, w), without loops"""
    # Pixel row y · P + row: the row of the map first, then the row in its patch. The same for columns.
    x = patches.permute(0, 3, 1, 4, 2, 5)  # (B, 3, H, row, W, column)
    # The last pair first: then the number of the other axes has not changed yet.
    return x.flatten(4, 5).flatten(2, 3)  # (B, 3, h, w)
